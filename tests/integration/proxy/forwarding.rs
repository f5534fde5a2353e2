//! Requests as they reach the API, and responses as they come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Method, Request, StatusCode, Version};
use http_body_util::Full;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use wiremock::ResponseTemplate;

use crate::support::caller::{assert_ok, json, post, raw, read_until, send, send_http2};
use crate::support::server::scripted;
use crate::support::{TOKEN, TestProxy, answer, api, forwarded};

const START: &str = "/v2/captain/journey/start";

#[tokio::test]
async fn a_request_without_credentials_gets_the_bearer() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(201).set_body_string("started")).await;
    let proxy = TestProxy::before(&api).start().await;

    let res = send(proxy.addr(), post(START)).await;

    assert_eq!(
        (res.status(), &res.body()[..]),
        (StatusCode::CREATED, &b"started"[..])
    );
    let seen = &forwarded(&api).await[0];
    assert_eq!(seen.headers["authorization"], format!("Bearer {TOKEN}"));
    assert_eq!(seen.body, b"{}");
}

#[tokio::test]
async fn caller_credentials_are_replaced_by_one_bearer() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let proxy = TestProxy::before(&api).start().await;

    let request = format!(
        "POST {START} HTTP/1.1\r\nHost: proxy.internal\r\nAuthorization: Basic dXNlcjpwYXNz\r\n\
         AUTHORIZATION: Bearer stolen\r\nProxy-Authorization: Basic eA==\r\nX-Api-Key: k\r\nCookie: a=b\r\n\
         Connection: close, X-Once\r\nX-Once: 1\r\nKeep-Alive: timeout=5\r\nTE: gzip\r\nUpgrade: h2c\r\n\
         X-GBG-Source: legacy\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    assert!(raw(proxy.addr(), request).await.starts_with("HTTP/1.1 200"));

    let seen = &forwarded(&api).await[0];
    let authorization: Vec<_> = seen.headers.get_all("authorization").iter().collect();
    assert_eq!(authorization, [format!("Bearer {TOKEN}").as_str()]);
    let gone = [
        "proxy-authorization",
        "x-api-key",
        "cookie",
        "x-once",
        "keep-alive",
        "te",
        "upgrade",
        "connection",
    ];
    for name in gone {
        assert!(!seen.headers.contains_key(name), "{name} was forwarded");
    }
    assert_eq!(seen.headers["x-gbg-source"], "legacy");
    assert!(
        seen.headers["via"]
            .to_str()
            .unwrap()
            .starts_with("1.1 gbg-proxy-"),
        "{:?}",
        seen.headers
    );
}

#[tokio::test]
async fn a_connection_option_cannot_remove_the_bearer() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let proxy = TestProxy::before(&api).start().await;
    let request = format!(
        "GET {START} HTTP/1.1\r\nHost: a\r\nConnection: close, authorization, host\r\n\r\n"
    );
    assert!(raw(proxy.addr(), request).await.starts_with("HTTP/1.1 200"));
    assert_eq!(
        forwarded(&api).await[0].headers["authorization"],
        format!("Bearer {TOKEN}")
    );
}

#[tokio::test]
async fn cookies_pass_if_configured() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let proxy = TestProxy::before(&api)
        .set(&["upstream.forward_cookies=true"])
        .start()
        .await;
    let mut req = post(START);
    req.headers_mut().insert("cookie", "a=b".parse().unwrap());
    send(proxy.addr(), req).await;
    assert_eq!(forwarded(&api).await[0].headers["cookie"], "a=b");
}

#[tokio::test]
async fn the_target_is_unchanged_with_upstream_host() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let proxy = TestProxy::before(&api).start().await;
    let target = "/v2/captain/Journey/%C3%A4%20~x;a=1?q=%2F..%2f&empty=&q=1";

    let request = format!(
        "GET http://elsewhere.example{target} HTTP/1.1\r\nHost: elsewhere.example\r\nConnection: close\r\n\r\n"
    );
    assert!(raw(proxy.addr(), request).await.starts_with("HTTP/1.1 200"));

    let seen = &forwarded(&api).await[0];
    assert_eq!(&seen.url[url::Position::BeforePath..], target);
    assert_eq!(seen.headers["host"], api.address().to_string());
}

