//! Who may call: by what callers are known, what they may call, and who is told what.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::header::{HeaderName, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::Full;
use rcgen::SanType;
use rustls::version::TLS13;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use wiremock::{MockServer, ResponseTemplate};

use crate::support::caller::{Whole, json, post, send};
use crate::support::known::{Known, file};
use crate::support::process::Running;
use crate::support::tls::{ClientCa, Identity, connect_with};
use crate::support::{Proxy, TOKEN, answer, api, forwarded, token_endpoint};

const START: &str = "/v2/captain/journey/start";
const FETCH: &str = "/v2/captain/journey/state/fetch";
const CONNECT: &str = "/v2/captain/journey/device/connect";

/// An API that takes everything.
async fn content() -> MockServer {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    api
}

async fn call(proxy: &Proxy, path: &str, fields: &[(HeaderName, HeaderValue)]) -> Whole {
    let mut req = post(path);
    req.headers_mut().extend(fields.iter().cloned());
    send(proxy.addr(), req).await
}

fn field(name: &'static str, value: &str) -> (HeaderName, HeaderValue) {
    (HeaderName::from_static(name), value.parse().unwrap())
}

#[tokio::test]
async fn a_key_lets_in_from_three_places_and_goes_no_further() {
    let api = content().await;
    let crm = Known::new("crm", "");
    let proxy = Proxy::knowing(&api, &[crm.table()], &[]).await;
    let ways = [
        crm.shown("x-api-key", ""),
        crm.shown("authorization", "Bearer"),
        crm.shown("authorization", "Basic"),
    ];
    for way in ways {
        assert_eq!(call(&proxy, START, &[way]).await.status(), StatusCode::OK);
    }
    let seen = forwarded(&api).await;
    assert_eq!(seen.len(), 3);
    for req in seen {
        assert_eq!(req.headers["authorization"], format!("Bearer {TOKEN}"));
        assert!(!format!("{:?}", req.headers).contains(&crm.key), "{:?}", req.headers);
    }
}

#[tokio::test]
async fn whoever_is_not_known_is_told_how_to_be_and_reaches_nothing() {
    let api = content().await;
    let proxy = Proxy::knowing(&api, &[Known::new("crm", "").table()], &[]).await;
    let stranger = Known::new("stranger", "");
    for fields in [
        vec![],
        vec![stranger.shown("x-api-key", "")],
        vec![stranger.shown("authorization", "Basic")],
        vec![field("authorization", "Bearer eyJhbGciOi")],
        vec![field("x-api-key", "")],
    ] {
        let res = call(&proxy, START, &fields).await;
        assert_eq!(res.status(), StatusCode::UNAUTHORIZED, "{fields:?}");
        let ways: Vec<_> = res.headers().get_all("www-authenticate").iter().collect();
        assert_eq!(ways, ["Bearer realm=\"gbg-proxy\"", "Basic realm=\"gbg-proxy\""]);
        assert_eq!(json(&res)["reason"], "caller_unknown");
        assert!(!String::from_utf8_lossy(res.body()).contains(&stranger.key));
    }
    assert!(forwarded(&api).await.is_empty());
}

#[tokio::test]
async fn a_caller_may_call_what_is_its_own() {
    let api = content().await;
    let poller = Known::new("poller", "allow = [\"/v2/captain/journey/state/\"]\nmethods = [\"POST\"]");
    let proxy = Proxy::knowing(&api, &[poller.table()], &[]).await;
    let key = [poller.shown("x-api-key", "")];
    assert_eq!(call(&proxy, FETCH, &key).await.status(), StatusCode::OK);
    let res = call(&proxy, START, &key).await;
    assert_eq!(
        (res.status(), json(&res)["reason"].as_str()),
        (StatusCode::FORBIDDEN, Some("path_not_allowed"))
    );
    let get = Request::get(FETCH).header("host", "a").header("x-api-key", &poller.key);
    let res = send(proxy.addr(), get.body(Full::default()).unwrap()).await;
    assert_eq!(
        (res.status(), &res.headers()["allow"]),
        (StatusCode::METHOD_NOT_ALLOWED, &"POST".parse().unwrap())
    );
    assert_eq!(forwarded(&api).await.len(), 1);
}

