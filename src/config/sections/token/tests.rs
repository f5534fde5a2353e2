//! Tests of the keys of `[token]`.

use crate::config::{Sources, load};

fn refusal(set: &[&str]) -> String {
    let env = [("GBG_CLIENT_ID", "a"), ("GBG_CLIENT_SECRET", "s")];
    let env = env
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let set = set.iter().map(|&set| set.to_owned()).collect();
    load(&Sources {
        set,
        env,
        file: None,
    })
    .unwrap_err()
    .to_string()
}

#[test]
fn other_credentials_or_routes_request_another_token() {
    let of = |more: &[&str]| {
        let env = [
            ("GBG_CLIENT_ID", "a"),
            ("GBG_CLIENT_SECRET", "s"),
            ("OTHER", "s"),
        ];
        let env = env
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let set = [
            "token.endpoint=http://token.example",
            "token.allow_http=true",
        ];
        let set = set.iter().chain(more).map(|&set| set.to_owned()).collect();
        load(&Sources {
            set,
            env,
            file: None,
        })
        .unwrap()
        .config
        .token
    };
    let certificate = rcgen::generate_simple_self_signed(["token.example".to_owned()])
        .unwrap()
        .cert;
    let ca_file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(ca_file.path(), certificate.pem()).unwrap();
    let ca_file = format!("token.ca_file={}", ca_file.path().display());
    for other in [
        "token.client_id=b",
        "token.client_auth=basic",
        "token.client_secret=env:OTHER",
        "token.scope=other",
        "token.params={ audience = \"a\" }",
        "upstream.egress_proxy=http://127.0.0.1:3",
        &ca_file,
    ] {
        assert!(!of(&[other]).asks_like(&of(&[])), "{other}");
    }
    for same in [
        "token.timeout=1s",
        "token.wait_timeout=1s",
        "token.default_lifetime=1m",
        "token.retry_statuses=[]",
    ] {
        assert!(
            of(&[same]).asks_like(&of(&[])) && of(&[same]) != of(&[]),
            "{same}"
        );
    }
}

#[test]
fn a_client_certificate_needs_tls() {
    let set = [
        "token.endpoint=http://127.0.0.1:1",
        "token.client_auth=tls",
        "token.client_cert=/c",
        "token.client_key=/k",
    ];
    let refusal = refusal(&set);
    assert!(
        refusal.contains("token.client_cert: it has no effect without an endpoint with https://"),
        "{refusal}"
    );
}

#[test]
fn a_default_lifetime_has_a_minimum() {
    let refusal = refusal(&["token.default_lifetime=1ms"]);
    assert!(
        refusal
            .contains("token.default_lifetime: invalid duration \"1ms\": the token would expire"),
        "{refusal}"
    );
}

/// `file:` is what a template makes of a path that is empty; it would be sent as the id.
#[test]
fn an_incomplete_reference_is_not_a_client_id() {
    for text in ["file:", "env:", "env:A=B", "credential:../x"] {
        let refusal = refusal(&[&format!("token.client_id={text}")]);
        assert!(
            refusal.contains("token.client_id: invalid value: it names no variable or file"),
            "{refusal}"
        );
    }
}
