//! Commands that run the doctor with the credentials of the service, for a shell that lacks them.

use std::path::Path;

use crate::config::MissingSecret;

/// A credential of `deploy/systemd/gbg-proxy.service`, which sets the key by a variable.
struct UnitCredential {
    /// The variable that the key refers to by default.
    default: &'static str,
    variable: &'static str,
    name: &'static str,
    path: &'static str,
}

const UNIT_CREDENTIALS: [UnitCredential; 2] = [
    UnitCredential {
        default: "GBG_CLIENT_ID",
        variable: "GBG_PROXY_TOKEN_CLIENT_ID",
        name: "gbg-client-id",
        path: "/etc/gbg-proxy/client-id",
    },
    UnitCredential {
        default: "GBG_CLIENT_SECRET",
        variable: "GBG_PROXY_TOKEN_CLIENT_SECRET",
        name: "gbg-client-secret",
        path: "/etc/gbg-proxy/client-secret",
    },
];

/// The program of the unit and of the image.
const PROGRAM: &str = "/usr/local/bin/gbg-proxy doctor";

/// A place where the service runs, and the command that runs the doctor there.
pub(super) struct Way {
    pub(super) place: &'static str,
    pub(super) command: String,
}

/// Returns the commands for the places that may have the `missing` credentials. `file` is the
/// configuration that was read.
pub(super) fn ways(missing: &[MissingSecret], file: Option<&Path>) -> Vec<Way> {
    let variables: Vec<_> = missing.iter().filter_map(MissingSecret::variable).collect();
    let names: Vec<_> = missing
        .iter()
        .filter_map(MissingSecret::systemd_name)
        .collect();
    let sets_key = |unit: &UnitCredential| variables.contains(&unit.default);
    let uses_unit = UNIT_CREDENTIALS.iter().any(sets_key);
    let mut ways = Vec::new();
    if missing.is_empty() {
        return ways;
    }
    if uses_unit || !names.is_empty() {
        ways.push(Way {
            place: "systemd (add further Environment= lines of your unit with -E)",
            command: systemd_run(&names, uses_unit, file),
        });
    }
    if names.is_empty() {
        ways.extend([
            Way {
                place: "Kubernetes, as in deploy/kubernetes/gateway.yaml",
                command: format!("kubectl -n gbg exec deployment/gbg-proxy -- {PROGRAM}"),
            },
            Way {
                place: "Kubernetes, as in deploy/kubernetes/sidecar.yaml",
                command: format!("kubectl exec deployment/app -c gbg-proxy -- {PROGRAM}"),
            },
            Way {
                place: "Docker",
                command: format!("docker exec CONTAINER {PROGRAM}"),
            },
        ]);
    }
    let file_argument = config_argument(file);
    if variables.len() + names.len() < missing.len() {
        ways.push(Way {
            place: "this machine, as a user who may read the files",
            command: format!("sudo gbg-proxy doctor{file_argument}"),
        });
    }
    if variables.len() == missing.len() {
        let assignments = variables.iter().map(|name| format!("{name}=… "));
        let assignments: String = assignments.collect();
        ways.push(Way {
            place: "this shell",
            command: format!("{assignments}gbg-proxy doctor{file_argument}"),
        });
    }
    ways
}

/// The doctor as a service with the credentials of the unit, and with its user and directory.
fn systemd_run(names: &[&str], uses_unit: bool, file: Option<&Path>) -> String {
    let mut lines = vec![
        "sudo systemd-run --pipe --wait --collect --quiet".to_owned(),
        "-p DynamicUser=yes -p WorkingDirectory=/etc/gbg-proxy".to_owned(),
    ];
    let load = |name: &str, path: &str| format!("-p LoadCredential={name}:{path}");
    if uses_unit {
        for unit in &UNIT_CREDENTIALS {
            lines.push(load(unit.name, unit.path));
            lines.push(format!("-E {}=credential:{}", unit.variable, unit.name));
        }
    }
    for name in names {
        let unit = UNIT_CREDENTIALS.iter().find(|unit| unit.name == *name);
        lines.push(load(name, unit.map_or("PATH", |unit| unit.path)));
    }
    lines.push(format!("{PROGRAM}{}", config_argument(file)));
    lines.join(" \\\n  ")
}