#[tokio::test]
async fn methods_can_be_allowed_for_all() {
    let api = content().await;
    let proxy = Proxy::before(&api, &["upstream.methods=[\"POST\", \"GET\"]"]).await;
    assert_eq!(send(proxy.addr(), post(START)).await.status(), StatusCode::OK);
    let delete = Request::delete(START).header("host", "a").body(Full::default()).unwrap();
    let res = send(proxy.addr(), delete).await;
    assert_eq!(json(&res)["reason"], "method_not_allowed");
    assert_eq!(res.headers()["allow"], "POST, GET");
}

/// There the Authorization is GBG's; a key that came by it would go to GBG.
#[tokio::test]
async fn where_the_callers_bearer_passes_the_key_comes_another_way() {
    let api = content().await;
    let crm = Known::new("crm", "");
    let proxy = Proxy::knowing(&api, &[crm.table()], &[]).await;
    let both = [field("authorization", "Bearer connect-token"), crm.shown("x-api-key", "")];
    assert_eq!(call(&proxy, CONNECT, &both).await.status(), StatusCode::OK);
    let quoted = field("authorization", &format!("Bearer \"{}\"", crm.key));
    for way in [crm.shown("authorization", "Bearer"), crm.shown("authorization", "Basic"), quoted] {
        let res = call(&proxy, CONNECT, &[way, crm.shown("x-api-key", "")]).await;
        assert_eq!(res.status(), StatusCode::BAD_REQUEST);
        assert!(json(&res)["detail"].as_str().unwrap().contains("X-Api-Key"), "{res:?}");
    }
    let res = call(&proxy, CONNECT, &both[..1]).await;
    assert_eq!(json(&res)["reason"], "caller_unknown");
    assert!(json(&res)["detail"].as_str().unwrap().contains("X-Api-Key"), "{res:?}");
    let seen = forwarded(&api).await;
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].headers["authorization"], "Bearer connect-token");
    assert!(!seen[0].headers.contains_key("x-api-key"));
}

#[tokio::test]
async fn without_callers_a_key_is_not_looked_at_and_goes_no_further() {
    let api = content().await;
    let proxy = Proxy::before(&api, &[]).await;
    let stranger = Known::new("stranger", "");
    assert_eq!(call(&proxy, START, &[stranger.shown("authorization", "Bearer")]).await.status(), 200);
    assert_eq!(call(&proxy, CONNECT, &[stranger.shown("authorization", "Bearer")]).await.status(), 400);
    assert!(!format!("{:?}", forwarded(&api).await).contains(&stranger.key));
}

/// What the log says of a request, of the caller above all.
fn line_of<'a>(log: &'a str, id: &str) -> &'a str {
    log.lines().find(|line| line.contains(&format!("request_id=\"{id}\""))).unwrap()
}

