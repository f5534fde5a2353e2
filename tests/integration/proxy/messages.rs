//! Requests and answers as an intermediary passes them on: methods, targets, versions and bodies,
//! and those that are too long.

use crate::support::bytes::{Api, GET, answered, exchange, status};

/// Sends one request of HTTP/1.1 with `fields`, after which the connection ends; the answer, and
/// what the API saw.
pub(crate) async fn one(line: &str, fields: &str, body: &str, set: &[&str]) -> (String, String) {
    let api = Api::content().await;
    let proxy = api.proxy(set).await;
    let sent = format!("{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n{body}");
    let (answer, closed) = exchange(&proxy, sent).await;
    assert!(closed, "{answer}");
    (answer, api.seen().concat())
}

#[tokio::test]
async fn any_method_token_is_forwarded() {
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
        assert!(
            seen.starts_with(&format!("{method} /v2/captain/x HTTP/1.1\r\n")),
            "{seen}"
        );
    }
    for method in ["CONNECT", "TRACE"] {
        let target = if method == "CONNECT" {
            "a:443"
        } else {
            "/v2/captain/x"
        };
        let (answer, seen) = one(&format!("{method} {target}"), "", "", &[]).await;
        assert_eq!(status(&answer), "405", "{method}: {answer}");
        assert!(
            answer.to_lowercase().contains("\r\nallow: get, "),
            "{answer}"
        );
        assert!(seen.is_empty(), "{seen}");
    }
}

#[tokio::test]
async fn the_target_is_forwarded_byte_for_byte() {
    for target in [
        "/v2/captain/X%C3%A4%20~;a=1,b!$&'()*+@:?q=%2F../%2e&empty=&&q=1",
        "/v2/captain/x?",
        "/v2/captain/x?a=b?c",
        "/v2/captain/x?{a}|[b]`^",
        "/v2/captain/x?%zz",
    ] {
        let (answer, seen) = one(&format!("GET {target}"), "", "", &[]).await;
        assert_eq!(status(&answer), "200", "{target}: {answer}");
        assert!(
            seen.starts_with(&format!("GET {target} HTTP/1.1\r\n")),
            "{seen}"
        );
        // Absolute-form (RFC 9112 section 3.2.2): its authority is not where the request goes.
        let (answer, seen) = one(
            &format!("GET http://elsewhere.example{target}"),
            "",
            "",
            &[],
        )
        .await;
        assert_eq!(status(&answer), "200", "{target}: {answer}");
        assert!(
            seen.starts_with(&format!("GET {target} HTTP/1.1\r\nhost: 127.0.0.1:")),
            "{seen}"
        );
    }
}

#[tokio::test]
async fn options_asterisk_is_forwarded() {
    let (answer, seen) = one("OPTIONS *", "", "", &[]).await;
    assert_eq!(status(&answer), "200", "{answer}");
    assert!(seen.starts_with("OPTIONS * HTTP/1.1\r\n"), "{seen}");
}

#[tokio::test]
async fn http10_connections_persist_only_on_request() {
    let api = Api::content().await;
    let proxy = api.proxy(&[]).await;
    for fields in ["", "Host: a\r\n"] {
        let (answer, closed) = exchange(
            &proxy,
            format!("GET /v2/captain/x HTTP/1.0\r\n{fields}\r\n"),
        )
        .await;
        assert!(
            closed && answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("\r\n\r\nok"),
            "{answer}"
        );
    }
    let kept = "GET /v2/captain/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let (answer, closed) = exchange(&proxy, kept.repeat(2)).await;
    assert!(
        !closed
            && answer
                .to_lowercase()
                .matches("connection: keep-alive")
                .count()
                == 2,
        "{answer}"
    );
    assert!(
        api.seen()
            .iter()
            .all(|seen| seen.starts_with("GET /v2/captain/x HTTP/1.1\r\n")),
        "{:?}",
        api.seen()
    );
}

