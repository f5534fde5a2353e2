//! Command lines of the documents: each is run by the real binary in front of a sandbox, or is listed here with the reason why it is not.

mod document;

use std::fmt::Write;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::process::{Running, command, text};

use self::document::{Step, documents};
use super::documents::read;

/// Programs that cannot run here, each with the reason.
const NOT_RUN: [(&str, &str); 9] = [
    ("apt-get", "it changes the machine"),
    ("benches/peers/run", "it needs other proxies and minutes"),
    (
        "cargo",
        "it compiles for minutes; `.ci/run` runs the tests, the demo and the benches",
    ),
    ("docker", "there is no daemon"),
    ("h2load", "it is not installed"),
    ("journalctl", "there is no journal"),
    (
        "kubectl",
        "there is no cluster; `.ci/deploy` checks the manifests",
    ),
    ("systemctl", "systemd does not run here"),
    ("systemd-run", "systemd does not run here"),
];

/// Programs that sessions run.
const RUN: [&str; 9] = [
    "curl",
    "export",
    "gbg-proxy",
    "install",
    "openssl",
    "printf",
    "rm",
    "sed",
    "umask",
];

/// The command whose failure a document shows: a wrong secret.
const REFUSED: &str = "gbg-proxy doctor --config sandbox.toml";

/// A document in which a proxy already runs.
const WITH_PROXY: &str = "docs/operations.md";

/// The program of a command line, after the variables that are set for it and `sudo`.
fn program(line: &str) -> &str {
    let mut words = line.split(' ');
    words
        .find(|word| !word.contains('=') && *word != "sudo")
        .unwrap()
}

#[test]
fn every_documented_command_is_run_or_listed() {
    let mut seen = Vec::new();
    for document in documents() {
        for step in &document.steps {
            let Step::Command { line, .. } = step else {
                continue;
            };
            let program = program(line);
            assert!(
                RUN.contains(&program) || NOT_RUN.iter().any(|(listed, _)| *listed == program),
                "{}: {line}: run {program} in the sessions, or list it with the reason",
                document.name
            );
            seen.push(program.to_owned());
            let words = line.split_whitespace();
            for file in
                words.filter(|word| word.starts_with("deploy/") || word.starts_with("benches/"))
            {
                let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
                assert!(
                    path.exists(),
                    "{}: {line}: {file} does not exist",
                    document.name
                );
            }
        }
    }
    let listed = NOT_RUN.iter().map(|(program, _)| *program).chain(RUN);
    for program in listed {
        assert!(
            seen.iter().any(|seen| seen == program),
            "no document runs {program}"
        );
    }
}

/// `--help` at the end makes the binary check the words before it, and then do nothing.
#[test]
fn every_documented_command_line_is_valid() {
    let mut lines = Vec::new();
    for document in documents() {
        lines.extend(document.inline);
        for step in document.steps {
            match step {
                Step::Command { line, .. } if program(&line) == "gbg-proxy" => lines.push(line),
                _ => {}
            }
        }
    }
    let in_documents = lines.len();
    assert!(in_documents > 40, "{in_documents}");
    lines.extend(help_examples());
    assert!(lines.len() > in_documents + 25, "{}", lines.len());
    lines.sort_unstable();
    lines.dedup();

    let directory = tempfile::tempdir().unwrap();
    prepare(directory.path());
    for line in lines {
        let ends = [" > ", " 2> ", " | ", " && ", "  "];
        let end = ends.iter().filter_map(|end| line.find(end)).min();
        let simple = &line[..end.unwrap_or(line.len())];
        let output = shell(
            directory.path(),
            &format!("PATH=\"$PWD/bin:$PATH\"; {simple} --help"),
        );
        assert!(output.0, "{line}: {}", output.1);
    }
}

/// The examples that `--help` shows for each command.
fn help_examples() -> Vec<String> {
    let help = |arguments: &[&str]| text(&command(arguments).output().unwrap()).0;
    let main = help(&["--help"]);
    let (_, commands) = main.split_once("Commands:\n").unwrap();
    let names = commands.lines().take_while(|line| !line.is_empty());
    let pages: Vec<_> = names
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !["", "help"].contains(name))
        .map(|name| help(&[name, "--help"]))
        .chain([main.clone()])
        .collect();
    let examples = pages
        .iter()
        .filter_map(|page| page.split_once("Examples:\n"));
    let lines =
        examples.flat_map(|(_, examples)| examples.lines().take_while(|line| !line.is_empty()));
    let commands = lines.filter_map(|line| line.strip_prefix("  "));
    commands
        .filter(|line| !line.starts_with(' '))
        .map(str::to_owned)
        .collect()
}

