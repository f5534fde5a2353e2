//! Secrets and keys in variables, files and systemd credentials: line ends and blanks around them,
//! and bytes that are refused in them; `http://` that would send them off this machine.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use gbg_proxy::config::{self, Loaded, Sources};
use gbg_proxy::token::Client;

use crate::support::process::{command, text};
use crate::support::{api, environment, token_endpoint};

pub(crate) const SECRET: &str = "s3cret-4d1e";

pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn load(set: &[String], env: &[(&str, &str)]) -> Result<Loaded, String> {
    let mut all = environment();
    all.extend(
        env.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    let base = [
        "upstream.base_url=http://localhost",
        "token.endpoint=http://localhost",
    ]
    .map(str::to_owned);
    let set = base.iter().chain(set).cloned().collect();
    config::load(&Sources {
        set,
        env: all,
        file: None,
    })
    .map_err(|error| error.to_string())
}

/// The values of the token request, each kept in a variable, a file or a systemd credential.
const VALUES: [&str; 4] = ["client_id", "client_secret", "username", "password"];

#[tokio::test]
async fn a_line_end_is_never_sent() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let directory = tempfile::tempdir().unwrap();
    let credentials = directory.path().to_str().unwrap();
    let api = api().await;
    let url = token_endpoint(&api);
    let mut requests = 0;
    for kind in ["env", "file", "credential"] {
        for end in ["", "\n", "\r\n", "\r", "\n\n"] {
            let mut env = environment();
            env.insert("CREDENTIALS_DIRECTORY".to_owned(), credentials.to_owned());
            let mut set = vec![
                "upstream.base_url=http://localhost".to_owned(),
                format!("token.endpoint={url}"),
            ];
            set.push("token.grant=password".to_owned());
            for name in VALUES {
                let value = format!("{name}-{SECRET}{end}");
                let path = directory.path().join(name);
                fs::write(&path, &value).unwrap();
                set_mode(&path, 0o600);
                env.insert(name.to_owned(), value);
                let place = if kind == "file" {
                    path.display().to_string()
                } else {
                    name.to_owned()
                };
                set.push(format!("token.{name}={kind}:{place}"));
            }
            let loaded = config::load(&Sources {
                set,
                env,
                file: None,
            })
            .unwrap();
            assert_eq!(loaded.warnings, [""; 0], "{kind} {end:?}");
            Client::new("default", &loaded.config.token)
                .unwrap()
                .fetch()
                .await
                .unwrap();

            let all = api.received_requests().await.unwrap();
            requests += 1;
            assert_eq!(all.len(), requests);
            let sent = url::form_urlencoded::parse(&all.last().unwrap().body).into_owned();
            let sent: BTreeMap<String, String> = sent.collect();
            for name in VALUES {
                assert_eq!(sent[name], format!("{name}-{SECRET}"), "{kind} {end:?}");
            }
        }
    }
}

#[test]
fn line_ends_of_variables_are_trimmed() {
    let env = [
        ("GBG_PROXY_TOKEN_CLIENT_ID", "the-client\r"),
        ("GBG_PROXY_UPSTREAM_CONNECT_TIMEOUT", "3s\r\n"),
        ("SECRET", "s3cret\r"),
        ("GBG_PROXY_TOKEN_CLIENT_SECRET", "env:SECRET\r"),
    ];
    let config = load(&[], &env).unwrap().config;
    assert_eq!(
        config.token.credentials.read().unwrap().client_id,
        "the-client"
    );
    assert_eq!(config.upstream.connect_timeout.as_secs(), 3);
}

#[test]
fn control_characters_and_bom_are_rejected_with_cause() {
    let directory = tempfile::tempdir().unwrap();
    let proxy = format!("http://ada:{SECRET}@proxy.example:3128");
    let keys = VALUES.map(|name| (format!("token.{name}"), SECRET));
    for (key, value) in keys
        .iter()
        .map(|(key, value)| (key.as_str(), *value))
        .chain([("upstream.egress_proxy", proxy.as_str())])
    {
        let grant = ["token.username", "token.password"].contains(&key);
        for (bad, cause) in [
            (format!("\u{FEFF}{value}"), "begins with a byte order mark"),
            (format!("{value}\t"), "contains a tab"),
            (format!("\n{value}"), "has more than one line"),
            (format!("{value}\n{value}\n"), "has more than one line"),
            (format!("{value}\0"), "contains a control character"),
            (format!("{value}\u{7f}"), "contains a control character"),
            (format!("{value}\u{FFFD}"), "is not UTF-8 text"),
            (
                format!("-----BEGIN PRIVATE KEY-----\\n{value}"),
                "is PEM text",
            ),
            (" \n".to_owned(), "is empty"),
        ] {
            let file = directory.path().join("value");
            fs::write(&file, &bad).unwrap();
            for place in ["env:VALUE".to_owned(), format!("file:{}", file.display())] {
                let mut set = vec![format!("{key}={place}")];
                if grant {
                    let other = if key == "token.username" {
                        "token.password=env:GBG_CLIENT_ID"
                    } else {
                        "token.username=ada"
                    };
                    set.extend(["token.grant=password".to_owned(), other.to_owned()]);
                }
                let error = load(&set, &[("VALUE", &bad)]).map(drop).unwrap_err();
                assert!(
                    error.starts_with(&format!("--set: {key}: {place} {cause}")),
                    "{error}"
                );
                assert!(
                    error.contains("\n  fix: ") && !error.contains(SECRET),
                    "{error}"
                );
            }
        }
    }
    fs::write(
        directory.path().join("value"),
        [b"\xFF\xFE", SECRET.as_bytes()].concat(),
    )
    .unwrap();
    let place = format!(
        "token.client_secret=file:{}",
        directory.path().join("value").display()
    );
    assert!(
        load(&[place], &[])
            .map(drop)
            .unwrap_err()
            .contains("is UTF-16 text")
    );
    for user in [format!("ada%0A:{SECRET}"), format!("ada:{SECRET}%0d")] {
        let env = format!("http://{user}@proxy.example");
        let error = load(
            &["upstream.egress_proxy=env:WAY".to_owned()],
            &[("WAY", &env)],
        )
        .map(drop)
        .unwrap_err();
        assert!(
            error.contains("contains a control character") && !error.contains(SECRET),
            "{error}"
        );
    }
}

