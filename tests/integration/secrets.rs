//! Secrets as they are kept, in variables and files: what is trimmed, refused and warned of, and who can read them.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use gbg_proxy::config::{self, Loaded, Sources};
use gbg_proxy::token::{Client, Endpoint};

use crate::support::open_directory;
use crate::support::process::{Running, command, text};
use crate::support::{api, environment, token_endpoint};

const SECRET: &str = "s3cret-4d1e";

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn load(set: &[String], env: &[(&str, &str)]) -> Result<Loaded, String> {
    let mut all = environment();
    all.extend(env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let base = ["upstream.base_url=http://localhost", "token.endpoint=http://localhost"].map(str::to_owned);
    let set = base.iter().chain(set).cloned().collect();
    config::load(&Sources { set, env: all, file: None }).map_err(|error| error.to_string())
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
            let mut set =
                vec!["upstream.base_url=http://localhost".to_owned(), format!("token.endpoint={url}")];
            set.push("token.grant=password".to_owned());
            for name in VALUES {
                let value = format!("{name}-{SECRET}{end}");
                let path = directory.path().join(name);
                fs::write(&path, &value).unwrap();
                set_mode(&path, 0o600);
                env.insert(name.to_owned(), value);
                let place = if kind == "file" { path.display().to_string() } else { name.to_owned() };
                set.push(format!("token.{name}={kind}:{place}"));
            }
            let loaded = config::load(&Sources { set, env, file: None }).unwrap();
            assert_eq!(loaded.warnings, [""; 0], "{kind} {end:?}");
            Endpoint::new(Client::new(&loaded.config.token).unwrap()).fetch().await.unwrap();

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
fn a_line_end_behind_a_key_in_the_environment_is_none() {
    let env = [
        ("GBG_PROXY_TOKEN_CLIENT_ID", "the-client\r"),
        ("GBG_PROXY_UPSTREAM_CONNECT_TIMEOUT", "3s\r\n"),
        ("SECRET", "s3cret\r"),
        ("GBG_PROXY_TOKEN_CLIENT_SECRET", "env:SECRET\r"),
    ];
    let config = load(&[], &env).unwrap().config;
    assert_eq!(config.token.credentials.read().unwrap().client_id, "the-client");
    assert_eq!(config.upstream.connect_timeout.as_secs(), 3);
}

#[test]
fn control_characters_and_marks_are_refused_with_the_cause() {
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
            (format!("{value}\t"), "holds a tab"),
            (format!("\n{value}"), "has more than one line"),
            (format!("{value}\n{value}\n"), "has more than one line"),
            (format!("{value}\0"), "holds a control character"),
            (format!("{value}\u{7f}"), "holds a control character"),
            (format!("{value}\u{FFFD}"), "is not UTF-8 text"),
            (format!("-----BEGIN PRIVATE KEY-----\\n{value}"), "is PEM text"),
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
                assert!(error.starts_with(&format!("--set: {key}: {place} {cause}")), "{error}");
                assert!(error.contains("\n  mend: ") && !error.contains(SECRET), "{error}");
            }
        }
    }
    fs::write(directory.path().join("value"), [b"\xFF\xFE", SECRET.as_bytes()].concat()).unwrap();
    let place = format!("token.client_secret=file:{}", directory.path().join("value").display());
    assert!(load(&[place], &[]).map(drop).unwrap_err().contains("is UTF-16 text"));
    for user in [format!("ada%0A:{SECRET}"), format!("ada:{SECRET}%0d")] {
        let env = format!("http://{user}@proxy.example");
        let error =
            load(&["upstream.egress_proxy=env:WAY".to_owned()], &[("WAY", &env)]).map(drop).unwrap_err();
        assert!(error.contains("has a control character") && !error.contains(SECRET), "{error}");
    }
}

