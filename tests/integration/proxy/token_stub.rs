//! Clients that insist on logging in, whose code fixes the path of the token endpoint: they find
//! one here.

use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::header::AUTHORIZATION;
use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::support::caller::{Whole, json, post, send};
use crate::support::configured_callers::{KeyedCaller, base64, config_file};
use crate::support::process::Running;
use crate::support::{CLIENT_SECRET, Proxy, TestProxy, api, forwarded, sandbox};

const LOGINS: [&str; 3] = [
    "/as/token.oauth2",
    "/captain/api/as/token.oauth2",
    "/auth/realms/go/protocol/openid-connect/token",
];

async fn log_in(proxy: &Proxy, path: &str, form: &str, basic: Option<&str>) -> Whole {
    let mut req = Request::post(path)
        .header("host", "localhost")
        .header("content-type", "application/x-www-form-urlencoded");
    if let Some(secret) = basic {
        req = req.header(
            AUTHORIZATION,
            format!("Basic {}", base64(&format!("client:{secret}"))),
        );
    }
    send(proxy.addr(), req.body(Full::from(form.to_owned())).unwrap()).await
}

#[tokio::test]
async fn a_login_returns_the_key_as_token() {
    let api = api().await;
    let crm = KeyedCaller::new("crm", "");
    let proxy = TestProxy::before(&api)
        .callers(&[crm.table()])
        .start()
        .await;
    let secret = format!("client_id=x&client_secret={}", crm.key);
    for path in LOGINS {
        for (form, basic) in [
            (
                format!("grant_type=client_credentials&scope=gbg.token&{secret}"),
                None,
            ),
            (
                format!("grant_type=password&username=u&password=p&{secret}"),
                None,
            ),
            ("grant_type=client_credentials".to_owned(), Some(&*crm.key)),
            (
                "grant_type=client_credentials&client_secret=another".to_owned(),
                Some(&*crm.key),
            ),
        ] {
            let res = log_in(&proxy, path, &form, basic).await;
            assert_eq!(res.status(), StatusCode::OK, "{path} {form}: {res:?}");
            let token = json(&res);
            assert_eq!(token["access_token"], *crm.key);
            assert_eq!(
                (&token["token_type"], &token["expires_in"]),
                (&"Bearer".into(), &3600.into())
            );
            assert_eq!(res.headers()["cache-control"], "no-store");
            assert_eq!(res.headers()["content-type"], "application/json");
        }
    }
    assert!(forwarded(&api).await.is_empty(), "a login went to the API");
}

#[tokio::test]
async fn an_invalid_login_gets_an_oauth_error() {
    let api = api().await;
    let proxy = TestProxy::before(&api)
        .callers(&[KeyedCaller::new("crm", "").table()])
        .start()
        .await;
    let path = LOGINS[0];
    let stranger = KeyedCaller::new("stranger", "").key;
    let long = format!("grant_type=client_credentials&x={}", "x".repeat(20_000));
    for (form, basic, status, error) in [
        (
            "grant_type=client_credentials&client_secret=guess",
            None,
            401,
            "invalid_client",
        ),
        (
            &format!("grant_type=password&client_secret={stranger}"),
            None,
            401,
            "invalid_client",
        ),
        ("grant_type=client_credentials", None, 401, "invalid_client"),
        (
            "grant_type=client_credentials",
            Some("guess"),
            401,
            "invalid_client",
        ),
        (
            "grant_type=refresh_token",
            None,
            400,
            "unsupported_grant_type",
        ),
        ("", None, 400, "invalid_request"),
        (&long, None, 400, "invalid_request"),
    ] {
        let res = log_in(&proxy, path, form, basic).await;
        assert_eq!(
            (res.status().as_u16(), json(&res)["error"].as_str()),
            (status, Some(error)),
            "{form}"
        );
        assert_eq!(
            res.headers().contains_key("www-authenticate"),
            basic.is_some()
        );
        assert!(!String::from_utf8_lossy(res.body()).contains(&stranger));
    }
    for (authorization, challenges) in [("Basic ????", 1), ("Bearer guess", 0), ("Basically x", 0)]
    {
        let mut req = post(path);
        req.headers_mut()
            .insert("authorization", authorization.parse().unwrap());
        *req.body_mut() = Full::from("grant_type=client_credentials");
        let res = send(proxy.addr(), req).await;
        assert_eq!(res.status(), StatusCode::UNAUTHORIZED, "{authorization}");
        let sent = res.headers().get_all("www-authenticate").iter().count();
        assert_eq!(sent, challenges, "{authorization}");
    }
    let get = Request::get(path)
        .header("host", "a")
        .body(Full::default())
        .unwrap();
    let res = send(proxy.addr(), get).await;
    assert_eq!(
        (res.status(), &res.headers()["allow"]),
        (StatusCode::METHOD_NOT_ALLOWED, &"POST".parse().unwrap())
    );
    assert!(forwarded(&api).await.is_empty());
}