#[tokio::test]
async fn every_http_version_is_served() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200).set_body_string("same")).await;
    let proxy = TestProxy::before(&api).start().await;

    let old = raw(
        proxy.addr(),
        format!("POST {START} HTTP/1.0\r\nContent-Length: 2\r\n\r\n{{}}"),
    )
    .await;
    assert!(
        old.starts_with("HTTP/1.0 200") && old.ends_with("\r\n\r\nsame"),
        "{old}"
    );

    let mut req = post(&format!("http://{}{START}", proxy.addr()));
    req.headers_mut().remove("host");
    let new = send_http2(proxy.addr(), req).await;
    assert_eq!(
        (new.version(), new.status(), &new.body()[..]),
        (Version::HTTP_2, StatusCode::OK, &b"same"[..])
    );

    let seen = forwarded(&api).await;
    for (seen, via) in seen.iter().zip(["1.0 gbg-proxy-", "2 gbg-proxy-"]) {
        assert!(
            seen.headers["via"].to_str().unwrap().starts_with(via),
            "{:?}",
            seen.headers
        );
    }
    assert!(seen.iter().all(|req| req.body == b"{}"));
}

#[tokio::test]
async fn responses_pass_unchanged_and_redirects_are_not_followed() {
    let api = api().await;
    let template = ResponseTemplate::new(302)
        .insert_header("location", "https://elsewhere.example/")
        .insert_header("x-request-id", "gbg-1")
        .append_header("x-many", "1")
        .append_header("x-many", "2")
        .set_body_string("moved");
    answer(&api, template).await;
    let proxy = TestProxy::before(&api).start().await;

    let res = send(proxy.addr(), post(START)).await;

    assert_eq!(res.status(), StatusCode::FOUND);
    assert_eq!(res.headers()["location"], "https://elsewhere.example/");
    assert_eq!(res.headers()["x-request-id"], "gbg-1");
    assert_eq!(
        res.headers().get_all("x-many").iter().collect::<Vec<_>>(),
        ["1", "2"]
    );
    assert_eq!(&res.body()[..], b"moved");
    assert!(!res.headers().contains_key("proxy-status"));
    assert_eq!(forwarded(&api).await.len(), 1);
}

#[tokio::test]
async fn a_bodiless_response_keeps_the_connection() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(204)).await;
    let proxy = TestProxy::before(&api).start().await;
    let twice = format!(
        "HEAD {START} HTTP/1.1\r\nHost: a\r\n\r\nDELETE {START} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    );
    let answers = raw(proxy.addr(), twice).await;
    assert_eq!(answers.matches("HTTP/1.1 204").count(), 2, "{answers}");
    let methods: Vec<_> = forwarded(&api)
        .await
        .iter()
        .map(|req| req.method.clone())
        .collect();
    assert_eq!(methods, [Method::HEAD, Method::DELETE]);
}

#[tokio::test]
async fn a_connect_token_is_the_callers_own_credential() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let proxy = TestProxy::before(&api).start().await;
    for path in [
        "/v2/captain/journey/device/connect",
        "/captain/api/journey/device/connect",
        "/v2/captain/journey/device/connec%74",
    ] {
        let mut req = post(path);
        req.headers_mut()
            .insert("authorization", "Bearer connect-token".parse().unwrap());
        send(proxy.addr(), req).await;
    }
    send(proxy.addr(), post("/v2/captain/journey/device/connect")).await;
    let seen = forwarded(&api).await;
    assert_eq!(seen[0].headers["authorization"], "Bearer connect-token");
    assert_eq!(seen[1].headers["authorization"], "Bearer connect-token");
    assert_eq!(seen[2].headers["authorization"], "Bearer connect-token");
    assert!(!seen[3].headers.contains_key("authorization"));
}

#[tokio::test]
async fn local_errors_have_the_versions_format() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let proxy = TestProxy::before(&api).start().await;
    let cases = [
        ("GET", "/designer/api/x", 404, "path_unknown"),
        ("GET", "/", 404, "path_unknown"),
        ("POST", "/as/token.oauth3", 404, "path_unknown"),
        ("GET", "/v2/captain/../designer/api", 400, "bad_request"),
        ("GET", "/v2/captain/%2e%2e/designer/api", 400, "bad_request"),
        ("TRACE", START, 405, "method_not_allowed"),
    ];
    for (method, target, status, reason) in cases {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answer = raw(proxy.addr(), request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{method} {target}: {answer}"
        );
        assert!(
            answer.contains(&format!("details=\"{reason}\"")),
            "{method} {target}: {answer}"
        );
    }
    let v1 = send(proxy.addr(), post("/captain/api/../x")).await;
    assert_eq!(json(&v1)["error"], "bad_request");
    assert_eq!(json(&v1)["status"], 400);
    let v2 = send(proxy.addr(), post("/v2/captain/../x")).await;
    assert_eq!(json(&v2)["errors"][0]["name"], "bad_request");
    assert!(forwarded(&api).await.is_empty(), "something was forwarded");
}

