//! Warnings of odd secrets and of files that other users can read, and the memory that neither a
//! core dump nor another process shows.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use crate::config::secrets::{SECRET, load, set_mode};
use crate::support::open_directory;
use crate::support::process::{Running, command, text};

/// Each warning, by each of the commands that load the configuration.
#[test]
fn unusual_secrets_and_open_files_cause_warnings() {
    let directory = open_directory();
    let file = directory.path().join("secret");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("listen.address={}", taken.local_addr().unwrap());
    let client_secret = format!("token.client_secret=file:{}", file.display());
    for (value, mode, warning) in [
        (SECRET.to_owned(), 0o600, None),
        (SECRET.to_owned(), 0o440, None),
        (
            SECRET.to_owned(),
            0o644,
            Some("other users of this machine can read or replace"),
        ),
        (
            format!("\"{SECRET}\""),
            0o600,
            Some("token.client_secret: the value is in quotes"),
        ),
        (
            format!("'{SECRET}'\n"),
            0o600,
            Some("token.client_secret: the value is in quotes"),
        ),
        (
            format!(" {SECRET}"),
            0o600,
            Some("token.client_secret: the value begins or ends with a blank"),
        ),
        (
            format!("{SECRET} \n"),
            0o600,
            Some("token.client_secret: the value begins or ends with a blank"),
        ),
        (
            format!("{SECRET}é"),
            0o600,
            Some("token.client_secret: the value has non-ASCII characters"),
        ),
    ] {
        fs::write(&file, &value).unwrap();
        set_mode(&file, mode);
        for arguments in [&["check"][..], &["check", "--json"], &["run"], &["doctor"]] {
            let dead = [
                "upstream.base_url=http://127.0.0.1:1",
                "token.endpoint=http://127.0.0.1:1",
            ];
            let set = [
                dead[0],
                dead[1],
                &client_secret,
                &address,
                "admin.address=off",
            ];
            let set = set.iter().flat_map(|set| ["--set", set]);
            let all: Vec<_> = arguments.iter().copied().chain(set).collect();
            let (out, err) = text(&command(&all).env("GBG_CLIENT_ID", "a").output().unwrap());
            let said = out + &err;
            let is_reported = ["is in quotes", "a blank", "non-ASCII", "other users"]
                .iter()
                .any(|part| {
                    said.split_whitespace()
                        .collect::<Vec<_>>()
                        .join(" ")
                        .contains(part)
                });
            assert_eq!(
                is_reported,
                warning.is_some(),
                "{value:?} {mode:o} {arguments:?}: {said}"
            );
            let one_line = said.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(
                warning.is_none_or(|warning| one_line.contains(warning)),
                "{arguments:?}: {said}"
            );
            assert!(!said.contains(SECRET), "{arguments:?}: {said}");
        }
    }
}

#[test]
fn every_secret_file_is_checked() {
    let directory = open_directory();
    let write = |name: &str, text: &str, mode| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        set_mode(&path, mode);
        path.display().to_string()
    };
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let cert = write("cert", &made.cert.pem(), 0o644);
    let id = write("id", "a", 0o644);
    let rsa = include_str!("../keys/rsa.pem");
    let jwt = |mode| format!("token.jwt_key=file:{}", write("jwt", rsa, mode));
    let tls = |mode| write("key", &made.signing_key.serialize_pem(), mode);
    let sets = |mode| {
        let https = "token.endpoint=https://localhost".to_owned();
        let ca = format!("upstream.ca_file={cert}");
        [
            (
                "token.jwt_key",
                vec!["token.client_auth=private_key_jwt".to_owned(), jwt(mode)],
            ),
            (
                "token.client_key",
                vec![
                    https,
                    ca.clone(),
                    format!("token.client_cert={cert}"),
                    format!("token.client_key={}", tls(mode)),
                ],
            ),
            (
                "token.password",
                vec![
                    "token.grant=password".to_owned(),
                    format!("token.username=file:{id}"),
                    format!("token.password=file:{}", write("password", SECRET, mode)),
                ],
            ),
            (
                "listen.tls.key",
                vec![
                    format!("listen.tls.cert={cert}"),
                    format!("listen.tls.key={}", tls(mode)),
                ],
            ),
            (
                "upstream.client_key",
                vec![
                    "upstream.base_url=https://localhost".to_owned(),
                    ca,
                    format!("upstream.client_cert={cert}"),
                    format!("upstream.client_key={}", tls(mode)),
                ],
            ),
            (
                "upstream.egress_proxy",
                vec![format!(
                    "upstream.egress_proxy=file:{}",
                    write("way", "http://ada:pass@a.example", mode)
                )],
            ),
        ]
    };
    for (key, mut set) in sets(0o600) {
        set.push(format!("token.client_id=file:{id}"));
        assert_eq!(load(&set, &[]).unwrap().warnings, [""; 0], "{key}");
    }
    for (key, set) in sets(0o604) {
        let warnings = load(&set, &[]).unwrap().warnings;
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].starts_with(&format!("{key}: other users")),
            "{warnings:?}"
        );
        assert!(
            warnings[0].contains("mode 0604") && warnings[0].contains("chmod 0600"),
            "{warnings:?}"
        );
    }
}

/// The next token request reads the file again.
#[test]
fn a_rotated_secret_is_checked_again() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    fs::write(&file, SECRET).unwrap();
    let mut running = Running::start(&[&format!("token.client_secret=file:{}", file.display())]);
    assert!(!running.log.contains("is in quotes"), "{}", running.log);
    fs::write(&file, format!("\"{SECRET}\"")).unwrap();
    running.read_until("token.client_secret: the value is in quotes");
    assert_eq!(running.end("-TERM"), 0);
    assert!(!running.log.contains(SECRET), "{}", running.log);
}

/// What no other process of the same user may read belongs to root under `/proc`.
#[cfg(target_os = "linux")]
#[test]
fn core_dumps_and_other_processes_see_no_memory() {
    let mut running = Running::start_as_nobody();
    let of = |pid: u32, name: &str| Path::new("/proc").join(pid.to_string()).join(name);
    let mut other = Command::new("sleep");
    let mut other = running.run_as_same_user(other.arg("60"));
    let owner = |pid| fs::metadata(of(pid, "environ")).unwrap().uid();
    let expected = (0, running.user);
    let found = (owner(running.id()), owner(other.id()));
    let limits = fs::read_to_string(of(running.id(), "limits")).unwrap();
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(
        found, expected,
        "of the proxy, and of a process that protects nothing"
    );
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(
        core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(),
        ["0", "0"],
        "{core}"
    );
    assert_eq!(running.end("-TERM"), 0);
}

#[test]
fn the_systemd_unit_forbids_core_dumps() {
    let unit = include_str!("../../../deploy/systemd/gbg-proxy.service");
    assert!(unit.lines().any(|line| line == "LimitCORE=0"));
}
