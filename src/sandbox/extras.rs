//! Two calls that GBG does not have, invented for tests: a long answer, and a place where a long
//! body goes.

use std::fmt::Write;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use ring::digest;
use serde_json::json;

use super::body::Arriving;
use super::refusal::Refusal;
use super::response::{Answer, json, with};

/// The longest answer: 1 GiB.
const LONGEST: u64 = 1 << 30;

/// The byte at offset `i` of a long answer is `i` modulo this prime, so that a lost or repeated
/// piece shows.
const PERIOD: usize = 251;

/// What one frame takes its bytes from.
static PERIODS: [u8; 256 * PERIOD] = {
    let mut bytes = [0; 256 * PERIOD];
    let mut index = 0;
    while index < bytes.len() {
        bytes[index] = (index % PERIOD) as u8;
        index += 1;
    }
    bytes
};

/// `GET sandbox/bytes/{count}`, invented: an answer of so many bytes, which streams.
pub(super) fn bytes(count: &str) -> Result<Answer, Refusal> {
    let left = count.parse().ok().filter(|&count| count <= LONGEST);
    let left = left.ok_or(Refusal::Field("path", "a number of bytes, at most 1 GiB"))?;
    let answer = Response::new(Pattern { left }.boxed_unsync());
    Ok(with(
        answer,
        CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    ))
}

/// `POST sandbox/sink`, invented: reads a body of any length, and tells its length and hash.
pub(super) async fn sink(body: &mut Arriving) -> Result<Answer, Refusal> {
    let mut hash = digest::Context::new(&digest::SHA256);
    while let Some(chunk) = body.chunk().await? {
        hash.update(&chunk);
    }
    let sha256 = hash
        .finish()
        .as_ref()
        .iter()
        .fold(String::new(), |mut hex, byte| {
            // Writing to a String does not fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        });
    Ok(json(
        StatusCode::OK,
        &json!({"bytes": body.bytes(), "sha256": sha256}),
    ))
}

/// A body of the repeated pattern.
struct Pattern {
    left: u64,
}

impl Body for Pattern {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        // Each frame but the last is a whole number of periods.
        let length = PERIODS
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= length as u64;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(
            &PERIODS[..length],
        )))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_long_answer_has_its_length_and_its_pattern() {
        let answer = bytes("200000").unwrap().into_body();
        assert_eq!(answer.size_hint().exact(), Some(200_000));
        let got = answer.collect().await.unwrap().to_bytes();
        assert_eq!(got.len(), 200_000);
        assert!(
            got.iter()
                .enumerate()
                .all(|(index, &byte)| usize::from(byte) == index % PERIOD)
        );
    }

    #[test]
    fn a_length_that_is_none_is_refused() {
        for count in ["", "-1", "x", "1073741825"] {
            assert!(bytes(count).is_err(), "{count}");
        }
        assert!(bytes("1073741824").is_ok());
    }
}
