//! `gbg-proxy doctor`: where the way to the API breaks, and what it says of it.

use std::process::Command;
use std::sync::Arc;

use gbg_proxy::sandbox::{Options, Sandbox};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::support::egress::{Egress, answering, tls_before};
use crate::support::process::{command, text, with_client};
use crate::support::server::{scripted, token_endpoint_for};
use crate::support::{CLIENT_SECRET, TOKEN, answer, api, forwarded, granting, token_calls, token_endpoint};

const NOWHERE: &str = "http://127.0.0.1:1/";

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
        let about = &rest[..rest.find(['✓', '✗']).or(rest.find("\n- ")).unwrap_or(rest.len())];
        let about = about.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in parts {
            assert!(about.contains(part), "no {part:?} in {about:?} of {}", self.out);
        }
    }
}

/// Runs it with the client of the tests; whatever comes of it, neither secret nor token may be in what it says.
pub async fn doctor(set: &[&str]) -> Said {
    examine(with_client(&["doctor"]), set).await
}

async fn examine(mut command: Command, set: &[&str]) -> Said {
    command.args(set.iter().flat_map(|set| ["--set", set]));
    // In a thread of its own: the servers of the test run on this one.
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let (out, err) = text(&output);
    for secret in [CLIENT_SECRET, TOKEN, "sandbox-secret", "Bearer ", "the page's text"] {
        assert!(!out.contains(secret) && !err.contains(secret), "{secret:?} in {out}{err}");
    }
    assert_eq!(err, "");
    Said { code: output.status.code(), out: format!("\n{out}") }
}

