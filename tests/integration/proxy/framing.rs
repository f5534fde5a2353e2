//! Requests that two readers could read in two ways: refused with the connection closed, or passed
//! on in one form.
//!
//! Each is sent with a second request hidden behind it, which the API must never see.

use crate::support::bytes::{Api, exchange, status};

const HIDDEN: &str = "GET /v2/captain/hidden HTTP/1.1\r\nHost: a\r\n\r\n";

/// Sends a POST with `fields` and `rest` behind its head.
async fn assert_refused(fields: &str, rest: &str) {
    assert_head_refused(&format!(
        "POST /v2/captain/x HTTP/1.1\r\nHost: a\r\n{fields}\r\n{rest}"
    ))
    .await;
}

#[track_caller]
fn assert_one_400(outcome: &(String, bool), sent: &str) {
    let (answer, closed) = outcome;
    assert_eq!(status(answer), "400", "{sent:?}: {answer}");
    assert!(*closed, "{sent:?}: the connection was kept");
    assert_eq!(
        answer.matches("HTTP/1.").count(),
        1,
        "{sent:?}: more than one answer: {answer}"
    );
}

async fn assert_head_refused(sent: &str) {
    let api = Api::content().await;
    let proxy = api.proxy(&[]).await;
    let outcome = exchange(&proxy, format!("{sent}{HIDDEN}")).await;
    assert_one_400(&outcome, sent);
    assert!(
        !api.seen().iter().any(|seen| seen.contains("hidden")),
        "{sent:?}: {:?}",
        api.seen()
    );
}

/// As [`assert_refused`], and the API saw nothing of it.
async fn assert_never_seen(fields: &str, rest: &str) {
    let api = Api::content().await;
    let proxy = api.proxy(&[]).await;
    let sent = format!("POST /v2/captain/x HTTP/1.1\r\nHost: a\r\n{fields}\r\n{rest}{HIDDEN}");
    assert_one_400(&exchange(&proxy, &sent).await, &sent);
    assert!(api.seen().is_empty(), "{sent:?}: {:?}", api.seen());
}

