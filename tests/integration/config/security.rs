//! Secrets, keys, certificates and other files that a configuration names, and addresses that are
//! open or without TLS.

use gbg_proxy::config::{self, Sources};

use crate::config::values::{assert_refused, config, load};

#[test]
fn remote_http_needs_allow_http() {
    assert_refused(
        "[upstream]\nbase_url = \"http://x.example\"",
        "proxy.toml:2:1: upstream.base_url:",
        "allow_http",
    );
    assert_refused(
        "[token]\nendpoint = \"http://x.example/t\"",
        "proxy.toml:2:1: token.endpoint:",
        "allow_http",
    );
    config("[upstream]\nbase_url = \"http://x.example\"\nallow_http = true");
    config("[upstream]\nbase_url = \"http://127.0.0.1:1\"");
}

#[test]
fn an_open_address_needs_allow_anonymous() {
    assert_refused(
        "[listen]\naddress = \"0.0.0.0:8080\"",
        "proxy.toml:2:1: listen.address:",
        "allow_anonymous",
    );
    config("[listen]\naddress = \"0.0.0.0:8080\"\nallow_anonymous = true");
}

#[test]
fn a_plaintext_secret_is_rejected_and_not_quoted() {
    for value in [
        "\"hunter2-clear\"",
        "1234567",
        "[\"hunter2-clear\"]",
        "\"env:\"",
    ] {
        let error = load(&format!("[token]\nclient_secret = {value}"), &[]).unwrap_err();
        assert!(
            error.starts_with("proxy.toml:2:1: token.client_secret:"),
            "{error}"
        );
        assert!(
            ["env:NAME", "file:PATH", "credential:NAME"]
                .iter()
                .all(|way| error.contains(way)),
            "{error}"
        );
        assert!(
            !error.contains("hunter2") && !error.contains("1234567"),
            "{error}"
        );
    }
    for value in ["hunter2-clear", "1234567"] {
        let error = load("", &[&format!("token.client_secret={value}")]).unwrap_err();
        assert!(
            error.starts_with("--set: token.client_secret:") && !error.contains(value),
            "{error}"
        );
    }
    let error = load("[token]\nclient_secret = hunter2-clear", &[]).unwrap_err();
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn a_missing_secret_lists_its_sources() {
    let Err(error) = config::load(&Sources::default()) else {
        panic!("loaded without a secret")
    };
    assert_eq!(error.errors[0].key, "token.client_id");
    assert!(
        error.to_string().contains("GBG_CLIENT_ID is not set"),
        "{error}"
    );
    let error = load("[token]\nclient_secret = \"file:/no/such/file\"", &[]).unwrap_err();
    assert!(
        error.starts_with(
            "proxy.toml:2:1: token.client_secret: cannot read /no/such/file: No such file"
        ),
        "{error}"
    );
}

#[test]
fn an_unreadable_file_is_named() {
    let error = config::load(&Sources {
        file: Some("/no/such.toml".into()),
        ..Sources::default()
    })
    .unwrap_err();
    assert!(
        error.to_string().starts_with("/no/such.toml: cannot read"),
        "{error}"
    );
    let error = load("[upstream]\nca_file = \"/no/such.pem\"", &[]).unwrap_err();
    assert!(
        error.starts_with("proxy.toml:2:1: upstream.ca_file: cannot read /no/such.pem"),
        "{error}"
    );
    let error = load(
        concat!(
            "[upstream]\nca_file = \"",
            env!("CARGO_MANIFEST_DIR"),
            "/Cargo.toml\""
        ),
        &[],
    )
    .unwrap_err();
    assert!(error.contains("holds no certificate"), "{error}");
}

#[test]
fn unusable_certificates_are_rejected_at_startup() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let one = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

    let ca_file = file("broken.pem", broken.to_owned());
    assert_refused(
        &format!("[upstream]\nca_file = {ca_file:?}"),
        &format!("proxy.toml:2:1: upstream.ca_file: {ca_file} holds no certificate that can be"),
        "trust anchor",
    );
    // One that cannot be read does not keep the others from being used.
    let ca_file = file("both.pem", format!("{broken}{}", one.cert.pem()));
    assert_eq!(
        config(&format!("[upstream]\nca_file = {ca_file:?}"))
            .token
            .roots
            .len(),
        1
    );

    let (cert, key) = (
        file("cert.pem", one.cert.pem()),
        file("key.pem", other.signing_key.serialize_pem()),
    );
    let error = load(
        &format!("[listen.tls]\ncert = {cert:?}\nkey = {key:?}"),
        &[],
    )
    .unwrap_err();
    assert!(
        error.starts_with("proxy.toml:3:1: listen.tls.key:") && error.contains("fix: give the key"),
        "{error}"
    );
}

