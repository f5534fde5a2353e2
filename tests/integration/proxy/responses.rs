//! Answers of the API as they are passed on: their ends, their lengths, and those that are none.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::bytes::{Api, GET, answered, status};

#[tokio::test]
async fn head_204_and_304_have_no_body() {
    let head = "HEAD /v2/captain/x HTTP/1.1\r\nHost: a\r\n\r\n";
    let answer = answered(
        "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n",
        &head.repeat(2),
    )
    .await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    assert_eq!(
        answer
            .to_lowercase()
            .matches("content-length: 5000")
            .count(),
        2,
        "{answer}"
    );
    for status in ["204 No Content", "304 Not Modified"] {
        let get = "GET /v2/captain/x HTTP/1.1\r\nHost: a\r\n\r\n";
        let answer = answered(
            &format!("HTTP/1.1 {status}\r\nETag: \"x\"\r\n\r\n"),
            &get.repeat(2),
        )
        .await;
        assert_eq!(
            answer.matches(&format!("HTTP/1.1 {status}")).count(),
            2,
            "{answer}"
        );
        assert!(
            answer.ends_with("\r\n\r\n") && !answer.to_lowercase().contains("transfer-encoding"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_close_delimited_response_is_forwarded_whole() {
    for answer in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it",
        "HTTP/1.0 200 OK\r\n\r\nall of it",
    ] {
        let response = answered(answer, GET).await;
        assert!(
            response.starts_with("HTTP/1.1 200 OK\r\n") && response.contains("all of it"),
            "{response}"
        );
    }
    let kept = "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok";
    assert!(answered(kept, GET).await.ends_with("\r\n\r\nok"));
}

#[tokio::test]
async fn interim_responses_do_not_break_an_exchange() {
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
                   HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let answer = answered(interim, GET).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_truncated_response_never_ends_cleanly() {
    let lengthy = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10\r\n\r\nabc";
    let answer = answered(lengthy, GET).await;
    assert!(
        answer.to_lowercase().contains("content-length: 10\r\n") && answer.ends_with("\r\n\r\nabc"),
        "{answer}"
    );
    let chunked =
        "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    let answer = answered(chunked, GET).await;
    assert!(
        answer.contains("abc") && !answer.ends_with("0\r\n\r\n"),
        "{answer}"
    );
    // HTTP/1.0 knows no other end than that of the connection, which therefore is reset.
    let proxy = Api::answering(chunked).await.proxy(&[]).await;
    let mut caller = TcpStream::connect(proxy.addr()).await.unwrap();
    caller
        .write_all(b"GET /v2/captain/x HTTP/1.0\r\n\r\n")
        .await
        .unwrap();
    let error = caller.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_malformed_response_gets_502() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\nConnection: close\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: 3, 4\r\nConnection: close\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nConnection: close\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 200 OK\r\n X: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX\t\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX A: b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 20 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "HTTP/3.0 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: close",
    ] {
        let response = answered(answer, GET).await;
        assert_eq!(status(&response), "502", "{answer:?}: {response}");
    }
}

/// RFC 9112 section 5.1.
#[tokio::test]
async fn white_space_before_a_colon_is_removed() {
    let whole = "HTTP/1.1 200 OK\r\nX-One : a\r\nX-Two \t: b\r\nContent-Length\t: 2\r\n\r\nok";
    let response = answered(whole, GET).await;
    assert!(
        status(&response) == "200" && response.ends_with("\r\n\r\nok"),
        "{response}"
    );
    for field in [
        "\r\nx-one: a\r\n",
        "\r\nx-two: b\r\n",
        "\r\ncontent-length: 2\r\n",
    ] {
        assert!(response.contains(field), "{field}: {response}");
    }
    // It may not hide the framing either.
    let whole = "HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\nContent-Length : 9\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let response = answered(whole, GET).await.to_lowercase();
    assert!(
        response.ends_with("2\r\nok\r\n0\r\n\r\n") && !response.contains("content-length"),
        "{response}"
    );
}

/// RFC 9112 section 6.3: `chunked` counts, and the length beside it does not go on; RFC 9110
/// section 8.6: a length that is repeated goes on once, one that is no number never, and 204 has
/// none.
#[tokio::test]
async fn content_length_is_one_number_matching_the_body() {
    for length in ["3", "0", "9", "x"] {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        );
        let response = answered(&answer, GET).await.to_lowercase();
        assert!(
            response.ends_with("5\r\nhello\r\n0\r\n\r\n") && !response.contains("content-length"),
            "{response}"
        );
    }
    let response = answered("HTTP/1.1 200 OK\r\nContent-Length: 5, 05\r\n\r\nhello", GET).await;
    assert!(response.contains("content-length: 5\r\n"), "{response}");
    let head = GET.replace("GET", "HEAD");
    for length in ["x", "5\r\nContent-Length: 6"] {
        let response = answered(
            &format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"),
            &head,
        )
        .await;
        assert_eq!(status(&response), "502", "{response}");
    }
    let response = answered(
        "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
        &head,
    )
    .await;
    assert!(
        status(&response) == "204" && !response.contains("content-length"),
        "{response}"
    );
}