#[tokio::test]
async fn every_response_carries_a_request_id() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let proxy = TestProxy::before(&api).start().await;

    let first = send(proxy.addr(), post(START)).await;
    let second = send(proxy.addr(), post("/elsewhere")).await;
    assert_ne!(
        first.headers()["x-proxy-request-id"],
        second.headers()["x-proxy-request-id"]
    );
    assert_eq!(
        json(&second)["request_id"],
        second.headers()["x-proxy-request-id"].to_str().unwrap()
    );

    let mut req = post(START);
    req.headers_mut()
        .insert("x-proxy-request-id", "order-77".parse().unwrap());
    assert_eq!(
        send(proxy.addr(), req).await.headers()["x-proxy-request-id"],
        "order-77"
    );
    assert!(
        forwarded(&api)
            .await
            .iter()
            .all(|req| !req.headers.contains_key("x-proxy-request-id"))
    );
}

#[tokio::test]
async fn another_prefix_is_forwarded_if_configured() {
    let api = api().await;
    wiremock::Mock::given(wiremock::matchers::path("/other/x"))
        .respond_with(ResponseTemplate::new(200))
        .mount(&api)
        .await;
    let proxy = TestProxy::before(&api)
        .set(&["upstream.allow=[\"/other/\"]"])
        .start()
        .await;
    let req = |path: &str| {
        Request::get(path)
            .header("host", "a")
            .body(Full::<Bytes>::default())
            .unwrap()
    };
    assert_eq!(
        send(proxy.addr(), req("/other/x")).await.status(),
        StatusCode::OK
    );
    assert_eq!(
        send(proxy.addr(), req(START)).await.status(),
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn upstream_connections_are_reused() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let upstream = scripted(move |mut stream: TcpStream| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            loop {
                read_until(&mut stream, "{}").await;
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    .await
                    .unwrap();
            }
        }
    })
    .await;
    let proxy = TestProxy::before_server(&format!("http://{upstream}"))
        .set(&["listen.workers=1"])
        .start()
        .await;
    for _ in 0..20 {
        assert_ok(proxy.addr(), START).await;
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

/// The raw answer of an API that spells its fields in its own way.
async fn spelt(set: &[&str]) -> String {
    let upstream = scripted(|mut stream: TcpStream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        let answer = "HTTP/1.1 200 OK\r\nX-GBG-Thing: 1\r\nset-COOKIE: a\r\nSet-Cookie: b\r\nContent-Length: 2\r\n\r\nok";
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    let proxy = TestProxy::before_server(&format!("http://{}", upstream.await))
        .set(set)
        .start()
        .await;
    raw(
        proxy.addr(),
        format!("GET {START} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    )
    .await
}

#[tokio::test]
async fn response_field_names_may_keep_their_case() {
    let answer = spelt(&[]).await;
    for field in [
        "\r\nx-gbg-thing: 1\r\n",
        "\r\nset-cookie: a\r\n",
        "\r\nx-proxy-request-id: ",
    ] {
        assert!(answer.contains(field), "{answer}");
    }
    let answer = spelt(&["listen.header_case=preserve"]).await;
    let fields = [
        "\r\nX-GBG-Thing: 1\r\n",
        "\r\nset-COOKIE: a\r\n",
        "\r\nSet-Cookie: b\r\n",
        "\r\nContent-Length: 2\r\n",
    ];
    for field in fields.into_iter().chain(["\r\nX-Proxy-Request-Id: "]) {
        assert!(answer.contains(field), "{answer}");
    }
}

#[tokio::test]
async fn http2_accepts_a_long_field_list() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let proxy = TestProxy::before(&api).start().await;
    let mut req = post(&format!("http://localhost{START}"));
    req.headers_mut().remove("host");
    req.headers_mut()
        .insert("x-long", "x".repeat(40 * 1024).parse().unwrap());
    assert_eq!(send_http2(proxy.addr(), req).await.status(), 200);
}