#[test]
fn sessions_of_the_documents_run() {
    let has_curl = Command::new("curl").arg("--version").output().is_ok();
    if !has_curl {
        println!("curl is not installed: its commands are not run");
    }
    let mut sandbox = Running::sandbox(&["--quiet"]);
    sandbox.read_until("token.endpoint=");
    let mut words = sandbox.log.split_whitespace();
    let origin = words.find_map(|word| word.strip_prefix("upstream.base_url="));
    let origin = origin.unwrap();
    let mut commands = 0;
    for document in documents() {
        let mut script = String::new();
        if document.name == WITH_PROXY {
            script += "start gbg-proxy run\ngbg-proxy wait\n";
        }
        for step in &document.steps {
            match step {
                Step::Toml(text) => script += &configuration(&document.name, text),
                Step::Command { line, output } => {
                    let program = program(line);
                    if RUN.contains(&program) && (has_curl || program != "curl") {
                        commands += 1;
                        script += &format!("echo {}\n{}\n", quoted(line), scripted(line, output));
                    }
                }
            }
        }
        let directory = tempfile::tempdir().unwrap();
        prepare(directory.path());
        for folder in ["/etc/", "/usr/local/"] {
            script = script.replace(folder, &format!("{}{folder}", directory.path().display()));
        }
        let prelude = format!("SANDBOX={origin}\n{}", include_str!("session.sh"));
        let (succeeded, output) = shell(directory.path(), &(prelude + &script));
        assert!(
            succeeded,
            "{}: the last command fails:\n{output}",
            document.name
        );
    }
    assert!(commands > 25, "{commands}");
    assert_eq!(sandbox.end("-TERM"), 0);
}

/// The lines of a session for a command.
fn scripted(line: &str, output: &str) -> String {
    let line = line.replace("GBG_CLIENT_ID=…", "GBG_CLIENT_ID=sandbox-client");
    let line = line.replace("GBG_CLIENT_SECRET=…", "GBG_CLIENT_SECRET=sandbox-secret");
    if line == REFUSED {
        return format!("GBG_CLIENT_SECRET=wrong {line} && exit 1 || test $? = 1");
    }
    if line == "gbg-proxy sandbox" {
        return format!("start {line} --address 127.0.0.1:0");
    }
    if line.starts_with("gbg-proxy run") {
        return format!("start {line}");
    }
    if line.starts_with("gbg-proxy check") {
        let shown = if output.is_empty() {
            String::new()
        } else {
            format!(" > shown.txt\ndiff - shown.txt <<'END'\n{output}END")
        };
        return format!("plain {}{shown}", line.split("  ").next().unwrap());
    }
    if line.contains(" && ") {
        // Without this the shell goes on if the first part fails.
        return format!("{{ {line}\n}} || exit 1");
    }
    line
}

/// The lines of a session that write a configuration file and check it. Afterwards it leads to the sandbox.
fn configuration(document: &str, text: &str) -> String {
    let file = if document == "README.md" {
        "my-proxy.toml"
    } else {
        "/etc/gbg-proxy/proxy.toml"
    };
    let mut written = String::new();
    let mut name = "";
    for line in text.lines() {
        name = line
            .strip_prefix("name = ")
            .map_or(name, |value| value.split('"').nth(1).unwrap());
        let line = line.replace(
            "key_sha256 = \"…\"",
            &format!("key_sha256 = $(digest {name})"),
        );
        writeln!(written, "{line}").unwrap();
    }
    format!(
        "cat > {file} <<END\n{written}END\nplain gbg-proxy check --config {file}\n\
         sed -i 's|^region = .*|base_url = \"'$SANDBOX'\"|' {file}\n"
    )
}

/// Lays out a directory like the machine of an operator, who is in a checkout of the repository.
fn prepare(directory: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in [
        "bin",
        "etc/gbg-proxy",
        "etc/systemd/system",
        "usr/local/bin",
    ] {
        std::fs::create_dir_all(directory.join(folder)).unwrap();
    }
    std::os::unix::fs::symlink(
        env!("CARGO_BIN_EXE_gbg-proxy"),
        directory.join("bin/gbg-proxy"),
    )
    .unwrap();
    let certified = rcgen::generate_simple_self_signed(["gbg.corp.example".to_owned()]).unwrap();
    let unit = read("deploy/systemd/gbg-proxy.service");
    let socket = read("deploy/systemd/gbg-proxy.socket");
    for (name, text) in [
        ("etc/gbg-proxy/tls.crt", certified.cert.pem()),
        (
            "etc/gbg-proxy/tls.key",
            certified.signing_key.serialize_pem(),
        ),
        ("etc/gbg-proxy/client-id", "sandbox-client".to_owned()),
        ("etc/gbg-proxy/client-secret", "sandbox-secret".to_owned()),
        ("etc/gbg-proxy/proxy.toml", read("proxy.toml")),
        ("sandbox.toml", String::new()),
        // What is installed.
        ("gbg-proxy", String::new()),
        ("client-id", "sandbox-client".to_owned()),
        ("client-secret", "sandbox-secret".to_owned()),
        ("gbg-proxy.service", unit),
        ("gbg-proxy.socket", socket),
    ] {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
    let copied = Command::new("cp")
        .arg("-r")
        .arg(root.join("deploy"))
        .arg(directory)
        .status();
    assert!(copied.unwrap().success());
}

/// Runs `script` in `directory`, and returns whether it succeeded, with its output.
fn shell(directory: &Path, script: &str) -> (bool, String) {
    let mut command = Command::new("sh");
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.args(["-c", script]).current_dir(directory);
    let output = command.env_clear().env("PATH", path).output().unwrap();
    let (out, err) = text(&output);
    (output.status.success(), out + &err)
}

/// `line` as one word for a shell.
fn quoted(line: &str) -> String {
    format!("'{}'", line.replace('\'', "'\\''"))
}
