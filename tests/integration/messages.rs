//! Requests and answers as an intermediary passes them on: their bytes, in and out.

use crate::support::TOKEN;
use crate::support::bytes::{Api, GET, answered, exchange, status};

/// Sends one request of HTTP/1.1 with `fields`, after which the connection ends; the answer, and what the API saw.
async fn one(line: &str, fields: &str, body: &str, set: &[&str]) -> (String, String) {
    let api = Api::content().await;
    let proxy = api.proxy(set).await;
    let sent = format!("{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n{body}");
    let (answer, closed) = exchange(&proxy, sent).await;
    assert!(closed, "{answer}");
    (answer, api.seen().concat())
}

#[tokio::test]
async fn any_method_token_is_passed_on() {
    for method in [
        "GET",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
        "OPTIONS",
        "PROPFIND",
        "get",
        "M-SEARCH",
        "X!#$%&'*+.^_`|~1",
    ] {
        let (answer, seen) = one(&format!("{method} /v2/captain/x"), "", "", &[]).await;
        assert_eq!(status(&answer), "200", "{method}: {answer}");
        assert!(seen.starts_with(&format!("{method} /v2/captain/x HTTP/1.1\r\n")), "{seen}");
    }
    for method in ["CONNECT", "TRACE"] {
        let target = if method == "CONNECT" { "a:443" } else { "/v2/captain/x" };
        let (answer, seen) = one(&format!("{method} {target}"), "", "", &[]).await;
        assert_eq!(status(&answer), "405", "{method}: {answer}");
        assert!(answer.to_lowercase().contains("\r\nallow: get, "), "{answer}");
        assert!(seen.is_empty(), "{seen}");
    }
}

#[tokio::test]
async fn the_target_goes_on_byte_for_byte() {
    for target in [
        "/v2/captain/X%C3%A4%20~;a=1,b!$&'()*+@:?q=%2F../%2e&empty=&&q=1",
        "/v2/captain/x?",
        "/v2/captain/x?a=b?c",
        "/v2/captain/x?{a}|[b]`^",
        "/v2/captain/x?%zz",
    ] {
        let (answer, seen) = one(&format!("GET {target}"), "", "", &[]).await;
        assert_eq!(status(&answer), "200", "{target}: {answer}");
        assert!(seen.starts_with(&format!("GET {target} HTTP/1.1\r\n")), "{seen}");
        // Absolute-form (RFC 9112 section 3.2.2): its authority is not where the request goes.
        let (answer, seen) = one(&format!("GET http://elsewhere.example{target}"), "", "", &[]).await;
        assert_eq!(status(&answer), "200", "{target}: {answer}");
        assert!(seen.starts_with(&format!("GET {target} HTTP/1.1\r\nhost: 127.0.0.1:")), "{seen}");
    }
}

#[tokio::test]
async fn options_may_ask_about_the_server_as_a_whole() {
    let (answer, seen) = one("OPTIONS *", "", "", &[]).await;
    assert_eq!(status(&answer), "200", "{answer}");
    assert!(seen.starts_with("OPTIONS * HTTP/1.1\r\n"), "{seen}");
}

#[tokio::test]
async fn an_http_1_0_caller_gets_a_connection_of_the_kind_that_it_asks_for() {
    let api = Api::content().await;
    let proxy = api.proxy(&[]).await;
    for fields in ["", "Host: a\r\n"] {
        let (answer, closed) = exchange(&proxy, format!("GET /v2/captain/x HTTP/1.0\r\n{fields}\r\n")).await;
        assert!(
            closed && answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("\r\n\r\nok"),
            "{answer}"
        );
    }
    let kept = "GET /v2/captain/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let (answer, closed) = exchange(&proxy, kept.repeat(2)).await;
    assert!(!closed && answer.to_lowercase().matches("connection: keep-alive").count() == 2, "{answer}");
    assert!(
        api.seen().iter().all(|seen| seen.starts_with("GET /v2/captain/x HTTP/1.1\r\n")),
        "{:?}",
        api.seen()
    );
}

