//! `gbg-proxy doctor`: the check as a whole, the configuration, the clock, the token and the call
//! of the API.

use std::process::Command;

use gbg_proxy::sandbox::{Sandbox, SandboxOptions};
use tempfile::TempDir;
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::support::process::{text, with_client};
use crate::support::{
    CLIENT_SECRET, TOKEN, answer, api, forwarded, granting, token_calls, token_endpoint,
};

pub(crate) const NOWHERE: &str = "http://127.0.0.1:1/";

/// What the doctor said, with every run of blanks as one, and its exit code.
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
}

impl Said {
    /// That it said so of `step`: with `mark`, and with each of `parts` in the line or below it.
    #[track_caller]
    pub fn assert(&self, mark: char, step: &str, parts: &[&str]) {
        let begin = format!("\n{mark} {step} ");
        let found = self.out.split_once(&begin).map(|(_, rest)| rest);
        let rest = found.unwrap_or_else(|| panic!("no {begin:?} in {}", self.out));
        let about = &rest[..rest
            .find(['✓', '✗'])
            .or(rest.find("\n- "))
            .unwrap_or(rest.len())];
        let about = about.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in parts {
            assert!(
                about.contains(part),
                "no {part:?} in {about:?} of {}",
                self.out
            );
        }
    }
}

/// Runs it with the client of the tests; whatever comes of it, neither secret nor token may be in
/// what it says.
pub async fn doctor(set: &[&str]) -> Said {
    examine(with_client(&["doctor"]), set).await
}

pub(crate) async fn examine(mut command: Command, set: &[&str]) -> Said {
    command.args(set.iter().flat_map(|set| ["--set", set]));
    // In a thread of its own: the servers of the test run on this one.
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let (out, err) = text(&output);
    for secret in [
        CLIENT_SECRET,
        TOKEN,
        "sandbox-secret",
        "Bearer ",
        "the page's text",
    ] {
        assert!(
            !out.contains(secret) && !err.contains(secret),
            "{secret:?} in {out}{err}"
        );
    }
    assert_eq!(err, "");
    Said {
        code: output.status.code(),
        out: format!("\n{out}"),
    }
}

/// A sandbox over TLS with the client of the tests, and its certificate in a file.
pub(crate) async fn sandbox() -> (Sandbox, TempDir, [String; 3]) {
    let options = SandboxOptions {
        client_id: "test-client".to_owned(),
        client_secret: CLIENT_SECRET.to_owned(),
        ..SandboxOptions::default()
    };
    let sandbox = Sandbox::start(options).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, sandbox.ca_pem().unwrap()).unwrap();
    let set = [
        format!("upstream.base_url={}", sandbox.base_url()),
        format!("token.endpoint={}", sandbox.token_endpoint()),
        format!("upstream.ca_file={}", ca_file.display()),
    ];
    (sandbox, directory, set)
}

/// Host and port of `--set upstream.base_url=https://…`.
fn server_of(base_url: &str) -> &str {
    base_url.split("//").last().unwrap()
}

#[tokio::test]
async fn every_step_passes_against_a_sandbox() {
    let (sandbox, _directory, set) = sandbox().await;
    let [base_url, endpoint, ca_file] = set.each_ref().map(String::as_str);

    let said = doctor(&[base_url, endpoint, ca_file]).await;

    assert_eq!(said.code, Some(0), "{}", said.out);
    said.assert('✓', "configuration", &["built-in defaults"]);
    said.assert('✓', "token.client_id", &["env:GBG_CLIENT_ID"]);
    said.assert('✓', "token.client_secret", &["env:GBG_CLIENT_SECRET"]);
    for server in ["token endpoint", "API"] {
        said.assert('✓', &format!("{server}: DNS"), &["ms localhost is "]);
        let peer = format!("{} (127.0.0.1)", server_of(base_url));
        let connected = format!("connected to {peer}");
        said.assert('✓', &format!("{server}: TCP"), &[&connected]);
        said.assert(
            '✓',
            &format!("{server}: TLS"),
            &[&peer, "TLS 1.3", "CN=rcgen self signed cert", "days"],
        );
    }
    said.assert('✓', "clock", &["agrees", server_of(base_url)]);
    said.assert(
        '✓',
        "token request",
        &[server_of(base_url), "lifetime of 1h"],
    );
    said.assert(
        '✓',
        "API: call",
        &[
            server_of(base_url),
            "/v2/captain/journey/state/fetch: 404",
            "accepted",
        ],
    );
    assert!(
        said.out.ends_with("\n12 passed, 0 failed, 0 skipped\n"),
        "{}",
        said.out
    );
    assert_eq!(
        sandbox.token_calls(),
        2,
        "one look for the time, and one request"
    );

    let said = doctor(&[
        base_url,
        endpoint,
        ca_file,
        "upstream.allow=[\"/captain/api/\"]",
    ])
    .await;
    assert_eq!(said.code, Some(0), "{}", said.out);
    said.assert(
        '✓',
        "API: call",
        &["/captain/api/journey/state/fetch: 404", "accepted"],
    );
}

