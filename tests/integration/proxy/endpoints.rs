//! The endpoint table: whose bearer each call carries, and the document that lists it.

use std::fmt::Write;

use gbg_proxy::gbg::{AcceptedToken, ApiVersion, Endpoint, endpoints};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use wiremock::ResponseTemplate;

use crate::support::caller::{json, send};
use crate::support::{TOKEN, TestProxy, answer, api, forwarded, token_calls};

const END_USER: &str = "Bearer eyJ.end.user";

fn path(version: ApiVersion, endpoint: &Endpoint) -> String {
    format!("{}{}", version.prefix(), endpoint.template).replace(['{', '}'], "x")
}

/// The Authorization that arrives for each endpoint, by its path, if callers send an end-user token.
async fn arriving(set: &[&str]) -> Vec<(String, &'static Endpoint, Option<String>)> {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let proxy = TestProxy::before(&api).set(set).start().await;
    for (version, endpoint) in endpoints() {
        let req = Request::post(path(version, endpoint))
            .header("host", "localhost")
            .header("authorization", END_USER)
            .body(Full::default())
            .unwrap();
        assert_eq!(send(proxy.addr(), req).await.status(), StatusCode::OK);
    }
    let seen = forwarded(&api).await;
    let arrived = seen.iter().map(|req| {
        let value = req.headers.get("authorization");
        value.map(|value| value.to_str().unwrap().to_owned())
    });
    endpoints()
        .zip(arrived)
        .map(|((version, endpoint), value)| (path(version, endpoint), endpoint, value))
        .collect()
}

#[tokio::test]
async fn each_endpoint_carries_the_bearer_it_accepts() {
    let ours = format!("Bearer {TOKEN}");
    let arrived = arriving(&[]).await;
    assert_eq!(arrived.len(), endpoints().count());
    for (path, endpoint, value) in arrived {
        let expected = match endpoint.token {
            AcceptedToken::Customer | AcceptedToken::Either => Some(&*ours),
            AcceptedToken::EndUser => Some(END_USER),
            AcceptedToken::None => None,
        };
        assert_eq!(value.as_deref(), expected, "{path}");
    }
}

#[tokio::test]
async fn configured_paths_carry_the_callers_bearer() {
    let set = [
        "upstream.caller_bearer=[\"/v2/captain/journey/interaction/*\", \"/{api}/api/journey/task/list\"]",
    ];
    for (path, endpoint, value) in arriving(&set).await {
        let is_configured =
            path.contains("/interaction/") || path == "/captain/api/journey/task/list";
        let is_callers = is_configured || endpoint.token == AcceptedToken::EndUser;
        assert_eq!(value.as_deref() == Some(END_USER), is_callers, "{path}");
    }
}

/// The customer token reaches every journey, so it never stands in for a token of a device.
#[tokio::test]
async fn a_device_without_a_bearer_gets_none() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(401)).await;
    let proxy = TestProxy::before(&api).start().await;
    let of_devices = endpoints().filter(|(_, endpoint)| endpoint.token == AcceptedToken::EndUser);
    for (version, endpoint) in of_devices {
        let req = Request::post(path(version, endpoint))
            .header("host", "localhost")
            .body(Full::default())
            .unwrap();
        let status = send(proxy.addr(), req).await.status();
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
    let seen = forwarded(&api).await;
    assert_eq!(seen.len(), 5, "a 401 to a caller's bearer is not retried");
    assert!(
        seen.iter()
            .all(|req| !req.headers.contains_key("authorization"))
    );
    // The one of the start.
    assert!(
        token_calls(&api).await <= 1,
        "a 401 cost the proxy its token"
    );
}

#[tokio::test]
async fn both_base_urls_of_the_sdks_work() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let proxy = TestProxy::before(&api).start().await;
    let start = |base: &str, path: &str| {
        let req = Request::builder()
            .method(Method::POST)
            .uri(format!("{base}{path}"));
        let req = req.header("host", "localhost").body(Full::default());
        send(proxy.addr(), req.unwrap())
    };
    // SDK 0.1.2 and earlier, then 0.1.3 and later, each with its own base URL.
    for (base, path) in [
        ("/v2/captain", "/journey/start"),
        ("", "/v2/captain/journey/start"),
    ] {
        assert_eq!(start(base, path).await.status(), StatusCode::OK);
    }
    let repeated = start("/v2/captain", "/v2/captain/journey/start").await;
    assert_eq!(repeated.status(), StatusCode::NOT_FOUND);
    let body = json(&repeated);
    assert_eq!(body["reason"], "path_unknown");
    assert_eq!(body["detail"], "the path has the prefix of the API twice");
    let action = "Use the address of this proxy, without a path, as the base URL";
    let shown = body["errors"][0]["action"].as_str().unwrap();
    assert!(shown.starts_with(action), "{shown}");
    assert_eq!(forwarded(&api).await.len(), 2);
}

/// To generate it: `BLESS=1 cargo test the_document_lists_the_table`.
#[test]
fn the_document_lists_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/endpoints.md");
    let document = std::fs::read_to_string(path).unwrap();
    let (before, _) = document.split_once("| path |").unwrap();
    let generated = format!("{before}{}", table());
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &generated).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(path).unwrap(),
        generated,
        "BLESS=1 cargo test the_document_lists_the_table"
    );
}

fn table() -> String {
    let mut table = "| path | name in metrics | token | may be repeated | body |\n".to_owned();
    table += "| --- | --- | --- | --- | --- |\n";
    for (version, endpoint) in endpoints() {
        let token = match endpoint.token {
            AcceptedToken::Customer => "the proxy's",
            AcceptedToken::EndUser => "the caller's",
            AcceptedToken::Either => "the proxy's, or the caller's",
            AcceptedToken::None => "none",
        };
        let has_methods = endpoint.template.starts_with("sandbox/");
        let repeated = match endpoint.is_read_only {
            true => "yes",
            false if has_methods => "GET",
            false => "no",
        };
        let body = if endpoint.is_upload { "a file" } else { "JSON" };
        writeln!(
            table,
            "| `{}{}` | `{}` | {token} | {repeated} | {body} |",
            version.prefix(),
            endpoint.template,
            endpoint.name
        )
        .unwrap();
    }
    table
}