/// RFC 9112 section 9.3: what ends with its connection is not said to leave it open.
#[tokio::test]
async fn http10_responses_without_length_announce_no_keep_alive() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
    let answer = answered(
        chunked,
        "GET /v2/captain/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    )
    .await;
    assert!(
        answer.ends_with("\r\n\r\nab") && !answer.to_lowercase().contains("keep-alive"),
        "{answer}"
    );
}

/// RFC 9112 section 7.1.3: nothing is chunked to a caller that cannot know it.
#[tokio::test]
async fn http10_responses_are_never_chunked() {
    let chunked =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
    let answer = answered(chunked, "GET /v2/captain/x HTTP/1.0\r\n\r\n").await;
    assert!(
        answer.ends_with("\r\n\r\nabc") && !answer.to_lowercase().contains("transfer-encoding"),
        "{answer}"
    );
}

/// RFC 9110 sections 9.3.1 and 9.3.2: such a body has no meaning of its own, and is not lost for
/// that.
#[tokio::test]
async fn get_and_head_keep_their_bodies() {
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
        assert_eq!(
            head.contains("transfer-encoding: chunked"),
            is_chunked,
            "{seen}"
        );
        assert_eq!(head.contains("content-length: 3"), !is_chunked, "{seen}");
        assert_eq!(
            body,
            if is_chunked {
                "3\r\nabc\r\n0\r\n\r\n"
            } else {
                "abc"
            },
            "{seen}"
        );
    }
    assert_eq!(seen.len(), 4);
}

#[tokio::test]
async fn pipelined_responses_keep_their_order() {
    let api = Api::content().await;
    let proxy = api.proxy(&[]).await;
    let requests: String = (0..5)
        .map(|n| {
            format!("POST /v2/captain/{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n{n}")
        })
        .collect();
    let (answer, closed) = exchange(&proxy, requests).await;
    assert_eq!(
        (answer.matches("HTTP/1.1 200 OK").count(), closed),
        (5, false),
        "{answer}"
    );
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
    assert_eq!(
        status(&exchange(&proxy, format!("\r\n\r\n{GET}")).await.0),
        "200"
    );
}

/// RFC 9110 section 15.5.14: at once if the length is known, and in the middle of the body
/// otherwise.
#[tokio::test]
async fn a_413_reaches_a_caller_still_sending() {
    let set = ["limits.max_request_body=1MiB"];
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
    assert_eq!(
        status(&exchange(&proxy, sent).await.0),
        "200",
        "as long as the limit"
    );
}

#[tokio::test]
async fn a_too_large_head_gets_414_or_431() {
    let api = Api::content().await;
    let proxy = api.proxy(&[]).await;
    let long = "x".repeat(9000);
    let many: String = (0..101).map(|n| format!("X-{n}: 1\r\n")).collect();
    for (target, fields, expected) in [
        (format!("/v2/captain/x?{long}"), String::new(), "414"),
        (
            "/v2/captain/x".to_owned(),
            format!("X: {}\r\n", "x".repeat(70_000)),
            "431",
        ),
        (
            "/v2/captain/x".to_owned(),
            format!("X: {}\r\n", "x".repeat(700_000)),
            "431",
        ),
        ("/v2/captain/x".to_owned(), many, "431"),
    ] {
        let (answer, closed) = exchange(
            &proxy,
            format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"),
        )
        .await;
        assert_eq!((status(&answer), closed), (expected, true), "{answer}");
    }
    assert!(api.seen().is_empty());
    // With Host there are as many as there may be.
    let all: String = (0..99).map(|n| format!("X-{n}: 1\r\n")).collect();
    let (answer, _) = exchange(
        &proxy,
        format!("GET /v2/captain/x HTTP/1.1\r\nHost: a\r\n{all}\r\n"),
    )
    .await;
    assert_eq!(status(&answer), "200", "{answer}");
}