#[tokio::test]
async fn a_wrong_secret_is_reported_with_its_fix() {
    let (_sandbox, _directory, set) = sandbox().await;
    let mut command = with_client(&["doctor"]);
    command.env("GBG_CLIENT_SECRET", "another-secret");

    let said = examine(command, &set.each_ref().map(String::as_str)).await;

    assert_eq!(said.code, Some(1));
    said.assert('✓', "clock", &[]);
    let parts = [
        "401 Unauthorized, invalid_client",
        "fix: check token.client_id and token.client_secret",
    ];
    said.assert('✗', "token request", &parts);
    said.assert(
        '✗',
        "token request",
        &["client_auth is \"post\"", "require \"basic\""],
    );
    said.assert('-', "API: call", &["there is no token"]);
    assert!(!said.out.contains("another-secret"), "{}", said.out);
}

#[tokio::test]
async fn a_captive_portal_is_recognized() {
    let portal = MockServer::start().await;
    let page = ResponseTemplate::new(200).set_body_raw("<html>the page's text", "text/html");
    Mock::given(path("/as/token.oauth2"))
        .respond_with(page)
        .mount(&portal)
        .await;

    let endpoint = format!("token.endpoint={}", token_endpoint(&portal));
    let base_url = format!("upstream.base_url={}", portal.uri());
    let said = doctor(&[&endpoint, &base_url]).await;

    assert_eq!(said.code, Some(1));
    said.assert(
        '✗',
        "token request",
        &[
            "not JSON",
            "captive portal",
            "check token.endpoint",
            "GBG's is https",
        ],
    );
}

#[tokio::test]
async fn the_apis_status_explains_a_rejected_token() {
    for (template, expected) in [
        (ResponseTemplate::new(401), "belong to the same environment"),
        (ResponseTemplate::new(403), "the role \"Go API Access\""),
        (
            ResponseTemplate::new(503),
            "the fault is on the server's side",
        ),
        (
            ResponseTemplate::new(302).insert_header("location", NOWHERE),
            "redirects are never followed",
        ),
        (
            ResponseTemplate::new(200).set_body_raw("the page's text", "text/html"),
            "captive portal",
        ),
    ] {
        let api = api().await;
        answer(&api, template).await;
        let endpoint = format!("token.endpoint={}", token_endpoint(&api));

        let said = doctor(&[&endpoint, &format!("upstream.base_url={}", api.uri())]).await;

        assert_eq!(said.code, Some(1));
        said.assert(
            '✗',
            "API: call",
            &[
                "POST http://",
                "/v2/captain/journey/state/fetch: ",
                expected,
            ],
        );
        assert!(said.out.ends_with("1 failed, 2 skipped\n"), "{}", said.out);
        let sent = forwarded(&api).await;
        assert_eq!(
            (sent.len(), sent[0].headers["authorization"].as_bytes()),
            (1, format!("Bearer {TOKEN}").as_bytes())
        );
        // The first of the two is the look for the time.
        assert_eq!(token_calls(&api).await, 2);
    }
}

#[tokio::test]
async fn a_wrong_clock_fails_without_stopping_later_steps() {
    let api = MockServer::start().await;
    let dated = granting(TOKEN, 60).insert_header("date", "Sun, 06 Nov 1994 08:49:37 GMT");
    Mock::given(path("/as/token.oauth2"))
        .respond_with(dated)
        .mount(&api)
        .await;
    answer(&api, ResponseTemplate::new(400)).await;
    let endpoint = format!("token.endpoint={}", token_endpoint(&api));

    let said = doctor(&[&endpoint, &format!("upstream.base_url={}", api.uri())]).await;

    assert_eq!(said.code, Some(1));
    said.assert(
        '✗',
        "clock",
        &["s ahead of the token endpoint", "set the clock"],
    );
    said.assert('✓', "token request", &["lifetime of 1m"]);
    said.assert('✓', "API: call", &["400 Bad Request", "accepted"]);
}

#[tokio::test]
async fn an_invalid_configuration_exits_64_with_its_fix() {
    let said = doctor(&["upstream.regio=eu"]).await;
    assert_eq!(said.code, Some(64));
    let parts = [
        "--set: upstream.regio cause: there is no such key",
        "fix: did you mean upstream.region?",
    ];
    said.assert('✗', "configuration", &parts);
    said.assert('-', "all other steps", &["the configuration is invalid"]);
}
