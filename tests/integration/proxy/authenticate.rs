//! Authentication by key: the fields that carry it, the paths that a caller may call, and the
//! response to requests without a valid key.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::header::{HeaderName, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::Full;
use wiremock::{MockServer, ResponseTemplate};

use crate::support::caller::{Whole, assert_ok, json, post, send};
use crate::support::configured_callers::KeyedCaller;
use crate::support::{Proxy, TOKEN, TestProxy, answer, api, forwarded};

pub(crate) const START: &str = "/v2/captain/journey/start";
const FETCH: &str = "/v2/captain/journey/state/fetch";
const CONNECT: &str = "/v2/captain/journey/device/connect";

/// An API that takes everything.
pub(crate) async fn content() -> MockServer {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    api
}

/// An API that takes everything, and a proxy in front of it for the caller `crm`.
async fn serving_crm() -> (MockServer, KeyedCaller, Proxy) {
    let api = content().await;
    let crm = KeyedCaller::new("crm", "");
    let proxy = TestProxy::before(&api)
        .callers(&[crm.table()])
        .start()
        .await;
    (api, crm, proxy)
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
async fn keys_in_three_fields_authenticate_and_are_removed() {
    let (api, crm, proxy) = serving_crm().await;
    let ways = [
        crm.key_field("x-api-key", ""),
        crm.key_field("authorization", "Bearer"),
        crm.key_field("authorization", "Basic"),
    ];
    for way in ways {
        assert_eq!(call(&proxy, START, &[way]).await.status(), StatusCode::OK);
    }
    let seen = forwarded(&api).await;
    assert_eq!(seen.len(), 3);
    for req in seen {
        assert_eq!(req.headers["authorization"], format!("Bearer {TOKEN}"));
        assert!(
            !format!("{:?}", req.headers).contains(&crm.key),
            "{:?}",
            req.headers
        );
    }
}

#[tokio::test]
async fn unauthenticated_requests_get_401_with_a_challenge() {
    let api = content().await;
    let proxy = TestProxy::before(&api)
        .callers(&[KeyedCaller::new("crm", "").table()])
        .start()
        .await;
    let stranger = KeyedCaller::new("stranger", "");
    for fields in [
        vec![],
        vec![stranger.key_field("x-api-key", "")],
        vec![stranger.key_field("authorization", "Basic")],
        vec![field("authorization", "Bearer eyJhbGciOi")],
        vec![field("x-api-key", "")],
    ] {
        let res = call(&proxy, START, &fields).await;
        assert_eq!(res.status(), StatusCode::UNAUTHORIZED, "{fields:?}");
        let ways: Vec<_> = res.headers().get_all("www-authenticate").iter().collect();
        assert_eq!(
            ways,
            ["Bearer realm=\"gbg-proxy\"", "Basic realm=\"gbg-proxy\""]
        );
        assert_eq!(json(&res)["reason"], "caller_unknown");
        assert!(!String::from_utf8_lossy(res.body()).contains(&stranger.key));
    }
    assert!(forwarded(&api).await.is_empty());
}

#[tokio::test]
async fn a_denied_header_field_gets_403() {
    let api = content().await;
    let caller = KeyedCaller::new("crm", "deny_headers = [\"X-GBG-Scenario\"]");
    let proxy = TestProxy::before(&api)
        .callers(&[caller.table()])
        .start()
        .await;
    let key = caller.key_field("x-api-key", "");
    let scenario = field("x-gbg-scenario", "clear");
    let res = call(&proxy, START, &[key.clone(), scenario]).await;
    assert_eq!(res.status(), StatusCode::FORBIDDEN);
    assert_eq!(json(&res)["reason"], "header_not_allowed");
    assert_eq!(json(&res)["errors"][0]["location"], "Header");
    assert!(forwarded(&api).await.is_empty());
    assert_eq!(call(&proxy, START, &[key]).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_caller_reaches_only_its_own_paths() {
    let api = content().await;
    let poller = KeyedCaller::new(
        "poller",
        "allow = [\"/v2/captain/journey/state/\"]\nmethods = [\"POST\"]",
    );
    let proxy = TestProxy::before(&api)
        .callers(&[poller.table()])
        .start()
        .await;
    let key = [poller.key_field("x-api-key", "")];
    assert_eq!(call(&proxy, FETCH, &key).await.status(), StatusCode::OK);
    let res = call(&proxy, START, &key).await;
    assert_eq!(
        (res.status(), json(&res)["reason"].as_str()),
        (StatusCode::FORBIDDEN, Some("path_not_allowed"))
    );
    let get = Request::get(FETCH)
        .header("host", "a")
        .header("x-api-key", &poller.key);
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
    let proxy = TestProxy::before(&api)
        .set(&["upstream.methods=[\"POST\", \"GET\"]"])
        .start()
        .await;
    assert_ok(proxy.addr(), START).await;
    let delete = Request::delete(START)
        .header("host", "a")
        .body(Full::default())
        .unwrap();
    let res = send(proxy.addr(), delete).await;
    assert_eq!(json(&res)["reason"], "method_not_allowed");
    assert_eq!(res.headers()["allow"], "POST, GET");
}

/// There the Authorization is GBG's; a key that came by it would go to GBG.
#[tokio::test]
async fn bearer_paths_need_the_key_elsewhere() {
    let (api, crm, proxy) = serving_crm().await;
    let both = [
        field("authorization", "Bearer connect-token"),
        crm.key_field("x-api-key", ""),
    ];
    assert_eq!(call(&proxy, CONNECT, &both).await.status(), StatusCode::OK);
    let quoted = field("authorization", &format!("Bearer \"{}\"", crm.key));
    for way in [
        crm.key_field("authorization", "Bearer"),
        crm.key_field("authorization", "Basic"),
        quoted,
    ] {
        let res = call(&proxy, CONNECT, &[way, crm.key_field("x-api-key", "")]).await;
        assert_eq!(res.status(), StatusCode::BAD_REQUEST);
        assert!(
            json(&res)["detail"].as_str().unwrap().contains("X-Api-Key"),
            "{res:?}"
        );
    }
    let res = call(&proxy, CONNECT, &both[..1]).await;
    assert_eq!(json(&res)["reason"], "caller_unknown");
    assert!(
        json(&res)["detail"].as_str().unwrap().contains("X-Api-Key"),
        "{res:?}"
    );
    let seen = forwarded(&api).await;
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].headers["authorization"], "Bearer connect-token");
    assert!(!seen[0].headers.contains_key("x-api-key"));
}

#[tokio::test]
async fn without_callers_keys_are_removed_unchecked() {
    let api = content().await;
    let proxy = TestProxy::before(&api).start().await;
    let stranger = KeyedCaller::new("stranger", "");
    assert_eq!(
        call(
            &proxy,
            START,
            &[stranger.key_field("authorization", "Bearer")]
        )
        .await
        .status(),
        200
    );
    assert_eq!(
        call(
            &proxy,
            CONNECT,
            &[stranger.key_field("authorization", "Bearer")]
        )
        .await
        .status(),
        400
    );
    assert!(!format!("{:?}", forwarded(&api).await).contains(&stranger.key));
}

/// Two keys, so that one can replace the other while both are in use.
#[tokio::test]
async fn keys_can_be_rotated_and_callers_expire() {
    let api = content().await;
    let (old, new) = (KeyedCaller::new("crm", ""), KeyedCaller::new("crm", ""));
    let digest = |caller: &KeyedCaller| {
        caller
            .table()
            .split("key_sha256 = ")
            .nth(1)
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .to_owned()
    };
    let both = format!(
        "[[caller]]\nname = \"crm\"\nkey_sha256 = [{}, {}]\n",
        digest(&old),
        digest(&new)
    );
    let gone = KeyedCaller::new("gone", "expires = 2020-01-01");
    let proxy = TestProxy::before(&api)
        .callers(&[both, gone.table()])
        .start()
        .await;
    for caller in [&old, &new] {
        assert_eq!(
            call(&proxy, START, &[caller.key_field("x-api-key", "")])
                .await
                .status(),
            StatusCode::OK
        );
    }
    let res = call(&proxy, START, &[gone.key_field("x-api-key", "")]).await;
    assert_eq!(res.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(json(&res)["reason"], "caller_expired");
}

/// However many wrong keys come from an address, the right one is not held back.
#[tokio::test]
async fn a_valid_key_is_never_delayed_by_guesses() {
    let (_api, crm, proxy) = serving_crm().await;
    let hold = Duration::from_secs(1);
    let began = Instant::now();
    let guess = async || join_all((0..40).map(|_| call(&proxy, START, &[]))).await;
    let mut refused = guess().await;
    assert!(began.elapsed() >= hold, "nobody was held back");
    let key = [crm.key_field("x-api-key", "")];
    let passing = async {
        let began = Instant::now();
        let passed = call(&proxy, START, &key).await;
        (passed.status(), began.elapsed())
    };
    let (more, (status, took)) = tokio::join!(guess(), passing);
    refused.extend(more);
    assert!(
        refused
            .iter()
            .all(|res| res.status() == StatusCode::UNAUTHORIZED)
    );
    assert!(
        status == StatusCode::OK && took < hold,
        "{status} after {took:?}"
    );
}