fn config_argument(file: Option<&Path>) -> String {
    let Some(file) = file else {
        return String::new();
    };
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    format!(" --config {}", file.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Sources};

    fn ways_of(set: &[&str], file: Option<&Path>) -> Vec<String> {
        let plain = [
            "upstream.base_url=http://localhost",
            "token.endpoint=http://localhost",
        ];
        let sources = Sources {
            set: plain.iter().chain(set).map(|&text| text.into()).collect(),
            ..Sources::default()
        };
        let (_, missing) = config::load_for_diagnosis(&sources).unwrap();
        let ways = ways(&missing, file).into_iter();
        ways.map(|Way { place, command }| format!("{place}: {command}"))
            .collect()
    }

    /// The operator copies the command: each property has to be a line of the unit.
    #[test]
    fn the_systemd_command_matches_the_unit() {
        let unit = include_str!("../../../deploy/systemd/gbg-proxy.service");
        let file = Path::new("/etc/gbg-proxy/proxy.toml");
        let command = ways_of(&[], Some(file)).remove(0);
        let words: Vec<_> = command.split_whitespace().collect();
        let after = |option| {
            let pairs = words.windows(2).filter(move |pair| pair[0] == option);
            pairs.map(|pair| pair[1])
        };
        let properties: Vec<_> = after("-p").collect();
        assert_eq!(properties.len(), 4, "{command}");
        for property in properties {
            let optional = property.replace("=/etc/gbg-proxy", "=-/etc/gbg-proxy");
            let is_line = |line: &str| line == property || line == optional;
            assert!(unit.lines().any(is_line), "{property}");
        }
        for variable in after("-E") {
            assert!(unit.contains(&format!("\nEnvironment={variable}\n")));
        }
        for prefix in ["LoadCredential=", "Environment="] {
            let lines = unit.lines().filter(|line| line.starts_with(prefix));
            assert_eq!(lines.count(), 2, "the unit has one more {prefix}");
        }
        assert!(unit.contains("\nExecStart=/usr/local/bin/gbg-proxy run\n"));
        assert!(command.ends_with("gbg-proxy doctor --config /etc/gbg-proxy/proxy.toml"));
    }

    #[test]
    fn the_kubectl_commands_match_the_manifests() {
        let gateway = include_str!("../../../deploy/kubernetes/gateway.yaml");
        let sidecar = include_str!("../../../deploy/kubernetes/sidecar.yaml");
        let image = include_str!("../../../Dockerfile");
        let ways = ways_of(&[], None).join("\n");
        assert!(
            ways.contains("kubectl -n gbg exec deployment/gbg-proxy -- /usr/local/bin/gbg-proxy")
        );
        assert!(
            gateway.contains("kind: Deployment\nmetadata:\n  name: gbg-proxy\n  namespace: gbg\n")
        );
        // The doctor finds the file without --config.
        assert!(gateway.contains("mountPath: /etc/gbg-proxy\n"));
        assert!(image.contains("\nWORKDIR /etc/gbg-proxy\n"));
        assert!(image.contains("\nENTRYPOINT [\"/usr/local/bin/gbg-proxy\"]\n"));
        assert!(ways.contains("kubectl exec deployment/app -c gbg-proxy -- "));
        assert!(sidecar.contains("kind: Deployment\nmetadata:\n  name: app\n"));
        assert!(sidecar.contains("initContainers:\n        - name: gbg-proxy\n"));
    }

    #[test]
    fn the_runbook_has_the_same_commands() {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let runbook = words(include_str!("../../../docs/operations.md"));
        for way in ways_of(&[], None).iter().take(4) {
            let (_, command) = way.split_once(": ").unwrap();
            assert!(runbook.contains(&words(command)), "{command}");
        }
    }

    #[test]
    fn only_fitting_places_are_named() {
        let ways = ways_of(
            &["token.client_id=a", "token.client_secret=credential:s"],
            None,
        );
        assert_eq!(ways.len(), 1);
        assert!(ways[0].contains("-p LoadCredential=s:PATH") && !ways[0].contains(" -E "));
        let ways = ways_of(
            &["token.client_id=a", "token.client_secret=file:/nowhere"],
            None,
        );
        let places: Vec<_> = ways.iter().map(|way| &way[..6]).collect();
        assert_eq!(places, ["Kubern", "Kubern", "Docker", "this m"]);
        let ways = ways_of(&["token.client_id=a", "token.client_secret=env:S"], None);
        assert_eq!(
            ways.last().map(String::as_str),
            Some("this shell: S=… gbg-proxy doctor")
        );
    }
}
