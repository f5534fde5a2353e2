//! Two calls that GBG does not have, invented for tests: a long response, and a sink for a long
//! body.

use std::sync::LazyLock;

use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use ring::digest;
use serde_json::json;

use super::api_error::ApiError;
use super::request_body::CountingBody;
use super::response::{SandboxResponse, json, with_header};

const MAX_RESPONSE_BYTES: usize = 1 << 30;

/// The byte at offset `i` of a long response is `i` modulo this prime, so that a lost or repeated
/// frame shows.
const PERIOD: usize = 251;

/// The bytes of one frame: a whole number of periods.
static PERIODS: LazyLock<Bytes> =
    LazyLock::new(|| (0..256 * PERIOD).map(|at| (at % PERIOD) as u8).collect());

/// `GET sandbox/bytes/{count}`, invented: streams a response of `count` bytes.
pub(super) fn bytes(count: &str) -> Result<SandboxResponse, ApiError> {
    let count = count
        .parse()
        .ok()
        .filter(|&count| count <= MAX_RESPONSE_BYTES)
        .ok_or(ApiError::Field("path", "a number of bytes, at most 1 GiB"))?;
    let frames = stream::unfold(count, |remaining: usize| async move {
        let length = PERIODS.len().min(remaining);
        let frame = Frame::data(PERIODS.slice(..length));
        (length > 0).then(|| (Ok(frame), remaining - length))
    });
    let response = Response::new(StreamBody::new(frames).boxed_unsync());
    let mut response = with_header(response, CONTENT_TYPE, "application/octet-stream");
    let length = HeaderValue::from(count);
    response.headers_mut().insert(CONTENT_LENGTH, length);
    Ok(response)
}

/// `POST sandbox/sink`, invented: reads a body of any length, and returns its length and hash.
pub(super) async fn sink(body: &mut CountingBody) -> Result<SandboxResponse, ApiError> {
    let mut hash = digest::Context::new(&digest::SHA256);
    while let Some(chunk) = body.chunk().await? {
        hash.update(&chunk);
    }
    let hash = hash.finish();
    let sha256: String = hash
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(json(
        StatusCode::OK,
        &json!({"bytes": body.bytes(), "sha256": sha256}),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_long_response_has_its_length_and_pattern() {
        let response = bytes("200000").unwrap();
        assert_eq!(response.headers()[CONTENT_LENGTH], "200000");
        let got = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(got.len(), 200_000);
        assert!(
            got.iter()
                .enumerate()
                .all(|(index, &byte)| usize::from(byte) == index % PERIOD)
        );
    }

    #[test]
    fn an_invalid_length_is_refused() {
        for count in ["", "-1", "x", "1073741825"] {
            assert!(bytes(count).is_err(), "{count}");
        }
        assert!(bytes("1073741824").is_ok());
    }
}