/// RFC 9112 section 6.3 rule 3: Transfer-Encoding counts, Content-Length goes, and the connection
/// ends.
#[tokio::test]
async fn transfer_encoding_overrides_content_length_and_closes() {
    for fields in [
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n",
    ] {
        let api = Api::content().await;
        let proxy = api.proxy(&[]).await;
        let sent =
            format!("POST /v2/captain/x HTTP/1.1\r\nHost: a\r\n{fields}\r\n0\r\n\r\n{HIDDEN}");
        let (answer, closed) = exchange(&proxy, sent).await;
        assert!(closed, "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
        let [seen] = &api.seen()[..] else {
            panic!("{:?}", api.seen())
        };
        assert!(
            !seen.contains("content-length") && seen.contains("transfer-encoding: chunked"),
            "{seen}"
        );
    }
}

#[tokio::test]
async fn an_invalid_content_length_gets_400() {
    for length in [
        "+2",
        "-2",
        "0x2",
        "",
        "2 2",
        "2, 3",
        "99999999999999999999999",
        "2.0",
        "two",
        "2;a",
    ] {
        assert_never_seen(&format!("Content-Length: {length}\r\n"), "ab").await;
    }
    assert_never_seen("Content-Length: 2\r\nContent-Length: 3\r\n", "abc").await;
    assert_never_seen("Content-Length: 0\r\nContent-Length: 44\r\n", "").await;
}

/// RFC 9110 section 8.6 lets one valid value that is repeated be taken as one.
#[tokio::test]
async fn a_repeated_content_length_is_forwarded_once() {
    let api = Api::content().await;
    let proxy = api.proxy(&[]).await;
    let fields = "Content-Length: 2\r\nContent-Length: 2\r\nConnection: close\r\n";
    let (answer, _) = exchange(
        &proxy,
        format!("POST /v2/captain/x HTTP/1.1\r\nHost: a\r\n{fields}\r\nab"),
    )
    .await;
    assert_eq!(status(&answer), "200", "{answer}");
    let [seen] = &api.seen()[..] else {
        panic!("{:?}", api.seen())
    };
    assert_eq!(seen.matches("content-length: 2\r\n").count(), 1, "{seen}");
    assert!(seen.ends_with("\r\n\r\nab"), "{seen}");
}

#[tokio::test]
async fn only_a_single_chunked_coding_is_accepted() {
    for coding in [
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "identity",
        "xchunked",
        "chunkedx",
        "\"chunked\"",
        "chunked;a=b",
        "\u{b}chunked",
        "",
        "gzip",
    ] {
        assert_never_seen(&format!("Transfer-Encoding: {coding}\r\n"), "0\r\n\r\n").await;
    }
    assert_never_seen(
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "0\r\n\r\n",
    )
    .await;
    assert_never_seen(
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        "0\r\n\r\n",
    )
    .await;
    assert_never_seen("Transfer-Encoding: identity\r\nContent-Length: 2\r\n", "ab").await;
}

#[tokio::test]
async fn transfer_encoding_in_http10_gets_400() {
    let head = "POST /v2/captain/x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_head_refused(head).await;
    assert_head_refused(&head.replace("\r\n\r\n0", "\r\nConnection: keep-alive\r\n\r\n0")).await;
}

#[tokio::test]
async fn a_malformed_field_gets_400() {
    for field in [
        "Transfer-Encoding : chunked",
        "X-A : b",
        " X-A: b",
        "X A: b",
        "X-A",
        ": b",
        "X-A: b\r\n c",
        "X-A: b\r\n\tc",
        "X-A: b\rc",
        "X-A: b\0c",
        "X-A: b\u{1}c",
        "X-A: b\u{7f}c",
        "X(A): b",
        "X\u{e9}: b",
    ] {
        assert_never_seen(&format!("{field}\r\n"), "").await;
    }
}

/// RFC 9112 section 2.2 lets a bare LF end a line: it goes on as CR LF, and hides nothing.
#[tokio::test]
async fn a_bare_lf_is_forwarded_as_crlf() {
    let api = Api::content().await;
    let proxy = api.proxy(&[]).await;
    let sent =
        "POST /v2/captain/x HTTP/1.1\nHost: a\nX-A: b\nContent-Length: 2\nConnection: close\n\nab";
    assert_eq!(status(&exchange(&proxy, sent).await.0), "200");
    let [seen] = &api.seen()[..] else {
        panic!("{:?}", api.seen())
    };
    assert!(
        !seen.replace("\r\n", "").contains('\n') && seen.contains("x-a: b\r\n"),
        "{seen}"
    );
}

#[tokio::test]
async fn a_malformed_chunk_gets_400() {
    for body in [
        "zz\r\nab\r\n0\r\n\r\n",
        "0x2\r\nab\r\n0\r\n\r\n",
        "+2\r\nab\r\n0\r\n\r\n",
        "-2\r\nab\r\n0\r\n\r\n",
        "\r\nab\r\n0\r\n\r\n",
        "2\nab\r\n0\r\n\r\n",
        "2;a\nb\r\nab\r\n0\r\n\r\n",
        "10000000000000002\r\nab\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nab\r\n0\r\n\r\n",
        "2\r\nabXX0\r\n\r\n",
        "2\r\nab\n0\r\n\r\n",
        "2\r\nabc\r\n0\r\n\r\n",
        "2\r\nab\r\n0\r\nX Y: z\r\n\r\n",
        "2\r\nab\r\n0\r\n: z\r\n\r\n",
    ] {
        assert_refused("Transfer-Encoding: chunked\r\n", body).await;
    }
}

#[tokio::test]
async fn chunk_extensions_are_removed() {
    let api = Api::content().await;
    let proxy = api.proxy(&[]).await;
    let fields = "Transfer-Encoding: chunked\r\nConnection: close\r\n";
    let body = "2;a=b;c=\"d\"\r\nab\r\n0;last\r\n\r\n";
    let sent = format!("POST /v2/captain/x HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}");
    assert_eq!(status(&exchange(&proxy, sent).await.0), "200");
    assert!(
        api.seen()[0].ends_with("\r\n\r\n2\r\nab\r\n0\r\n\r\n"),
        "{:?}",
        api.seen()
    );
}

#[tokio::test]
async fn a_malformed_request_line_gets_400() {
    for line in [
        "GET  /v2/captain/x HTTP/1.1",
        "GET\t/v2/captain/x HTTP/1.1",
        "GET /v2/captain/x HTTP/1.1 ",
        "GET /v2/captain/x  HTTP/1.1",
        "GET /v2/captain/x",
        "GET /v2/captain/x http/1.1",
        "GET /v2/captain/x HTTP/2.0",
        "GET /v2/captain/x HTTP/1.1.1",
        "GET /v2/captain/x HTTP/11",
        "G@T /v2/captain/x HTTP/1.1",
        "G\u{e9}T /v2/captain/x HTTP/1.1",
        " GET /v2/captain/x HTTP/1.1",
        "/v2/captain/x HTTP/1.1",
        "GET /v2/captain/\u{1}x HTTP/1.1",
        "GET /v2/captain/x?a=<b> HTTP/1.1",
        "GET v2/captain/x HTTP/1.1",
        "GET * HTTP/1.1",
        "GET a:80 HTTP/1.1",
        "GET http://u:p@a/v2/captain/x HTTP/1.1",
        "GET /v2/captain/\u{e9} HTTP/1.1",
    ] {
        assert_head_refused(&format!("{line}\r\nHost: a\r\n\r\n")).await;
    }
}

#[tokio::test]
async fn a_request_needs_one_valid_host() {
    for fields in [
        "",
        "Host: a\r\nHost: a\r\n",
        "Host: a\r\nHost: b\r\n",
        "Host: a b\r\n",
        "Host: a/b\r\n",
        "Host: u@a\r\n",
        "Host: \r\n",
        "Host: a:b\r\n",
        "Host: a, b\r\nHost: c\r\n",
    ] {
        assert_head_refused(&format!("GET /v2/captain/x HTTP/1.1\r\n{fields}\r\n")).await;
    }
}

#[tokio::test]
async fn ambiguous_paths_never_reach_the_api() {
    for path in [
        "/v2/captain/../../designer/api",
        "/v2/captain/%2e%2e/x",
        "/v2/captain/.%2E/x",
        "/v2/captain/./x",
        "/v2/captain//x",
        "//v2/captain/x",
        "/v2/captain/a%2fb",
        "/v2/captain/a%5Cb",
        "/v2/captain/a\\b",
        "/v2/captain/..;/x",
        "/v2/captain/a%00b",
        "/v2/captain/a%0d%0aX:y",
        "/v2/captain/%252e%252e/x",
        "/v2/captain/a%zz",
    ] {
        let api = Api::content().await;
        let proxy = api.proxy(&["upstream.allow=[\"/\"]"]).await;
        let (answer, _) = exchange(&proxy, format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert_eq!(status(&answer), "400", "{path}: {answer}");
        assert!(api.seen().is_empty(), "{path}: {:?}", api.seen());
    }
}

/// RFC 3629 section 10: a decoder that takes them makes slashes and dots of them.
#[tokio::test]
async fn encoded_bytes_must_be_utf8() {
    let api = Api::content().await;
    let proxy = api.proxy(&["upstream.allow=[\"/\"]"]).await;
    let ask = async |path: &str| {
        exchange(
            &proxy,
            format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
        )
        .await
        .0
    };
    for (path, detail) in [
        (
            "/v2/captain/..%c0%af..%c0%afdesigner/api",
            "an overlong UTF-8 sequence",
        ),
        ("/v2/captain/%c0%ae%c0%ae/x", "an overlong UTF-8 sequence"),
        ("/v2/captain/..%e0%80%af/x", "an overlong UTF-8 sequence"),
        ("/v2/captain/%f0%80%80%ae/x", "an overlong UTF-8 sequence"),
        ("/v2/captain/%ed%a0%af/x", "a UTF-16 surrogate"),
        ("/v2/captain/%e9/x", "bytes that are not UTF-8"),
        ("/v2/captain/%c3/../x", "dot segment"),
        ("/v2/captain/a%e2%80/x", "bytes that are not UTF-8"),
        (
            "/v2/captain/%ef%bc%8e%ef%bc%8e/x",
            "some servers read as a dot",
        ),
        (
            "/v2/captain/..%ef%bc%8fx",
            "some servers read as a dot, a slash",
        ),
    ] {
        let answer = ask(path).await;
        assert_eq!(status(&answer), "400", "{path}: {answer}");
        assert!(
            answer.contains("\"reason\":\"bad_request\"") && answer.contains(detail),
            "{path}: {answer}"
        );
    }
    assert!(api.seen().is_empty(), "{:?}", api.seen());
    // What is UTF-8 goes on as it came, and a query may hold anything.
    assert_eq!(status(&ask("/v2/captain/%c3%a4?q=%c0%af").await), "200");
    assert!(
        api.seen()
            .concat()
            .starts_with("GET /v2/captain/%c3%a4?q=%c0%af "),
        "{:?}",
        api.seen()
    );
}