/// A sandbox over TLS with the client of the tests, and its certificate in a file.
async fn sandbox() -> (Sandbox, TempDir, [String; 3]) {
    let options = Options {
        client_id: "test-client".to_owned(),
        client_secret: CLIENT_SECRET.to_owned(),
        ..Options::default()
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

#[tokio::test]
async fn all_is_well_before_a_sandbox() {
    let (sandbox, _directory, set) = sandbox().await;
    let [base_url, endpoint, ca_file] = set.each_ref().map(String::as_str);

    let said = doctor(&[base_url, endpoint, ca_file]).await;

    assert_eq!(said.code, Some(0), "{}", said.out);
    said.assert('✓', "configuration", &["built-in defaults"]);
    said.assert('✓', "token.client_id", &["env:GBG_CLIENT_ID"]);
    said.assert('✓', "token.client_secret", &["env:GBG_CLIENT_SECRET"]);
    for server in ["token endpoint", "API"] {
        said.assert('✓', &format!("{server}: DNS"), &["ms localhost is "]);
        said.assert('✓', &format!("{server}: TCP"), &["connected to 127.0.0.1:"]);
        said.assert('✓', &format!("{server}: TLS"), &["TLS 1.3", "CN=rcgen self signed cert", "days"]);
    }
    said.assert('✓', "clock", &["agrees"]);
    said.assert('✓', "token request", &["lives 1h"]);
    said.assert('✓', "API: call", &["/v2/captain/journey/state/fetch: 404", "accepted"]);
    assert!(said.out.ends_with("\n12 passed, 0 failed, 0 skipped\n"), "{}", said.out);
    assert_eq!(sandbox.token_calls(), 2, "one look for the time, and one request");

    let said = doctor(&[base_url, endpoint, ca_file, "upstream.allow=[\"/captain/api/\"]"]).await;
    assert_eq!(said.code, Some(0), "{}", said.out);
    said.assert('✓', "API: call", &["/captain/api/journey/state/fetch: 404", "accepted"]);
}

#[tokio::test]
async fn a_wrong_secret_is_told_with_what_to_check() {
    let (_sandbox, _directory, set) = sandbox().await;
    let mut command = with_client(&["doctor"]);
    command.env("GBG_CLIENT_SECRET", "another-secret");

    let said = examine(command, &set.each_ref().map(String::as_str)).await;

    assert_eq!(said.code, Some(1));
    said.assert('✓', "clock", &[]);
    let parts = ["401 Unauthorized, invalid_client", "mend: check token.client_id and token.client_secret"];
    said.assert('✗', "token request", &parts);
    said.assert('✗', "token request", &["client_auth is \"post\"", "wants \"basic\""]);
    said.assert('-', "API: call", &["there is no token"]);
    assert!(!said.out.contains("another-secret"), "{}", said.out);
}

#[tokio::test]
async fn an_unknown_issuer_is_named_and_the_other_server_is_tried_as_well() {
    let (sandbox, directory, [base_url, endpoint, ca_file]) = sandbox().await;
    let other = directory.path().join("other.pem");
    let mut params = CertificateParams::new([]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "Another CA");
    std::fs::write(&other, params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()).unwrap();
    let other = format!("token.ca_file={}", other.display());

    let said = doctor(&[&base_url, &endpoint, &ca_file, &other]).await;

    assert_eq!(said.code, Some(1));
    said.assert('✓', "token endpoint: TCP", &[]);
    let parts = ["UnknownIssuer", "\"CN=rcgen self signed cert\"", "corporate proxy", "token.ca_file"];
    said.assert('✗', "token endpoint: TLS", &parts);
    said.assert('✓', "API: TLS", &[]);
    said.assert('✓', "clock", &["agrees with the API"]);
    said.assert('-', "token request", &["not reached"]);
    said.assert('-', "API: call", &["there is no token"]);
    assert_eq!(sandbox.token_calls(), 0, "nothing goes to a server that is not trusted");
}

#[tokio::test]
async fn a_root_of_the_right_name_from_an_earlier_time_is_told_as_one() {
    let (_sandbox, _directory, [base_url, endpoint, _]) = sandbox().await;
    let (_earlier, _earlier_directory, [_, _, ca_file]) = self::sandbox().await;

    let said = doctor(&[&base_url, &endpoint, &ca_file]).await;

    assert_eq!(said.code, Some(1));
    said.assert('✗', "API: TLS", &["a trusted root is named", "made anew", "upstream.ca_file"]);
}

#[tokio::test]
async fn a_dead_port_and_a_host_that_does_not_exist_are_told_apart() {
    let api = api().await;
    let endpoint = format!("token.endpoint={}", token_endpoint(&api));

    let said = doctor(&["upstream.base_url=http://127.0.0.1:1", &endpoint]).await;
    assert_eq!(said.code, Some(1));
    said.assert('-', "token endpoint: TLS", &["plain http://"]);
    said.assert('✓', "token request", &["lives 1h"]);
    said.assert('✗', "API: TCP", &["Connection refused", "takes no connections on port 1"]);
    said.assert('-', "API: TLS", &["there is no connection"]);
    said.assert('-', "API: call", &["the API was not reached"]);

    let mut command = with_client(&["doctor"]);
    command.env("HTTPS_PROXY", "http://user:hunter2@proxy.example").env("HTTP_PROXY", NOWHERE);
    let set = [endpoint.as_str(), "upstream.base_url=https://host.invalid"];
    let said = examine(command, &set).await;
    assert_eq!(said.code, Some(1));
    said.assert('✗', "API: DNS", &["host.invalid: ", "no such host", "HTTPS_PROXY is set, and ignored"]);
    said.assert('-', "API: TCP", &["there is no address"]);
    said.assert('✓', "token request", &["lives 1h"]);
    assert!(!said.out.contains("hunter2"), "{}", said.out);
}

#[tokio::test]
async fn it_goes_through_the_egress_proxy_as_a_request_does() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let (tls, pem) = tls_before(*api.address(), &["api.example", "tokens.example"], None).await;
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, pem).unwrap();
    let ca_file = format!("upstream.ca_file={}", ca_file.display());
    let names =
        ["upstream.base_url=https://api.example", "token.endpoint=https://tokens.example/as/token.oauth2"];
    let egress = Egress::to(tls).await;

    let said =
        doctor(&[names[0], names[1], &ca_file, &egress.set_with("ada:hunter2", directory.path())]).await;

    assert_eq!(said.code, Some(0), "{}", said.out);
    for server in ["token endpoint", "API"] {
        said.assert('✓', &format!("{server}: DNS"), &["the egress proxy 127.0.0.1 is an address"]);
        said.assert('✓', &format!("{server}: TLS"), &["TLS 1.3"]);
    }
    said.assert('✓', "egress proxy: CONNECT", &["leads to tokens.example, port 443"]);
    said.assert('✓', "API: call", &["200", "accepted"]);
    assert!(egress.heads().iter().all(|head| head.contains("proxy-authorization: basic ywrhomh1bnrlcji=")));
    assert!(!said.out.contains("hunter2") && !said.out.contains("YWRh"), "{}", said.out);

    for (answer, expected) in [
        ("HTTP/1.1 407 No\r\n\r\n", "wants user and password"),
        ("HTTP/1.1 403 No\r\n\r\n", "to allow CONNECT to tokens.example:443"),
    ] {
        let addr = answering(vec![answer].leak()).await;
        let said = doctor(&[names[0], names[1], &format!("upstream.egress_proxy=http://{addr}")]).await;
        assert_eq!(said.code, Some(1));
        said.assert('✗', "egress proxy: CONNECT", &[&answer[9..12], expected]);
        said.assert('-', "API: TLS", &["there is no tunnel"]);
    }
    let said = doctor(&[names[0], names[1], "upstream.egress_proxy=http://127.0.0.1:1"]).await;
    said.assert('✗', "token endpoint: TCP", &["port 1", "check host and port in upstream.egress_proxy"]);
}