#[tokio::test]
async fn failed_logins_are_delayed_as_well() {
    let proxy = TestProxy::before(&api().await)
        .callers(&[KeyedCaller::new("crm", "").table()])
        .start()
        .await;
    let form = "grant_type=client_credentials&client_secret=guess";
    let began = Instant::now();
    let refused = join_all((0..40).map(|_| log_in(&proxy, LOGINS[0], form, None))).await;
    assert!(
        refused
            .iter()
            .all(|res| res.status() == StatusCode::UNAUTHORIZED)
    );
    assert!(
        began.elapsed() >= Duration::from_secs(1),
        "nobody was held back"
    );
}

#[tokio::test]
async fn a_uid_caller_gets_a_placeholder_token() {
    let directory = tempfile::tempdir().unwrap();
    let uid = std::fs::metadata(directory.path()).unwrap().uid();
    let path = directory.path().join("s");
    let file = config_file(&[format!("[[caller]]\nname = \"local\"\nuid = {uid}\n")]);
    let address = format!("listen.address=unix:{}", path.display());
    let mut running = Running::start_with_file(file.path(), &[&address]);
    let form = "grant_type=client_credentials&client_secret=whatever";
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{form}",
        LOGINS[0],
        form.len()
    );
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.contains("\"access_token\":\"gbg-proxy-needs-no-token\""),
        "{answer}"
    );
    assert_eq!(running.end("-TERM"), 0);
    let line = running
        .log
        .lines()
        .find(|line| line.contains(LOGINS[0]))
        .unwrap();
    assert!(
        line.contains("caller=\"local\"") && line.contains("source=\"proxy\""),
        "{line}"
    );
}

/// As a client does that knows nothing of the proxy but its base URL: it logs in, and goes through
/// a journey.
#[tokio::test]
async fn an_unmodified_client_completes_a_journey() {
    let world = sandbox(&[]).await;
    let crm = KeyedCaller::new("crm", "");
    for (tables, secret) in [(vec![crm.table()], &*crm.key), (vec![], "whatever")] {
        let proxy = TestProxy::before_sandbox(&world)
            .callers(&tables)
            .start()
            .await;
        for path in &LOGINS[..2] {
            let form = format!("grant_type=client_credentials&client_id=x&client_secret={secret}");
            let login = log_in(&proxy, path, &form, None).await;
            let token = json(&login)["access_token"].as_str().unwrap().to_owned();
            let call = async |path: &str, body: serde_json::Value| {
                let req = Request::post(path)
                    .header("host", "localhost")
                    .header("content-type", "application/json")
                    .header("authorization", format!("Bearer {token}"))
                    .body(Full::from(body.to_string()));
                send(proxy.addr(), req.unwrap()).await
            };
            let start = serde_json::json!({
                "resourceId": "0123456789abcdef0123456789abcdef@latest",
                "context": { "config": { "delivery": "api" } },
            });
            let started = call("/v2/captain/journey/start", start).await;
            assert_eq!(started.status(), StatusCode::CREATED, "{started:?}");
            let instance = json(&started)["instanceId"].clone();
            let state = call(
                "/v2/captain/journey/state/fetch",
                serde_json::json!({ "instanceId": instance }),
            )
            .await;
            assert_eq!(state.status(), StatusCode::OK, "{state:?}");
            for answer in [&login, &started, &state] {
                let said = format!("{answer:?}");
                assert!(
                    world
                        .issued_tokens()
                        .iter()
                        .all(|real| !said.contains(real)),
                    "{said}"
                );
                assert!(!said.contains(CLIENT_SECRET), "{said}");
            }
        }
        proxy.shut_down().await;
    }
}
