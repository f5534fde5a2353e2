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
pub(super) struct RunLocation {
    pub(super) place: &'static str,
    pub(super) command: String,
}

/// Returns the commands for the places that may have the `missing` credentials. `file` is the
/// configuration that was read.
pub(super) fn run_locations(missing: &[MissingSecret], file: Option<&Path>) -> Vec<RunLocation> {
    let variables: Vec<_> = missing.iter().filter_map(MissingSecret::variable).collect();
    let names: Vec<_> = missing
        .iter()
        .filter_map(MissingSecret::systemd_name)
        .collect();
    let is_missing = |unit: &&UnitCredential| variables.contains(&unit.default);
    let units: Vec<_> = UNIT_CREDENTIALS.iter().filter(is_missing).collect();
    let mut locations = Vec::new();
    if missing.is_empty() {
        return locations;
    }
    if !units.is_empty() || !names.is_empty() {
        locations.push(RunLocation {
            place: "systemd (add further Environment= lines of your unit with -E)",
            command: systemd_run(&units, &names, file),
        });
    }
    if names.is_empty() {
        locations.extend([
            RunLocation {
                place: "Kubernetes, as in deploy/kubernetes/gateway.yaml",
                command: format!("kubectl -n gbg exec deployment/gbg-proxy -- {PROGRAM}"),
            },
            RunLocation {
                place: "Kubernetes, as in deploy/kubernetes/sidecar.yaml",
                command: format!("kubectl exec deployment/app -c gbg-proxy -- {PROGRAM}"),
            },
            RunLocation {
                place: "Docker",
                command: format!("docker exec CONTAINER {PROGRAM}"),
            },
        ]);
    }
    let file_argument = config_argument(file);
    if variables.len() + names.len() < missing.len() {
        locations.push(RunLocation {
            place: "this machine, as a user who may read the files",
            command: format!("sudo gbg-proxy doctor{file_argument}"),
        });
    }
    if variables.len() == missing.len() {
        let assignments = variables.iter().map(|name| format!("{name}=… "));
        let assignments: String = assignments.collect();
        locations.push(RunLocation {
            place: "this shell",
            command: format!("{assignments}gbg-proxy doctor{file_argument}"),
        });
    }
    locations
}

/// The doctor as a service with the credentials of the unit, and with its user and directory.
fn systemd_run(units: &[&UnitCredential], names: &[&str], file: Option<&Path>) -> String {
    let mut lines = vec![
        "sudo systemd-run --pipe --wait --collect --quiet".to_owned(),
        "-p DynamicUser=yes -p WorkingDirectory=/etc/gbg-proxy".to_owned(),
    ];
    let load = |name: &str, path: &str| format!("-p LoadCredential={name}:{path}");
    for unit in units {
        lines.push(load(unit.name, unit.path));
        lines.push(format!("-E {}=credential:{}", unit.variable, unit.name));
    }
    let is_new = |name: &&&str| !units.iter().any(|unit| unit.name == **name);
    for name in names.iter().filter(is_new) {
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

    fn locations_of(set: &[&str], file: Option<&Path>) -> Vec<String> {
        let plain = [
            "upstream.base_url=http://localhost",
            "token.endpoint=http://localhost",
        ];
        let sources = Sources {
            set: plain.iter().chain(set).map(|&text| text.into()).collect(),
            ..Sources::default()
        };
        let (_, missing) = config::load_for_diagnosis(&sources).unwrap();
        let locations = run_locations(&missing, file).into_iter();
        locations
            .map(|RunLocation { place, command }| format!("{place}: {command}"))
            .collect()
    }

    /// The operator copies the command: each property has to be a line of the unit.
    #[test]
    fn the_systemd_command_matches_the_unit() {
        let unit = include_str!("../../../deploy/systemd/gbg-proxy.service");
        let file = Path::new("/etc/gbg-proxy/proxy.toml");
        let command = locations_of(&[], Some(file)).remove(0);
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
        let locations = locations_of(&[], None).join("\n");
        assert!(
            locations
                .contains("kubectl -n gbg exec deployment/gbg-proxy -- /usr/local/bin/gbg-proxy")
        );
        assert!(
            gateway.contains("kind: Deployment\nmetadata:\n  name: gbg-proxy\n  namespace: gbg\n")
        );
        // The doctor finds the file without --config.
        assert!(gateway.contains("mountPath: /etc/gbg-proxy\n"));
        assert!(image.contains("\nWORKDIR /etc/gbg-proxy\n"));
        assert!(image.contains("\nENTRYPOINT [\"/usr/local/bin/gbg-proxy\"]\n"));
        assert!(locations.contains("kubectl exec deployment/app -c gbg-proxy -- "));
        assert!(sidecar.contains("kind: Deployment\nmetadata:\n  name: app\n"));
        assert!(sidecar.contains("initContainers:\n        - name: gbg-proxy\n"));
    }

    #[test]
    fn the_runbook_has_the_same_commands() {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let runbook = words(include_str!("../../../docs/operations.md"));
        for way in locations_of(&[], None).iter().take(4) {
            let (_, command) = way.split_once(": ").unwrap();
            assert!(runbook.contains(&words(command)), "{command}");
        }
    }

    #[test]
    fn only_fitting_places_are_named() {
        let locations = locations_of(
            &["token.client_id=a", "token.client_secret=credential:s"],
            None,
        );
        assert_eq!(locations.len(), 1);
        assert!(
            locations[0].contains("-p LoadCredential=s:PATH") && !locations[0].contains(" -E ")
        );
        let locations = locations_of(
            &["token.client_id=a", "token.client_secret=file:/nowhere"],
            None,
        );
        let places: Vec<_> = locations.iter().map(|way| &way[..6]).collect();
        assert_eq!(places, ["Kubern", "Kubern", "Docker", "this m"]);
        let locations = locations_of(&["token.client_id=a", "token.client_secret=env:S"], None);
        assert_eq!(
            locations.last().map(String::as_str),
            Some("this shell: S=… gbg-proxy doctor")
        );
    }
}
