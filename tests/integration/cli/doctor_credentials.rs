//! `gbg-proxy doctor` without the credentials of the service, and the commands that it prints.

use std::path::Path;

use gbg_proxy::sandbox::Sandbox;
use tempfile::TempDir;

use crate::cli::doctor::{Said, examine, sandbox};
use crate::support::process::{command, with_client};
use crate::support::{CLIENT_ID, CLIENT_SECRET};

const INCOMPLETE: i32 = 2;

/// The doctor without credentials, before a sandbox.
async fn without_credentials(set: &[&str]) -> (Sandbox, TempDir, Said) {
    let (sandbox, directory, servers) = sandbox().await;
    let set = [&servers.each_ref().map(String::as_str)[..], set].concat();
    let said = examine(command(&["doctor"]), &set).await;
    (sandbox, directory, said)
}

#[tokio::test]
async fn missing_credentials_skip_the_last_steps_only() {
    let (sandbox, _directory, said) = without_credentials(&[]).await;

    assert_eq!(said.code, Some(INCOMPLETE), "{}", said.out);
    for (key, variable) in [
        ("token.client_id", "GBG_CLIENT_ID is not set"),
        ("token.client_secret", "GBG_CLIENT_SECRET is not set"),
    ] {
        said.assert('-', key, &[variable]);
    }
    for server in ["token endpoint", "API"] {
        for step in ["DNS", "TCP", "TLS"] {
            said.assert('✓', &format!("{server}: {step}"), &["localhost"]);
        }
    }
    said.assert('✓', "clock", &["agrees with the token endpoint"]);
    said.assert('-', "token request", &["the credentials are missing"]);
    said.assert('-', "API: call", &["there is no token"]);
    assert_eq!(sandbox.token_calls(), 1, "the one for the time");
    for command in [
        "sudo systemd-run ",
        "kubectl -n gbg exec ",
        "docker exec CONTAINER ",
        "GBG_CLIENT_ID=… GBG_CLIENT_SECRET=… gbg-proxy doctor",
    ] {
        assert!(said.out.contains(command), "{command} in {}", said.out);
    }
}

/// systemd puts each credential into a file of `$CREDENTIALS_DIRECTORY`.
#[tokio::test]
async fn the_systemd_command_provides_the_credentials() {
    let (_sandbox, directory, said) = without_credentials(&[]).await;
    let (_running, _directory, servers) = sandbox().await;
    let words: Vec<_> = said.out.split_whitespace().collect();
    let mut doctor = command(&["doctor"]);
    doctor.env("CREDENTIALS_DIRECTORY", directory.path());
    for pair in words.windows(2) {
        match pair[0] {
            "-E" => {
                let (name, value) = pair[1].split_once('=').unwrap();
                doctor.env(name, value);
            }
            "-p" if pair[1].starts_with("LoadCredential=") => {
                let credential = pair[1].strip_prefix("LoadCredential=").unwrap();
                let (name, path) = credential.split_once(':').unwrap();
                let value = match Path::new(path).file_name().unwrap().to_str().unwrap() {
                    "client-id" => CLIENT_ID,
                    "client-secret" => CLIENT_SECRET,
                    other => panic!("{other}"),
                };
                std::fs::write(directory.path().join(name), value).unwrap();
            }
            _ => {}
        }
    }
    let said = examine(doctor, &servers.each_ref().map(String::as_str)).await;
    assert_eq!(said.code, Some(0), "{}", said.out);
    said.assert(
        '✓',
        "token.client_secret",
        &["credential:gbg-client-secret"],
    );
}

#[tokio::test]
async fn a_failed_step_outweighs_missing_credentials() {
    let dead = "upstream.base_url=http://127.0.0.1:1";
    let (_sandbox, _directory, said) = without_credentials(&[dead]).await;
    assert_eq!(said.code, Some(1), "{}", said.out);
    said.assert('-', "token request", &["the credentials are missing"]);
    assert!(said.out.contains("\nThe diagnosis is incomplete: "));
}

#[tokio::test]
async fn files_of_the_service_may_be_missing() {
    let set = [
        "token.client_id=public",
        "token.client_secret=file:/nowhere/secret",
        "token.client_cert=/nowhere/client.crt",
        "token.client_key=/nowhere/client.key",
    ];
    let (_sandbox, _directory, said) = without_credentials(&set).await;
    assert_eq!(said.code, Some(INCOMPLETE), "{}", said.out);
    let files = [
        "token.client_secret",
        "token.client_cert",
        "token.client_key",
    ];
    for key in files {
        said.assert('-', key, &["cannot read /nowhere/", "No such file"]);
    }
    said.assert('-', "token.client_key", &["TLS is tried without it"]);
    said.assert('✓', "token endpoint: TLS", &[]);
    assert!(
        said.out.contains("\n    sudo gbg-proxy doctor\n"),
        "{}",
        said.out
    );
    assert!(!said.out.contains("systemd-run"), "{}", said.out);
}

/// systemd passes the listener's key to the service alone.
#[tokio::test]
async fn the_listeners_key_is_not_needed() {
    let (_sandbox, directory, servers) = sandbox().await;
    let cert = format!(
        "listen.tls.cert={}",
        directory.path().join("ca.pem").display()
    );
    let key = "listen.tls.key=/nowhere/tls.key";
    let open = ["listen.address=0.0.0.0:8443", "listen.allow_anonymous=true"];
    let servers = servers.each_ref().map(String::as_str);
    let set = [&servers[..], &[&cert, key], &open].concat();

    let said = examine(with_client(&["doctor"]), &set).await;

    assert_eq!(said.code, Some(0), "{}", said.out);
    let note = "note: listen.tls.key: cannot read /nowhere/tls.key: ";
    said.assert('✓', "configuration", &[note, "only `run` needs it"]);
    let mut check = with_client(&["check"]);
    check.args(set.iter().flat_map(|set| ["--set", set]));
    assert_eq!(check.output().unwrap().status.code(), Some(64));
}

#[tokio::test]
async fn other_errors_of_the_configuration_stop_it() {
    let (_sandbox, _directory, said) = without_credentials(&["upstream.regio=eu"]).await;
    assert_eq!(said.code, Some(64), "{}", said.out);
    said.assert('✗', "configuration", &["upstream.regio"]);

    let mut doctor = with_client(&["doctor"]);
    doctor.env("GBG_CLIENT_SECRET", "two\nlines");
    let said = examine(doctor, &[]).await;
    assert_eq!(said.code, Some(64), "{}", said.out);
    said.assert('✗', "configuration", &["more than one line"]);

    let said = examine(command(&["doctor"]), &["upstream.egress_proxy=env:WAY_OUT"]).await;
    assert_eq!(said.code, Some(64), "{}", said.out);
    said.assert('✗', "configuration", &["WAY_OUT is not set"]);
}