#[test]
fn blanks_around_a_url_are_trimmed() {
    let loaded = load(
        &[
            "upstream.egress_proxy=env:WAY".to_owned(),
            "upstream.base_url=https://a.example".to_owned(),
        ],
        &[("WAY", " http://proxy.example:3128 ")],
    );
    let loaded = loaded.unwrap();
    assert!(loaded.config.upstream.egress.is_some());
    assert!(
        !loaded
            .warnings
            .iter()
            .any(|warning| warning.contains("blank")),
        "{:?}",
        loaded.warnings
    );
}

#[test]
fn variables_of_keys_must_be_utf8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let mut check = command(&["check"]);
    check
        .env("GBG_CLIENT_ID", "a")
        .env("GBG_CLIENT_SECRET", SECRET);
    check.env(
        "GBG_PROXY_LISTEN_ADDRESS",
        OsStr::from_bytes(b"unix:/run/caf\xE9.sock"),
    );
    let output = check.output().unwrap();
    let (out, err) = text(&output);
    assert_eq!(output.status.code(), Some(64), "{out}{err}");
    assert!(
        err.contains("GBG_PROXY_LISTEN_ADDRESS: the value is not UTF-8") && err.contains("fix: "),
        "{err}"
    );
    assert!(!err.contains("caf"), "{err}");
}

/// Such as a misspelt key, or a variable of somebody else's.
#[test]
fn unknown_non_utf8_variables_cause_a_warning() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let mut check = command(&["check"]);
    check
        .env("GBG_CLIENT_ID", "a")
        .env("GBG_CLIENT_SECRET", SECRET);
    check.env(
        "GBG_PROXY_LISTEN_ADRESS",
        OsStr::from_bytes(b"unix:/run/caf\xE9.sock"),
    );
    let output = check.output().unwrap();
    let (out, err) = text(&output);
    let said = (out + &err)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert_eq!(output.status.code(), Some(0), "{said}");
    let warning = "the environment variable GBG_PROXY_LISTEN_ADRESS sets no key and is ignored; did you mean \
                   GBG_PROXY_LISTEN_ADDRESS?";
    assert!(said.contains(warning) && !said.contains("caf"), "{said}");
}

/// A variable that is not UTF-8 is there.
#[test]
fn a_non_utf8_variable_counts_as_set() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let mut check = command(&["check"]);
    check
        .env("GBG_CLIENT_ID", "a")
        .env("GBG_CLIENT_SECRET", OsStr::from_bytes(b"s3cret\xE9"));
    let (_, err) = text(&check.output().unwrap());
    assert!(
        err.contains("token.client_secret: env:GBG_CLIENT_SECRET is not UTF-8 text"),
        "{err}"
    );
}

#[cfg(feature = "otlp")]
#[test]
fn a_remote_http_collector_needs_allow_http() {
    let set = |set: &[&str]| {
        load(
            &set.iter().map(|&set| set.to_owned()).collect::<Vec<_>>(),
            &[],
        )
        .map(drop)
    };
    let foreign = "trace.endpoint=http://collector.example:4318/v1/traces";
    let error = set(&[foreign]).unwrap_err();
    assert!(
        error.starts_with("--set: trace.endpoint: http:// would send"),
        "{error}"
    );
    assert!(error.contains("trace.allow_http = true"), "{error}");
    for taken in [
        &[foreign, "trace.allow_http=true"][..],
        &["trace.endpoint=http://127.0.0.1:4318/v1/traces"],
        &["trace.endpoint=http://localhost:4318/v1/traces"],
        &["trace.endpoint=https://collector.example:4318/v1/traces"],
    ] {
        assert_eq!(set(taken), Ok(()), "{taken:?}");
    }
}