/// RFC 9112 section 9.3: what ends with its connection is not said to leave it open.
#[tokio::test]
async fn an_http_1_0_caller_that_gets_no_length_is_not_told_that_its_connection_stays() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
    let answer = answered(chunked, "GET /v2/captain/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
    assert!(answer.ends_with("\r\n\r\nab") && !answer.to_lowercase().contains("keep-alive"), "{answer}");
}

/// RFC 9112 section 7.1.3: nothing is chunked to a caller that cannot know it.
#[tokio::test]
async fn an_http_1_0_caller_gets_a_chunked_answer_whole_and_unchunked() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
    let answer = answered(chunked, "GET /v2/captain/x HTTP/1.0\r\n\r\n").await;
    assert!(
        answer.ends_with("\r\n\r\nabc") && !answer.to_lowercase().contains("transfer-encoding"),
        "{answer}"
    );
}

/// RFC 9110 sections 9.3.1 and 9.3.2: such a body has no meaning of its own, and is not lost for that.
#[tokio::test]
async fn a_get_or_a_head_keeps_its_body() {
    let api = Api::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let proxy = api.proxy(&[]).await;
    for method in ["GET", "HEAD"] {
        let line = format!("{method} /v2/captain/x HTTP/1.1\r\nHost: a\r\n");
        let chunked = format!("{line}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
        // The connection of the first is there for the second.
        for request in [chunked, format!("{line}Content-Length: 3\r\n\r\nabc")] {
            assert_eq!(status(&exchange(&proxy, request).await.0), "200");
        }
    }
    let seen = api.seen();
    for (seen, method) in seen.iter().zip(["GET", "GET", "HEAD", "HEAD"]) {
        assert!(seen.starts_with(method), "{seen}");
    }
    for (seen, is_chunked) in seen.iter().zip([true, false, true, false]) {
        let (head, body) = seen.split_once("\r\n\r\n").unwrap();
        assert_eq!(head.contains("transfer-encoding: chunked"), is_chunked, "{seen}");
        assert_eq!(head.contains("content-length: 3"), !is_chunked, "{seen}");
        assert_eq!(body, if is_chunked { "3\r\nabc\r\n0\r\n\r\n" } else { "abc" }, "{seen}");
    }
    assert_eq!(seen.len(), 4);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let api = Api::content().await;
    let proxy = api.proxy(&[]).await;
    let requests: String = (0..5)
        .map(|n| format!("POST /v2/captain/{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n{n}"))
        .collect();
    let (answer, closed) = exchange(&proxy, requests).await;
    assert_eq!((answer.matches("HTTP/1.1 200 OK").count(), closed), (5, false), "{answer}");
    for (n, seen) in api.seen().iter().enumerate() {
        assert!(
            seen.starts_with(&format!("POST /v2/captain/{n} ")) && seen.ends_with(&n.to_string()),
            "{seen}"
        );
    }
}

#[tokio::test]
async fn empty_lines_before_a_request_are_skipped() {
    let api = Api::content().await;
    let proxy = api.proxy(&[]).await;
    assert_eq!(status(&exchange(&proxy, format!("\r\n\r\n{GET}")).await.0), "200");
}

#[tokio::test]
async fn repeated_fields_keep_their_order_and_their_bytes() {
    let fields = "X-A: 1\r\nX-B: caf\u{e9}\u{ff}\r\nX-A: 2, 3\r\nx-a:\t4 \t\r\nX_C: d\r\nX-Empty:\r\n";
    let (_, seen) = one("GET /v2/captain/x", fields, "", &[]).await;
    let values: Vec<_> = seen.lines().filter_map(|line| line.strip_prefix("x-a: ")).collect();
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
    let (first, second) = (answer.find("set-cookie: a=1").unwrap(), answer.find("set-cookie: b=2").unwrap());
    assert!(first < second && answer.contains("x-a: \u{e9}\r\n"), "{answer}");
}

#[tokio::test]
async fn fields_of_one_hop_end_here_both_ways_and_cannot_take_ours_along() {
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
    for there in [&format!("authorization: Bearer {TOKEN}\r\n"), "via: 1.1 gbg-proxy-", "host: 127.0.0.1:"] {
        assert_eq!(seen.matches(there).count(), 1, "{there}: {seen}");
    }
    // The length may be told in another way, but it is the same body.
    assert!(seen.ends_with("\r\n\r\nab") || seen.ends_with("\r\n\r\n2\r\nab\r\n0\r\n\r\n"), "{seen}");

    let answer = answered(
        "HTTP/1.1 200 OK\r\nConnection: X-Once, close\r\nX-Once: 1\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Authenticate: Basic\r\nProxy-Connection: close\r\nUpgrade: h2c\r\nX-Stays: 1\r\nContent-Length: 2\r\n\r\nok",
        "GET /v2/captain/x HTTP/1.1\r\nHost: a\r\n\r\n",
    )
    .await
    .to_lowercase();
    for gone in ["x-once", "keep-alive", "proxy-", "upgrade", "connection:"] {
        assert!(!answer.replace("x-proxy-request-id", "").contains(gone), "{gone}: {answer}");
    }
    assert!(answer.contains("x-stays: 1\r\n") && answer.ends_with("\r\n\r\nok"), "{answer}");
}

#[tokio::test]
async fn what_a_caller_is_known_by_ends_here_in_every_spelling() {
    let fields = "authorization: Basic eA==\r\nAUTHORIZATION: Bearer stolen\r\nAuThOrIzAtIoN: x\r\n\
                  proxy-authorization: Basic eA==\r\nX-API-KEY: k\r\nX_Api_Key: k\r\nPROXY_AUTHORIZATION: Basic eA==\r\nX_Forwarded_For: 10.1.2.3\r\nCookie: a=b\r\nX-Forwarded-For: 10.1.2.3\r\n\
                  x-forwarded-host: intern\r\nForwarded: for=10.1.2.3\r\nX-Real-IP: 10.1.2.3\r\ntraceparent: 00-1-2-00\r\n";
    let (_, seen) = one("GET /v2/captain/x", fields, "", &[]).await;
    for gone in ["Basic", "stolen", "api", "proxy_", "cookie", "forwarded", "10.1.2.3", "intern"] {
        assert!(!seen.contains(gone), "{gone}: {seen}");
    }
    assert_eq!(seen.matches("authorization: ").count(), 1, "{seen}");
    assert!(seen.contains("traceparent: 00-1-2-00\r\n"), "{seen}");
}

/// A gateway in front of the API would take another target, method or person from them. `upstream.forwarded` is about
/// addresses alone.
#[tokio::test]
async fn fields_that_a_gateway_may_trust_end_here() {
    let fields = "X-Original-URL: /gone\r\nX-Rewrite-URL: /gone\r\nX-HTTP-Method-Override: GONE\r\nX-HTTP-Method: GONE\r\n\
                  X-Method-Override: GONE\r\nX-Original-Host: gone\r\nX_Original_URL: /gone\r\nBaggage: user=gone\r\n\
                  Client-Cert: :gone:\r\nX-Forwarded-Client-Cert: Hash=gone\r\nX-Forwarded-User: gone\r\nProxy: gone\r\n\
                  HTTP2-Settings: gone\r\nExpect: 100-continue\r\ntraceparent: 00-1-2-00\r\ntracestate: stays=1\r\n\
                  Content-Length: 2\r\n";
    for set in [&[][..], &["upstream.forwarded=true"]] {
        let (answer, seen) = one("POST /v2/captain/x", fields, "ab", set).await;
        assert!(answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"), "{answer}");
        assert!(seen.starts_with("POST /v2/captain/x HTTP/1.1\r\n"), "{seen}");
        assert!(!seen.to_lowercase().contains("gone") && !seen.contains("expect"), "{seen}");
        assert!(
            seen.contains("traceparent: 00-1-2-00\r\n") && seen.contains("tracestate: stays=1\r\n"),
            "{seen}"
        );
    }
}

#[tokio::test]
async fn the_api_is_told_who_calls_and_from_where_if_that_is_written() {
    let set = ["upstream.forwarded=true", "upstream.source=crm", "upstream.forward_cookies=true"];
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
    assert!(seen.contains("x-gbg-source: legacy\r\n") && !seen.contains("crm"), "{seen}");
}

/// RFC 9110 section 6.5: those who ask for trailers get them, and nothing comes in by them that fields may not bring.
#[tokio::test]
async fn trailers_pass_both_ways_without_credentials_and_framing() {
    let api = Api::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, Set-Cookie\r\n\r\n\
         2\r\nok\r\n0\r\nX-Sum: 1\r\nSet-Cookie: a=b\r\nContent-Length: 5\r\n\r\n",
    )
    .await;
    let proxy = api.proxy(&[]).await;
    let fields = "TE: trailers\r\nConnection: TE, close\r\nTransfer-Encoding: chunked\r\nTrailer: X-T, Authorization, Host\r\n";
    let body = "2\r\nab\r\n0\r\nX-T: 1\r\nAuthorization: Bearer stolen\r\nHost: b\r\nX-Api-Key: k\r\n\r\n";
    let (answer, _) =
        exchange(&proxy, format!("POST /v2/captain/x HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}")).await;
    let [seen] = &api.seen()[..] else { panic!("{:?}", api.seen()) };
    let (head, rest) = seen.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("te: trailers") && head.contains("connection: te"), "{seen}");
    assert_eq!(rest, "2\r\nab\r\n0\r\nx-t: 1\r\n\r\n", "{seen}");
    assert!(answer.to_lowercase().ends_with("2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn trailers_do_not_go_to_callers_that_do_not_ask_for_them() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n";
    let told = answered(answer, GET).await;
    assert!(told.ends_with("2\r\nok\r\n0\r\n\r\n"), "{told}");
}

/// RFC 9110 section 15.5.14: told at once where the length is told, and in the middle where it is not.
#[tokio::test]
async fn a_body_that_is_too_long_is_a_413_that_a_caller_who_sends_on_can_read() {
    let set = ["limits.request_body=1MiB"];
    for is_chunked in [false, true] {
        let api = Api::content().await;
        let proxy = api.proxy(&set).await;
        let body = "x".repeat(1500 << 10);
        let (fields, body) = match is_chunked {
            true => (
                "Transfer-Encoding: chunked\r\n".to_owned(),
                format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()),
            ),
            false => (format!("Content-Length: {}\r\n", body.len()), body),
        };
        let sent = format!("POST /v2/captain/x HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}");
        let (answer, closed) = exchange(&proxy, sent).await;
        assert_eq!((status(&answer), closed), ("413", true), "{answer}");
        assert!(
            answer.contains("details=\"body_too_large\"")
                && answer.to_lowercase().contains("connection: close"),
            "{answer}"
        );
        assert!(api.seen().is_empty(), "the API saw a whole request");
    }
    let api = Api::content().await;
    let proxy = api.proxy(&set).await;
    let body = "x".repeat(1 << 20);
    let sent = format!(
        "POST /v2/captain/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(status(&exchange(&proxy, sent).await.0), "200", "as long as the limit");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_told_what_is_too_large() {
    let api = Api::content().await;
    let proxy = api.proxy(&[]).await;
    let long = "x".repeat(9000);
    let many: String = (0..101).map(|n| format!("X-{n}: 1\r\n")).collect();
    for (target, fields, expected) in [
        (format!("/v2/captain/x?{long}"), String::new(), "414"),
        ("/v2/captain/x".to_owned(), format!("X: {}\r\n", "x".repeat(70_000)), "431"),
        ("/v2/captain/x".to_owned(), format!("X: {}\r\n", "x".repeat(700_000)), "431"),
        ("/v2/captain/x".to_owned(), many, "431"),
    ] {
        let (answer, closed) =
            exchange(&proxy, format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).await;
        assert_eq!((status(&answer), closed), (expected, true), "{answer}");
    }
    assert!(api.seen().is_empty());
    // With Host there are as many as there may be.
    let all: String = (0..99).map(|n| format!("X-{n}: 1\r\n")).collect();
    let (answer, _) = exchange(&proxy, format!("GET /v2/captain/x HTTP/1.1\r\nHost: a\r\n{all}\r\n")).await;
    assert_eq!(status(&answer), "200", "{answer}");
}