#[tokio::test]
async fn a_web_page_in_place_of_the_token_endpoint_is_told_as_one() {
    let portal = MockServer::start().await;
    let page = ResponseTemplate::new(200).set_body_raw("<html>the page's text", "text/html");
    Mock::given(path("/as/token.oauth2")).respond_with(page).mount(&portal).await;

    let endpoint = format!("token.endpoint={}", token_endpoint(&portal));
    let base_url = format!("upstream.base_url={}", portal.uri());
    let said = doctor(&[&endpoint, &base_url]).await;

    assert_eq!(said.code, Some(1));
    said.assert(
        '✗',
        "token request",
        &["no JSON", "captive portal", "check token.endpoint", "GBG's is https"],
    );
}

#[tokio::test]
async fn a_token_that_the_api_does_not_take_is_told_by_its_status() {
    for (template, expected) in [
        (ResponseTemplate::new(401), "belong to the same environment"),
        (ResponseTemplate::new(403), "the role \"Go API Access\""),
        (ResponseTemplate::new(503), "the fault is on the server's side"),
        (ResponseTemplate::new(302).insert_header("location", NOWHERE), "redirects are never followed"),
        (ResponseTemplate::new(200).set_body_raw("the page's text", "text/html"), "captive portal"),
    ] {
        let api = api().await;
        answer(&api, template).await;
        let endpoint = format!("token.endpoint={}", token_endpoint(&api));

        let said = doctor(&[&endpoint, &format!("upstream.base_url={}", api.uri())]).await;

        assert_eq!(said.code, Some(1));
        said.assert('✗', "API: call", &["POST /v2/captain/journey/state/fetch: ", expected]);
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
async fn a_clock_that_is_wrong_is_told_and_the_rest_is_tried_still() {
    let api = MockServer::start().await;
    let dated = granting(TOKEN, 60).insert_header("date", "Sun, 06 Nov 1994 08:49:37 GMT");
    Mock::given(path("/as/token.oauth2")).respond_with(dated).mount(&api).await;
    answer(&api, ResponseTemplate::new(400)).await;
    let endpoint = format!("token.endpoint={}", token_endpoint(&api));

    let said = doctor(&[&endpoint, &format!("upstream.base_url={}", api.uri())]).await;

    assert_eq!(said.code, Some(1));
    said.assert('✗', "clock", &["s ahead of the token endpoint", "set the clock"]);
    said.assert('✓', "token request", &["lives 1m"]);
    said.assert('✓', "API: call", &["400 Bad Request", "accepted"]);
}

#[tokio::test]
async fn a_certificate_that_is_not_good_is_told_with_why() {
    let tokens = api().await;
    let endpoint = format!("token.endpoint={}", token_endpoint(&tokens));
    for (name, is_ca, ended, expected) in [
        ("localhost", IsCa::NoCa, true, "the certificate ended at Mon, 01 Jan 2001 00:00:00 GMT"),
        ("other.example", IsCa::NoCa, false, "another server answers"),
        ("localhost", IsCa::Ca(BasicConstraints::Unconstrained), false, "the certificate of a CA as its own"),
    ] {
        let key = KeyPair::generate().unwrap();
        let mut certificate = CertificateParams::new([name.to_owned()]).unwrap();
        certificate.is_ca = is_ca;
        if ended {
            certificate.not_before = date_time_ymd(2000, 1, 1);
            certificate.not_after = date_time_ymd(2001, 1, 1);
        }
        let certificate = certificate.self_signed(&key).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let ca_file = directory.path().join("ca.pem");
        std::fs::write(&ca_file, certificate.pem()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let tls = tls.unwrap().with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key);
        let acceptor = TlsAcceptor::from(Arc::new(tls.unwrap()));
        let addr = scripted(move |stream| {
            let accepted = acceptor.accept(stream);
            async move { drop(accepted.await) }
        })
        .await;

        let base_url = format!("upstream.base_url=https://localhost:{}", addr.port());
        let ca_file = format!("upstream.ca_file={}", ca_file.display());
        let said = doctor(&[&endpoint, &base_url, &ca_file]).await;

        assert_eq!(said.code, Some(1));
        said.assert('✗', "API: TLS", &["issued by \"CN=rcgen self signed cert\"", expected]);
        said.assert('✓', "token request", &[]);
    }
}

/// With TLS 1.2 the handshake itself fails without the certificate; with 1.3 whatever comes after it.
#[tokio::test]
async fn the_clients_certificate_is_shown_to_the_token_endpoint_that_wants_it() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(404)).await;
    let base_url = format!("upstream.base_url={}", api.uri());
    let directory = tempfile::tempdir().unwrap();
    let write = |key: &str, text: String| {
        let file = directory.path().join(key);
        std::fs::write(&file, text).unwrap();
        format!("token.{key}={}", file.display())
    };
    let client = rcgen::generate_simple_self_signed(["the-client".to_owned()]).unwrap();
    let cert = write("client_cert", client.cert.pem());
    let key = write("client_key", client.signing_key.serialize_pem());
    for (version, name) in [(&rustls::version::TLS12, "TLS 1.2"), (&rustls::version::TLS13, "TLS 1.3")] {
        let (url, ca) = token_endpoint_for(client.cert.der(), version).await;
        let (endpoint, ca_file) = (format!("token.endpoint={url}"), write("ca_file", ca));

        let said = doctor(&[&endpoint, &base_url, &ca_file, "token.client_auth=tls", &cert, &key]).await;

        assert_eq!(said.code, Some(0), "{}", said.out);
        said.assert('✓', "token.client_cert", &["found in /"]);
        said.assert('✓', "token endpoint: TLS", &[name]);
        said.assert('✓', "clock", &["agrees with the token endpoint"]);
        said.assert('✓', "token request", &["lives 1m"]);
    }
}

#[tokio::test]
async fn a_bad_configuration_is_64_with_its_mend() {
    let said = doctor(&["upstream.regio=eu"]).await;
    assert_eq!(said.code, Some(64));
    let parts = ["--set: upstream.regio: there is no such key", "mend: did you mean upstream.region?"];
    said.assert('✗', "configuration", &parts);
    said.assert('-', "all else", &["no configuration"]);

    let said = examine(command(&["doctor"]), &[]).await;
    assert_eq!(said.code, Some(64));
    said.assert('✗', "configuration", &["GBG_CLIENT_ID is not set", "mend: set GBG_CLIENT_ID"]);
}
