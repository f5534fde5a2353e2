//! Fields and trailers as an intermediary passes them on, byte for byte, and those that end here.

use crate::proxy::messages::one;
use crate::support::TOKEN;
use crate::support::bytes::{Api, GET, answered, exchange, status};

#[tokio::test]
async fn repeated_fields_keep_their_order_and_their_bytes() {
    let fields =
        "X-A: 1\r\nX-B: caf\u{e9}\u{ff}\r\nX-A: 2, 3\r\nx-a:\t4 \t\r\nX_C: d\r\nX-Empty:\r\n";
    let (_, seen) = one("GET /v2/captain/x", fields, "", &[]).await;
    let values: Vec<_> = seen
        .lines()
        .filter_map(|line| line.strip_prefix("x-a: "))
        .collect();
    assert_eq!(values, ["1", "2, 3", "4"]);
    assert!(
        seen.contains("x-b: caf\u{e9}\u{ff}\r\n")
            && seen.contains("x_c: d\r\n")
            && seen.contains("x-empty: \r\n"),
        "{seen}"
    );
    let answer = answered(
        "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nX-A: \u{e9}\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n",
        GET,
    )
    .await;
    let answer = answer.to_lowercase();
    let (first, second) = (
        answer.find("set-cookie: a=1").unwrap(),
        answer.find("set-cookie: b=2").unwrap(),
    );
    assert!(
        first < second && answer.contains("x-a: \u{e9}\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn hop_by_hop_fields_are_removed_both_ways() {
    let fields = "Connection: X-Once, authorization, via, content-length, host, x-proxy-request-id\r\nX-Once: 1\r\n\
                  Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c, websocket\r\n\
                  HTTP2-Settings: AAMAAABkAAQAAP__\r\nTrailer: X-T\r\nContent-Length: 2\r\n\
                  Transfer_Encoding: chunked\r\nContent_Length: 5\r\nProxy_Connection: close\r\nKeep_Alive: timeout=5\r\n";
    let (answer, seen) = one("POST /v2/captain/x", fields, "ab", &[]).await;
    assert_eq!(status(&answer), "200", "{answer}");
    for gone in [
        "x-once",
        "keep-alive",
        "proxy-connection",
        "upgrade:",
        "connection:",
        "_encoding",
        "_length",
        "_alive",
    ] {
        assert!(!seen.contains(gone), "{gone}: {seen}");
    }
    for there in [
        &format!("authorization: Bearer {TOKEN}\r\n"),
        "via: 1.1 gbg-proxy-",
        "host: 127.0.0.1:",
    ] {
        assert_eq!(seen.matches(there).count(), 1, "{there}: {seen}");
    }
    // The framing may differ, but the body is the same.
    assert!(
        seen.ends_with("\r\n\r\nab") || seen.ends_with("\r\n\r\n2\r\nab\r\n0\r\n\r\n"),
        "{seen}"
    );

    let answer = answered(
        "HTTP/1.1 200 OK\r\nConnection: X-Once, close\r\nX-Once: 1\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Authenticate: Basic\r\nProxy-Connection: close\r\nUpgrade: h2c\r\nX-Stays: 1\r\nContent-Length: 2\r\n\r\nok",
        "GET /v2/captain/x HTTP/1.1\r\nHost: a\r\n\r\n",
    )
    .await
    .to_lowercase();
    for gone in ["x-once", "keep-alive", "proxy-", "upgrade", "connection:"] {
        assert!(
            !answer.replace("x-proxy-request-id", "").contains(gone),
            "{gone}: {answer}"
        );
    }
    assert!(
        answer.contains("x-stays: 1\r\n") && answer.ends_with("\r\n\r\nok"),
        "{answer}"
    );
}

#[tokio::test]
async fn credentials_are_removed_in_every_spelling() {
    let fields = "authorization: Basic eA==\r\nAUTHORIZATION: Bearer stolen\r\nAuThOrIzAtIoN: x\r\n\
                  proxy-authorization: Basic eA==\r\nX-API-KEY: k\r\nX_Api_Key: k\r\nPROXY_AUTHORIZATION: Basic eA==\r\nX_Forwarded_For: 10.1.2.3\r\nCookie: a=b\r\nX-Forwarded-For: 10.1.2.3\r\n\
                  x-forwarded-host: intern\r\nForwarded: for=10.1.2.3\r\nX-Real-IP: 10.1.2.3\r\ntraceparent: 00-1-2-00\r\n";
    let (_, seen) = one("GET /v2/captain/x", fields, "", &[]).await;
    for gone in [
        "Basic",
        "stolen",
        "api",
        "proxy_",
        "cookie",
        "forwarded",
        "10.1.2.3",
        "intern",
    ] {
        assert!(!seen.contains(gone), "{gone}: {seen}");
    }
    assert_eq!(seen.matches("authorization: ").count(), 1, "{seen}");
    assert!(seen.contains("traceparent: 00-1-2-00\r\n"), "{seen}");
}

/// A gateway in front of the API would take another target, method or person from them.
/// `upstream.send_forwarded` is about addresses alone.
#[tokio::test]
async fn fields_that_gateways_trust_are_removed() {
    let fields = "X-Original-URL: /gone\r\nX-Rewrite-URL: /gone\r\nX-HTTP-Method-Override: GONE\r\nX-HTTP-Method: GONE\r\n\
                  X-Method-Override: GONE\r\nX-Original-Host: gone\r\nX_Original_URL: /gone\r\nBaggage: user=gone\r\n\
                  Client-Cert: :gone:\r\nX-Forwarded-Client-Cert: Hash=gone\r\nX-Forwarded-User: gone\r\nProxy: gone\r\n\
                  HTTP2-Settings: gone\r\nExpect: 100-continue\r\ntraceparent: 00-1-2-00\r\ntracestate: stays=1\r\n\
                  Content-Length: 2\r\n";
    for set in [&[][..], &["upstream.send_forwarded=true"]] {
        let (answer, seen) = one("POST /v2/captain/x", fields, "ab", set).await;
        assert!(
            answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"),
            "{answer}"
        );
        assert!(
            seen.starts_with("POST /v2/captain/x HTTP/1.1\r\n"),
            "{seen}"
        );
        assert!(
            !seen.to_lowercase().contains("gone") && !seen.contains("expect"),
            "{seen}"
        );
        assert!(
            seen.contains("traceparent: 00-1-2-00\r\n") && seen.contains("tracestate: stays=1\r\n"),
            "{seen}"
        );
    }
}

#[tokio::test]
async fn caller_and_address_are_forwarded_if_configured() {
    let set = [
        "upstream.send_forwarded=true",
        "upstream.source=crm",
        "upstream.forward_cookies=true",
    ];
    let fields = "X-Forwarded-For: 10.1.2.3\r\nForwarded: for=10.1.2.3\r\nCookie: a=b\r\n";
    let (_, seen) = one("GET /v2/captain/x", fields, "", &set).await;
    for there in [
        "x-forwarded-for: 10.1.2.3\r\nx-forwarded-for: 127.0.0.1\r\n",
        "forwarded: for=10.1.2.3\r\nforwarded: for=127.0.0.1\r\n",
        "x-gbg-source: crm\r\n",
        "cookie: a=b\r\n",
    ] {
        assert!(seen.contains(there), "{there}: {seen}");
    }
    let (_, seen) = one("GET /v2/captain/x", "X-GBG-Source: legacy\r\n", "", &set).await;
    assert!(
        seen.contains("x-gbg-source: legacy\r\n") && !seen.contains("crm"),
        "{seen}"
    );
}

/// RFC 9110 section 6.5: those who ask for trailers get them, and nothing comes in by them that
/// fields may not bring.
#[tokio::test]
async fn trailers_pass_both_ways_without_credentials_and_framing() {
    let api = Api::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, Set-Cookie\r\n\r\n\
         2\r\nok\r\n0\r\nX-Sum: 1\r\nSet-Cookie: a=b\r\nContent-Length: 5\r\n\r\n",
    )
    .await;
    let proxy = api.proxy(&[]).await;
    let fields = "TE: trailers\r\nConnection: TE, close\r\nTransfer-Encoding: chunked\r\nTrailer: X-T, Authorization, Host\r\n";
    let body =
        "2\r\nab\r\n0\r\nX-T: 1\r\nAuthorization: Bearer stolen\r\nHost: b\r\nX-Api-Key: k\r\n\r\n";
    let (answer, _) = exchange(
        &proxy,
        format!("POST /v2/captain/x HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}"),
    )
    .await;
    let [seen] = &api.seen()[..] else {
        panic!("{:?}", api.seen())
    };
    let (head, rest) = seen.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains("te: trailers") && head.contains("connection: te"),
        "{seen}"
    );
    assert_eq!(rest, "2\r\nab\r\n0\r\nx-t: 1\r\n\r\n", "{seen}");
    assert!(
        answer
            .to_lowercase()
            .ends_with("2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn trailers_need_te_from_the_caller() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n";
    let response = answered(answer, GET).await;
    assert!(response.ends_with("2\r\nok\r\n0\r\n\r\n"), "{response}");
}
