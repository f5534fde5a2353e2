//! Colours of the commands and of the log: on a terminal only, and not with NO_COLOR.

use std::net::TcpListener;
use std::process::Command;

use crate::support::process::{command, text};

const ESCAPE: char = '\u{1b}';

/// What `command` prints on a terminal of the kind `term`.
fn on_terminal(command: &Command, term: &str, no_color: Option<&str>) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_str().unwrap()).collect();
    let mut script = Command::new("/usr/bin/script");
    script
        .args(["-qec", &words.join(" "), "/dev/null"])
        .env_clear()
        .env("TERM", term)
        .current_dir(command.get_current_dir().unwrap());
    for (name, value) in command.get_envs() {
        script.env(name, value.unwrap());
    }
    if let Some(value) = no_color {
        script.env("NO_COLOR", value);
    }
    text(&script.output().unwrap()).0
}

fn doctor() -> Command {
    command(&[
        "doctor",
        "--set",
        "upstream.base_url=http://127.0.0.1:1",
        "--set",
        "token.endpoint=http://127.0.0.1:1/",
    ])
}

#[test]
fn doctor_is_colored_on_a_terminal_only() {
    let colored = on_terminal(&doctor(), "xterm", None);
    for part in [
        "\u{1b}[32m✓\u{1b}[0m configuration",
        "\u{1b}[1m\u{1b}[31m✗\u{1b}[0m API: TCP",
        "\u{1b}[2m-\u{1b}[0m API: TLS",
        "\u{1b}[1mfix\u{1b}[0m: ",
    ] {
        assert!(colored.contains(part), "no {part:?} in {colored:?}");
    }
    // An empty NO_COLOR counts as absent (https://no-color.org).
    assert!(on_terminal(&doctor(), "xterm", Some("")).contains(ESCAPE));
    for plain in [
        on_terminal(&doctor(), "xterm", Some("1")),
        on_terminal(&doctor(), "dumb", None),
        text(&doctor().env("CLICOLOR_FORCE", "1").output().unwrap()).0,
    ] {
        assert!(
            plain.contains("✗ API: TCP") && !plain.contains(ESCAPE),
            "{plain:?}"
        );
    }
}

#[test]
fn the_log_is_colored_on_a_terminal_only() {
    // The proxy logs a warning, and ends because its address is in use.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("listen.address={}", taken.local_addr().unwrap());
    let run = |format: &str| {
        let format = format!("log.format={format}");
        let arguments = [
            "run",
            "--set",
            &address,
            "--set",
            &format,
            "--set",
            "admin.address=off",
        ];
        let mut run = command(&arguments);
        run.env("GBG_CLIENT_ID", "a").env("GBG_CLIENT_SECRET", "b");
        run.env("GBG_PROXY_LOG_LEVEL", "");
        run
    };
    let warning = "GBG_PROXY_LOG_LEVEL";
    let colored = on_terminal(&run("text"), "xterm", None);
    let level = "Z\u{1b}[33m  WARN \u{1b}[0m";
    assert!(
        colored.contains(level) && colored.contains(warning),
        "{colored:?}"
    );
    for plain in [
        on_terminal(&run("text"), "xterm", Some("1")),
        on_terminal(&run("json"), "xterm", None),
        text(&run("text").output().unwrap()).0,
    ] {
        assert!(
            plain.contains(warning) && !plain.contains(ESCAPE),
            "{plain:?}"
        );
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("log");
    let mut to_file = run("text");
    to_file.args(["--set", &format!("log.file={}", file.display())]);
    on_terminal(&to_file, "xterm", None);
    let log = std::fs::read_to_string(&file).unwrap();
    assert!(log.contains(warning) && !log.contains(ESCAPE), "{log:?}");
}