#[test]
fn blanks_around_a_url_are_no_part_of_it() {
    let loaded = load(
        &["upstream.egress_proxy=env:WAY".to_owned(), "upstream.base_url=https://a.example".to_owned()],
        &[("WAY", " http://proxy.example:3128 ")],
    );
    let loaded = loaded.unwrap();
    assert!(loaded.config.upstream.egress.is_some());
    assert!(!loaded.warnings.iter().any(|warning| warning.contains("blank")), "{:?}", loaded.warnings);
}

#[test]
fn a_key_in_a_variable_must_be_utf_8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let mut check = command(&["check"]);
    check.env("GBG_CLIENT_ID", "a").env("GBG_CLIENT_SECRET", SECRET);
    check.env("GBG_PROXY_LISTEN_ADDRESS", OsStr::from_bytes(b"unix:/run/caf\xE9.sock"));
    let output = check.output().unwrap();
    let (out, err) = text(&output);
    assert_eq!(output.status.code(), Some(64), "{out}{err}");
    assert!(err.contains("GBG_PROXY_LISTEN_ADDRESS is not UTF-8") && err.contains("mend: "), "{err}");
    assert!(!err.contains("caf"), "{err}");
}

/// Such as a misspelt key, or a variable of somebody else's.
#[test]
fn a_variable_that_is_not_a_key_and_not_utf_8_is_ignored_with_a_warning() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let mut check = command(&["check"]);
    check.env("GBG_CLIENT_ID", "a").env("GBG_CLIENT_SECRET", SECRET);
    check.env("GBG_PROXY_LISTEN_ADRESS", OsStr::from_bytes(b"unix:/run/caf\xE9.sock"));
    let output = check.output().unwrap();
    let (out, err) = text(&output);
    let said = (out + &err).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(output.status.code(), Some(0), "{said}");
    let warning = "the environment variable GBG_PROXY_LISTEN_ADRESS is no key and is ignored; did you mean \
                   GBG_PROXY_LISTEN_ADDRESS?";
    assert!(said.contains(warning) && !said.contains("caf"), "{said}");
}

/// A variable that is not UTF-8 is there.
#[test]
fn a_variable_that_is_not_utf_8_is_not_taken_for_unset() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let mut check = command(&["check"]);
    check.env("GBG_CLIENT_ID", "a").env("GBG_CLIENT_SECRET", OsStr::from_bytes(b"s3cret\xE9"));
    let (_, err) = text(&check.output().unwrap());
    assert!(err.contains("token.client_secret: env:GBG_CLIENT_SECRET is not UTF-8 text"), "{err}");
}

/// Each warning, by each of the commands that load the configuration.
#[test]
fn odd_secrets_and_open_files_are_warned_of() {
    let directory = open_directory();
    let file = directory.path().join("secret");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("listen.address={}", taken.local_addr().unwrap());
    let client_secret = format!("token.client_secret=file:{}", file.display());
    for (value, mode, warning) in [
        (SECRET.to_owned(), 0o600, None),
        (SECRET.to_owned(), 0o440, None),
        (SECRET.to_owned(), 0o644, Some("other users of this machine can read or replace")),
        (format!("\"{SECRET}\""), 0o600, Some("token.client_secret: the value stands in quotes")),
        (format!("'{SECRET}'\n"), 0o600, Some("token.client_secret: the value stands in quotes")),
        (format!(" {SECRET}"), 0o600, Some("token.client_secret: the value begins or ends with a blank")),
        (format!("{SECRET} \n"), 0o600, Some("token.client_secret: the value begins or ends with a blank")),
        (format!("{SECRET}é"), 0o600, Some("token.client_secret: the value has characters outside ASCII")),
    ] {
        fs::write(&file, &value).unwrap();
        set_mode(&file, mode);
        for arguments in [&["check"][..], &["check", "--json"], &["run"], &["doctor"]] {
            let dead = ["upstream.base_url=http://127.0.0.1:1", "token.endpoint=http://127.0.0.1:1"];
            let set = [dead[0], dead[1], &client_secret, &address, "admin.address=off"];
            let set = set.iter().flat_map(|set| ["--set", set]);
            let all: Vec<_> = arguments.iter().copied().chain(set).collect();
            let (out, err) = text(&command(&all).env("GBG_CLIENT_ID", "a").output().unwrap());
            let said = out + &err;
            let is_told = ["stands in quotes", "a blank", "outside ASCII", "other users"]
                .iter()
                .any(|part| said.split_whitespace().collect::<Vec<_>>().join(" ").contains(part));
            assert_eq!(is_told, warning.is_some(), "{value:?} {mode:o} {arguments:?}: {said}");
            let one_line = said.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(warning.is_none_or(|warning| one_line.contains(warning)), "{arguments:?}: {said}");
            assert!(!said.contains(SECRET), "{arguments:?}: {said}");
        }
    }
}

