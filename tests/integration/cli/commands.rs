//! Exit codes and messages of the real binary.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::support::CLIENT_SECRET;
use crate::support::caller::{post, send};
use crate::support::process::{Running, command, text, with_client};
use crate::support::tls::Identity;

#[test]
fn help_exits_0_and_shows_examples() {
    let output = command(&["--help"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    for name in ["run", "demo", "sandbox", "check", "doctor", "key", "wait"] {
        assert!(text(&output).0.contains(name));
        let help = command(&[name, "--help"]).output().unwrap();
        assert_eq!(help.status.code(), Some(0));
        assert!(text(&help).0.contains("Examples:"), "{name}");
    }
}

#[test]
fn wrong_usage_exits_64() {
    for arguments in [
        &[][..],
        &["no-such-command"],
        &["run", "--no-such-option"],
        &["run", "--set", "nothing"],
    ] {
        let output = with_client(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn an_invalid_configuration_exits_64_with_every_fix() {
    for name in ["run", "check"] {
        let output = command(&[name]).output().unwrap();
        assert_eq!(output.status.code(), Some(64));
        let (out, err) = text(&output);
        assert!(
            err.starts_with("gbg-proxy: ") && err.contains("GBG_CLIENT_ID is not set"),
            "{err}"
        );
        // One for each of the two that are missing, and no word of usage.
        assert!(err.contains("GBG_CLIENT_SECRET is not set"), "{err}");
        assert_eq!((out.as_str(), err.matches("fix: ").count()), ("", 2));
        assert_eq!(err.matches("gbg-proxy: ").count(), 1);
    }
}

#[test]
fn check_strict_rejects_warnings() {
    let set = ["check", "--set", "drain.timeout=1s"];
    assert_eq!(with_client(&set).output().unwrap().status.code(), Some(0));
    let output = with_client(&set).arg("--strict").output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let (_, err) = text(&output);
    assert!(
        err.contains("\nwarning: drain.timeout (1s) is shorter"),
        "{err}"
    );
}

#[test]
fn check_rejects_an_expired_certificate_and_run_serves() {
    let identity = Identity::expired();
    let mut check = with_client(&["check"]);
    for set in identity.set() {
        check.args(["--set", set]);
    }
    let output = check.output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let (_, err) = text(&output);
    assert!(
        err.contains("listen.tls.cert: the certificate expired at"),
        "{err}"
    );
    let mut running = Running::start(&identity.set());
    assert_eq!(running.end("-TERM"), 0);
    assert!(
        running.log.contains("the certificate expired at"),
        "{}",
        running.log
    );
}

#[test]
fn config_prints_a_usable_default_file() {
    let (file, _) = text(&command(&["config"]).output().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.toml");
    std::fs::write(&path, &file).unwrap();
    let mut check = with_client(&["check", "--config"]);
    assert_eq!(check.arg(&path).output().unwrap().status.code(), Some(0));

    let (schema, _) = text(&command(&["config", "--schema"]).output().unwrap());
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    let table: toml::Table = file.parse().unwrap();
    for (section, keys) in &table {
        let known = &schema["properties"][section]["properties"];
        for (key, _) in keys.as_table().unwrap() {
            let key = &known[key];
            assert!(key["description"].is_string(), "{section}: {key}");
        }
    }
}

#[test]
fn check_prints_the_effective_configuration() {
    let output = with_client(&["check", "--set", "upstream.region=au"])
        .output()
        .unwrap();
    let (out, err) = text(&output);
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert!(
        out.contains("https://au.platform.go.gbgplc.com") && out.contains("built-in defaults"),
        "{out}"
    );
    assert!(!out.contains(CLIENT_SECRET));

    let mut command = with_client(&["check", "--set", "upstream.egress_proxy=env:HTTPS_PROXY"]);
    let no_proxy = "upstream.no_proxy=[\".auth.gbgplc.com\"]";
    command
        .args(["--set", no_proxy])
        .env("HTTPS_PROXY", "http://ada:hunter2@proxy.example:3128");
    let (out, err) = text(&command.output().unwrap());
    assert!(
        out.contains("egress proxy    http://proxy.example:3128 (API only)\n"),
        "{out}{err}"
    );
}

#[test]
fn a_port_in_use_exits_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("listen.address={}", taken.local_addr().unwrap());
    let output = with_client(&["run", "--set", &address]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let (_, err) = text(&output);
    assert!(
        err.contains("cannot listen on 127.0.0.1:") && err.contains("in use"),
        "{err}"
    );
    assert!(
        err.contains("\n  fix: end the process that listens there"),
        "{err}"
    );
}

#[test]
fn a_signal_exits_0_without_a_token_endpoint() {
    for signal in ["-TERM", "-INT"] {
        let mut running = Running::start(&[]);
        assert!(running.log.contains("built-in defaults"), "{}", running.log);
        assert_eq!(running.end(signal), 0);
    }
}

#[test]
fn a_second_signal_aborts_requests_in_flight() {
    // The system takes the connection, and nobody ever answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let api = format!("upstream.base_url=http://{}", silent.local_addr().unwrap());
    let mut running = Running::start(&[&api, "upstream.response_timeout=1h", "drain.timeout=40s"]);
    let mut caller = std::net::TcpStream::connect(running.addr()).unwrap();
    // A path that needs no token of ours; the request is in flight when the API has its connection.
    let request = "GET /v2/captain/journey/device/connect HTTP/1.1\r\nHost: a\r\n\r\n";
    caller.write_all(request.as_bytes()).unwrap();
    let _in_flight = silent.accept().unwrap();

    running.signal("-TERM");
    running.read_until("draining");
    let began = Instant::now();
    assert_eq!(running.end("-TERM"), 0);

    assert!(running.log.contains("a second signal"), "{}", running.log);
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "it waited for {:?}",
        began.elapsed()
    );
}

#[test]
fn a_dead_endpoint_is_logged_without_the_secret() {
    let mut running = Running::start(&["log.level=trace", "log.format=json"]);
    running.read_until("there is no usable access token");
    assert_eq!(running.end("-TERM"), 0);
    assert!(!running.log.contains(CLIENT_SECRET), "{}", running.log);
}

#[test]
fn unknown_faults_exit_64_and_help_lists_faults() {
    let output = command(&["sandbox", "--fault", "token-dealy=2s"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(
        text(&output).1.contains("did you mean token-delay?"),
        "{}",
        text(&output).1
    );
    let (help, _) = text(&command(&["sandbox", "--help"]).output().unwrap());
    assert!(
        help.contains("token-delay=2s") && help.contains("api-retry-after=7"),
        "{help}"
    );
}

#[tokio::test]
async fn the_sandbox_applies_faults_and_prints_their_url() {
    let mut sandbox =
        Running::sandbox(&["--fault", "api-status=503*1", "--fault", "api-status=429*1"]);
    sandbox.read_until("/sandbox/faults -d");
    let url = sandbox
        .log
        .split_whitespace()
        .find(|word| word.ends_with("/sandbox/faults"))
        .unwrap();
    let addr = url
        .strip_prefix("http://")
        .unwrap()
        .strip_suffix("/sandbox/faults")
        .unwrap()
        .parse()
        .unwrap();
    for status in [503, 429, 401] {
        assert_eq!(
            send(addr, post("/v2/captain/journey/start")).await.status(),
            status
        );
    }
    assert_eq!(sandbox.end("-TERM"), 0);
}

/// What the `sandbox` command prints is what makes a proxy before it work, over TLS with a
/// certificate in a file.
#[tokio::test]
async fn the_sandbox_prints_a_working_proxy_command() {
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("sandbox.pem");
    let mut sandbox = Running::sandbox(&["--ca-out", ca_file.to_str().unwrap()]);
    sandbox.read_until("token.endpoint=");
    let words: Vec<_> = sandbox.log.split_whitespace().collect();
    let set: Vec<_> = words
        .iter()
        .filter(|word| word.starts_with("upstream.") || word.starts_with("token."))
        .collect();
    let id = words
        .iter()
        .find_map(|word| word.strip_prefix("GBG_CLIENT_ID="))
        .unwrap();
    let secret = words
        .iter()
        .find_map(|word| word.strip_prefix("GBG_CLIENT_SECRET="))
        .unwrap();
    let directory_secret = directory.path().join("secret");
    std::fs::write(&directory_secret, format!("{secret}\n")).unwrap();
    let client = [
        format!("token.client_id={id}"),
        format!("token.client_secret=file:{}", directory_secret.display()),
    ];

    let mut all: Vec<&str> = set.into_iter().copied().collect();
    all.extend(client.iter().map(String::as_str));
    let mut proxy = Running::start(&all);
    let res = send(proxy.addr(), post("/v2/captain/journey/start?secret=1")).await;

    // The sandbox wants more than `{}`; what counts is that it was asked, with a token, and
    // answered.
    assert_eq!(res.status(), 400);
    assert!(!res.headers().contains_key("proxy-status"), "{res:?}");
    sandbox.read_until("Bearer … (token 1)");
    assert!(
        sandbox.log.contains("POST   /v2/captain/journey/start "),
        "{}",
        sandbox.log
    );
    assert_eq!((proxy.end("-TERM"), sandbox.end("-TERM")), (0, 0));
}

#[test]
fn check_shows_keys_and_sources_without_secrets() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let digest = "0123456789abcdef".repeat(4);
    let written = format!(
        "[log]\nformat = \"json\"\n[token]\nparams = {{ audience = \"hush\" }}\n[[caller]]\nname = \"crm\"\nkey_sha256 = \"{digest}\"\n"
    );
    std::fs::write(file.path(), written).unwrap();
    let path = file.path().to_str().unwrap();
    let mut command = with_client(&[
        "check",
        "--all",
        "--config",
        path,
        "--set",
        "log.level=debug",
    ]);
    let output = command
        .env("GBG_PROXY_LIMITS_MAX_TARGET_BYTES", "4KiB")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = text(&output).0;
    let line = |key: &str| {
        said.lines()
            .find(|line| line.trim_start().starts_with(key))
            .unwrap()
            .to_owned()
    };
    assert!(
        line("log.level").contains("\"debug\"") && line("log.level").ends_with("--set"),
        "{said}"
    );
    assert!(
        line("log.format").ends_with(&format!("{path}:2:1")),
        "{said}"
    );
    assert!(
        line("limits.max_target_bytes")
            .contains("environment variable GBG_PROXY_LIMITS_MAX_TARGET_BYTES"),
        "{said}"
    );
    assert!(
        line("drain.timeout").contains("\"1m 10s\"")
            && line("drain.timeout").ends_with("built-in default")
    );
    assert!(line("caller \"crm\": name").contains("\"crm\""), "{said}");
    for secret in ["hush", &digest, "test-secret"] {
        assert!(!said.contains(secret), "{secret}: {said}");
    }
    let output = with_client(&["check", "--all", "--json", "--config", path])
        .output()
        .unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let keys = shown["keys"].as_array().unwrap();
    assert!(
        keys.iter()
            .any(|key| key["key"] == "log.format" && key["value"] == "json"),
        "{shown}"
    );
    assert!(!shown.to_string().contains("hush"));
}