#[tokio::test]
async fn the_log_has_the_name_of_who_called_whatever_it_was_known_by() {
    let api = content().await;
    let crm = Known::new("crm", "allow = [\"/v2/captain/journey/\"]");
    let ca = ClientCa::new();
    let mut identity = Identity::new();
    identity.renew();
    let ca_path = identity.path("ca.pem");
    fs::write(&ca_path, ca.pem()).unwrap();
    let certified = "[[caller]]\nname = \"certified\"\ncertificate = \"crm.corp.example\"\n".to_owned();
    let file = file(&[crm.table(), certified]);
    let set = [
        format!("upstream.base_url={}", api.uri()),
        format!("token.endpoint={}", token_endpoint(&api)),
        format!("listen.tls.client_ca={}", ca_path.display()),
    ];
    let set: Vec<_> = set.iter().map(String::as_str).chain(identity.set()).collect();
    let mut running = Running::start_with_file(file.path(), &set);
    let roots = identity.roots.clone();
    let shown = |name| ca.certify(name);
    let addr = running.addr();
    let ask_for = async |path: &str, certificate, id: &str, fields: &str| {
        let mut tls = connect_with(addr, roots.clone(), certificate, &TLS13).await.unwrap();
        let head = format!(
            "POST {path}?secret=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Proxy-Request-Id: {id}\r\n\
             {fields}Content-Length: 3\r\n\r\nabc"
        );
        tls.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _ = tls.read_to_string(&mut answer).await;
        answer
    };
    let ask = async |certificate, id: &str, fields: &str| ask_for(START, certificate, id, fields).await;
    let key = format!("X-Api-Key: {}\r\n", crm.key);
    assert!(ask(shown("crm.corp.example"), "by-certificate", &key).await.starts_with("HTTP/1.1 200"));
    assert!(ask(shown("other.example"), "by-key", &key).await.starts_with("HTTP/1.1 200"));
    assert!(ask(shown("other.example"), "unknown", "").await.starts_with("HTTP/1.1 401"));
    let foreign = ask_for("/captain/api/x", shown("other.example"), "not-its-own", &key).await;
    assert!(foreign.starts_with("HTTP/1.1 403"), "{foreign}");
    assert_eq!(running.end("-TERM"), 0);
    let line = line_of(&running.log, "by-certificate");
    for part in [
        "caller=\"certified\"",
        "peer=127.0.0.1:",
        "method=\"POST\"",
        "path=\"/v2/captain/journey/start\"",
        "status=200",
        "source=\"gbg\"",
        "bytes_in=3",
        "bytes_out=0",
        " milliseconds=",
        "upstream_milliseconds=",
        "generation=1",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(line_of(&running.log, "by-key").contains("caller=\"crm\""));
    let line = line_of(&running.log, "not-its-own");
    assert!(line.contains("caller=\"crm\"") && line.contains("reason=\"path_not_allowed\""), "{line}");
    let line = line_of(&running.log, "unknown");
    assert!(
        line.contains("source=\"proxy\" reason=\"caller_unknown\"") && !line.contains("caller=\""),
        "{line}"
    );
    assert!(!line.contains("upstream_milliseconds") && !line.contains("generation"), "{line}");
    assert!(!running.log.contains(&crm.key) && !running.log.contains("secret=1"), "{}", running.log);
}

/// What only reads like the name of a caller is not that name.
#[tokio::test]
async fn certificate_names_count_with_their_type() {
    let api = content().await;
    let (identity, ca) = (Identity::new(), ClientCa::new());
    let ca_path = identity.path("ca.pem");
    fs::write(&ca_path, ca.pem()).unwrap();
    const NAMES: [&str; 4] = ["crm.corp.example", "spiffe://corp/crm", "192.0.2.7", "crm@corp.example"];
    let table = |name: &str| {
        let number = NAMES.iter().position(|other| *other == name).unwrap();
        format!("[[caller]]\nname = \"caller-{number}\"\ncertificate = \"{name}\"\n")
    };
    let client_ca = format!("listen.tls.client_ca={}", ca_path.display());
    let [cert, key] = identity.set();
    let proxy = Proxy::knowing(&api, &NAMES.map(table), &[cert, key, &client_ca]).await;
    let ask = async |name: SanType| {
        let shown = ca.certify_name(name);
        let mut tls = connect_with(proxy.addr(), identity.roots.clone(), shown, &TLS13).await.unwrap();
        let head = format!("GET {START} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        tls.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _ = tls.read_to_string(&mut answer).await;
        answer
    };
    let text = |name: &str| name.try_into().unwrap();
    for (name, status) in [
        (SanType::DnsName(text("CRM.corp.example")), "200"),
        (SanType::URI(text("spiffe://corp/crm")), "200"),
        (SanType::IpAddress([192, 0, 2, 7].into()), "200"),
        (SanType::Rfc822Name(text("crm@corp.example")), "200"),
        (SanType::URI(text("crm.corp.example")), "401"),
        (SanType::Rfc822Name(text("crm.corp.example")), "401"),
        (SanType::DnsName(text("192.0.2.7")), "401"),
        (SanType::URI(text("192.0.2.7")), "401"),
        (SanType::DnsName(text("spiffe://corp/crm")), "401"),
        (SanType::DnsName(text("crm@corp.example")), "401"),
        (SanType::URI(text("crm@corp.example")), "401"),
    ] {
        let answer = ask(name.clone()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{name:?}: {answer}");
    }
}

#[tokio::test]
async fn a_caller_at_a_unix_socket_is_known_by_its_user() {
    let api = content().await;
    let directory = tempfile::tempdir().unwrap();
    let uid = fs::metadata(directory.path()).unwrap().uid();
    let socket = directory.path().join("s");
    let address = format!("listen.address=unix:{}", socket.display());
    let of = |uid| vec![format!("[[caller]]\nname = \"local\"\nuid = {uid}\n")];
    for (uid, status) in [(uid, "200"), (uid + 1, "401")] {
        let proxy = Proxy::knowing(&api, &of(uid), &[&address]).await;
        let mut stream = UnixStream::connect(&socket).await.unwrap();
        // Over a Unix socket any host will do: no browser comes this way.
        let head = format!("GET {START} HTTP/1.1\r\nHost: whatever.example\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        proxy.shut_down().await;
    }
}

/// Two keys, so that one can replace the other while both are in use.
#[tokio::test]
async fn keys_can_be_rotated_and_callers_end() {
    let api = content().await;
    let (old, new) = (Known::new("crm", ""), Known::new("crm", ""));
    let digest = |known: &Known| {
        known.table().split("key_sha256 = ").nth(1).unwrap().lines().next().unwrap().to_owned()
    };
    let both = format!("[[caller]]\nname = \"crm\"\nkey_sha256 = [{}, {}]\n", digest(&old), digest(&new));
    let gone = Known::new("gone", "expires = 2020-01-01");
    let proxy = Proxy::knowing(&api, &[both, gone.table()], &[]).await;
    for known in [&old, &new] {
        assert_eq!(call(&proxy, START, &[known.shown("x-api-key", "")]).await.status(), StatusCode::OK);
    }
    let res = call(&proxy, START, &[gone.shown("x-api-key", "")]).await;
    assert_eq!(res.status(), StatusCode::UNAUTHORIZED);
    assert!(json(&res)["detail"].as_str().unwrap().contains("expired"), "{res:?}");
}

/// However many wrong keys come from an address, the right one is not held back.
#[tokio::test]
async fn a_valid_key_passes_while_others_guess_from_the_same_address() {
    let api = content().await;
    let crm = Known::new("crm", "");
    let proxy = Proxy::knowing(&api, &[crm.table()], &[]).await;
    let hold = Duration::from_secs(1);
    let began = Instant::now();
    let guess = async || join_all((0..40).map(|_| call(&proxy, START, &[]))).await;
    let mut refused = guess().await;
    assert!(began.elapsed() >= hold, "nobody was held back");
    let key = [crm.shown("x-api-key", "")];
    let passing = async {
        let began = Instant::now();
        let passed = call(&proxy, START, &key).await;
        (passed.status(), began.elapsed())
    };
    let (more, (status, took)) = tokio::join!(guess(), passing);
    refused.extend(more);
    assert!(refused.iter().all(|res| res.status() == StatusCode::UNAUTHORIZED));
    assert!(status == StatusCode::OK && took < hold, "{status} after {took:?}");
}