#[test]
fn every_file_with_a_secret_is_looked_at() {
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
    let rsa = include_str!("keys/rsa.pem");
    let jwt = |mode| format!("token.jwt_key=file:{}", write("jwt", rsa, mode));
    let tls = |mode| write("key", &made.signing_key.serialize_pem(), mode);
    let sets = |mode| {
        let https = "token.endpoint=https://localhost".to_owned();
        let ca = format!("upstream.ca_file={cert}");
        [
            ("token.jwt_key", vec!["token.client_auth=private_key_jwt".to_owned(), jwt(mode)]),
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
                vec![format!("listen.tls.cert={cert}"), format!("listen.tls.key={}", tls(mode))],
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
        assert!(warnings[0].starts_with(&format!("{key}: other users")), "{warnings:?}");
        assert!(warnings[0].contains("mode 0604") && warnings[0].contains("chmod 0600"), "{warnings:?}");
    }
}

/// The next token request reads the file again.
#[test]
fn a_rotated_secret_is_warned_of_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    fs::write(&file, SECRET).unwrap();
    let mut running = Running::start(&[&format!("token.client_secret=file:{}", file.display())]);
    assert!(!running.log.contains("stands in quotes"), "{}", running.log);
    fs::write(&file, format!("\"{SECRET}\"")).unwrap();
    running.read_until("token.client_secret: the value stands in quotes");
    assert_eq!(running.end("-TERM"), 0);
    assert!(!running.log.contains(SECRET), "{}", running.log);
}

#[cfg(feature = "otlp")]
#[test]
fn a_collector_over_http_off_this_machine_must_be_asked_for() {
    let set = |set: &[&str]| load(&set.iter().map(|&set| set.to_owned()).collect::<Vec<_>>(), &[]).map(drop);
    let foreign = "trace.endpoint=http://collector.example:4318/v1/traces";
    let error = set(&[foreign]).unwrap_err();
    assert!(error.starts_with("--set: trace.endpoint: http:// would send"), "{error}");
    assert!(error.contains("trace.plain_http = true"), "{error}");
    for taken in [
        &[foreign, "trace.plain_http=true"][..],
        &["trace.endpoint=http://127.0.0.1:4318/v1/traces"],
        &["trace.endpoint=http://localhost:4318/v1/traces"],
        &["trace.endpoint=https://collector.example:4318/v1/traces"],
    ] {
        assert_eq!(set(taken), Ok(()), "{taken:?}");
    }
}

/// What no other process of the same user may read belongs to root under `/proc`.
#[cfg(target_os = "linux")]
#[test]
fn neither_core_dumps_nor_other_processes_see_the_memory() {
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
    assert_eq!(found, expected, "of the proxy, and of a process that protects nothing");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    assert_eq!(running.end("-TERM"), 0);
}

#[test]
fn the_unit_of_systemd_forbids_core_dumps() {
    let unit = include_str!("../../deploy/systemd/gbg-proxy.service");
    assert!(unit.lines().any(|line| line == "LimitCORE=0"));
}