#[test]
fn client_keys_must_match_client_auth() {
    let refused =
        |text: &str, key_and_message: &str, fix: &str| assert_refused(text, key_and_message, fix);
    refused(
        "[token]\nclient_auth = \"private_key_jwt\"",
        "proxy.toml:1:1: token.jwt_key: it is missing, and client_auth = \"private_key_jwt\" needs it",
        "write token.jwt_key",
    );
    refused(
        "[token]\njwt_kid = \"a\"",
        "proxy.toml:2:1: token.jwt_kid: it has no effect without client_auth = \"private_key_jwt\"",
        "remove it",
    );
    refused(
        "[token]\nclient_auth = \"tls\"\nclient_secret = \"env:GBG_CLIENT_SECRET\"",
        "proxy.toml:3:1: token.client_secret: it has no effect without client_auth = \"post\" or \"basic\"",
        "remove it",
    );
    refused(
        "[token]\nclient_auth = \"tls\"",
        "proxy.toml:1:1: token.client_cert: it is missing, and client_auth = \"tls\" needs it",
        "write token.client_cert",
    );
    refused(
        "[token]\nclient_cert = \"/x\"",
        "proxy.toml:1:1: token.client_key: it is missing, and token.client_cert needs it",
        "write token.client_key",
    );
    refused(
        "[token]\ngrant = \"password\"\nusername = \"ada\"",
        "proxy.toml:1:1: token.password: it is missing, and grant = \"password\" needs it",
        "write token.password",
    );
    refused(
        "[token]\nusername = \"ada\"",
        "proxy.toml:2:1: token.username: it has no effect without grant",
        "remove it",
    );
    refused(
        "[token]\nparams = { scope = \"x\" }",
        "proxy.toml:2:1: token.params: invalid table: another key sets the field scope",
        "remove scope",
    );
    refused(
        "[token]\nretry_statuses = [500]",
        "proxy.toml:2:1: token.retry_statuses: invalid status 500: the API rejects a token with 401 or 403",
        "401, 403",
    );
    refused(
        "[limits]\nmax_replay_body = 64",
        "proxy.toml:2:1: limits.max_replay_body: invalid size",
        "",
    );
    refused(
        "[limits]\nmax_replay_body = \"64\"",
        "proxy.toml:2:1: limits.max_replay_body: invalid size",
        "",
    );
    assert_eq!(
        config("[limits]\nmax_replay_body = \"1MiB\"")
            .limits
            .max_replay_body,
        1 << 20
    );
    assert_eq!(
        load("", &["limits.max_replay_body=0"])
            .unwrap()
            .config
            .limits
            .max_replay_body,
        0
    );
    assert_eq!(
        config("[limits]\nmax_replay_body = 0")
            .limits
            .max_replay_body,
        0
    );
}

#[test]
fn an_unusable_signing_key_is_rejected_and_hidden() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key.pem");
    let load_with = |text: &str, alg: &str| {
        std::fs::write(&file, text).unwrap();
        let key = format!("token.jwt_key=file:{}", file.display());
        let set = [
            "token.client_auth=private_key_jwt",
            &key,
            &format!("token.jwt_alg={alg}"),
        ];
        load("", &set).map(drop)
    };
    let rsa = include_str!("../keys/rsa.pem");
    load_with(rsa, "RS256").unwrap();
    let line = rsa.lines().nth(1).unwrap();
    for (text, alg) in [
        (rsa, "ES256"),
        ("no key", "RS256"),
        (&rsa.replace(line, ""), "PS256"),
    ] {
        let error = load_with(text, alg).unwrap_err();
        assert!(error.starts_with("--set: token.jwt_key: "), "{error}");
        assert!(
            error.contains("openssl genpkey") && !error.contains(&line[..20]),
            "{error}"
        );
    }
}
