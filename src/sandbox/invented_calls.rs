//! Two calls that GBG does not have, invented for tests: a long response, and a sink for a long
//! body.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use ring::digest;
use serde_json::json;

use super::api_error::ApiError;
use super::request_body::CountingBody;
use super::response::{SandboxResponse, json, with_header};

const MAX_RESPONSE_BYTES: u64 = 1 << 30;

/// The byte at offset `i` of a long response is `i` modulo this prime, so that a lost or repeated
/// frame shows.
const PERIOD: usize = 251;

/// The bytes of one frame.
static PERIODS: [u8; 256 * PERIOD] = {
    let mut bytes = [0; 256 * PERIOD];
    let mut index = 0;
    while index < bytes.len() {
        bytes[index] = (index % PERIOD) as u8;
        index += 1;
    }
    bytes
};

/// `GET sandbox/bytes/{count}`, invented: streams a response of `count` bytes.
pub(super) fn bytes(count: &str) -> Result<SandboxResponse, ApiError> {
    let remaining = count
        .parse()
        .ok()
        .filter(|&count| count <= MAX_RESPONSE_BYTES)
        .ok_or(ApiError::Field("path", "a number of bytes, at most 1 GiB"))?;
    let response = Response::new(PatternBody { remaining }.boxed_unsync());
    Ok(with_header(
        response,
        CONTENT_TYPE,
        "application/octet-stream",
    ))
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

struct PatternBody {
    remaining: u64,
}

impl Body for PatternBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.remaining == 0 {
            return Poll::Ready(None);
        }
        // Each frame but the last is a whole number of periods.
        let length = PERIODS
            .len()
            .min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        self.remaining -= length as u64;
        let data = Bytes::from_static(&PERIODS[..length]);
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_long_response_has_its_length_and_pattern() {
        let body = bytes("200000").unwrap().into_body();
        assert_eq!(body.size_hint().exact(), Some(200_000));
        let got = body.collect().await.unwrap().to_bytes();
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
