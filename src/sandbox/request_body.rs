//! Request body that counts its bytes, and keeps no more of them than its reader needs.
//!
//! The sandbox reads every body to its end, whatever it responds, so that a refused upload leaves a
//! reusable connection and an exact count.

use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::Value;

use super::api_error::ApiError;
use crate::downstream::CallerBody;

/// Above the size of three 10 MB images in base64.
const MAX_JSON_BYTES: u64 = 48 << 20;

/// The characters that are kept of a run of base64 in JSON.
const MAX_RUN_BYTES: usize = 4096;

pub(super) struct CountingBody {
    body: CallerBody,
    bytes: u64,
}

impl CountingBody {
    pub(super) fn new(body: CallerBody) -> Self {
        CountingBody { body, bytes: 0 }
    }

    /// The number of bytes so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the next chunk; `None` at the end.
    ///
    /// # Errors
    /// [`ApiError::Malformed`] when the body breaks off.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, ApiError> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| ApiError::Malformed(error.to_string()))?;
            // Other frames are trailers, which mean nothing here.
            if let Ok(data) = frame.into_data() {
                self.bytes += data.len() as u64;
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// Returns the whole body.
    ///
    /// # Errors
    /// [`ApiError::TooLarge`] above `limit` bytes, [`ApiError::Malformed`] when the body breaks off.
    pub(super) async fn collect(&mut self, limit: u64) -> Result<Vec<u8>, ApiError> {
        let mut kept = Vec::new();
        self.for_each(limit, |chunk| kept.extend_from_slice(chunk))
            .await?;
        Ok(kept)
    }

    /// Returns the body as JSON, with its images truncated.
    ///
    /// # Errors
    /// [`ApiError::TooLarge`] above 48 MiB, [`ApiError::Malformed`] when the body is not JSON.
    pub(super) async fn json(&mut self) -> Result<Value, ApiError> {
        let mut truncator = Base64Truncator::default();
        self.for_each(MAX_JSON_BYTES, |chunk| truncator.push(chunk))
            .await?;
        serde_json::from_slice(&truncator.kept)
            .map_err(|error| ApiError::Malformed(error.to_string()))
    }

    /// Reads and drops the rest of the body.
    pub(super) async fn discard(&mut self) {
        while let Ok(Some(_)) = self.chunk().await {}
    }

    async fn for_each(
        &mut self,
        limit: u64,
        mut use_chunk: impl FnMut(&[u8]),
    ) -> Result<(), ApiError> {
        while let Some(chunk) = self.chunk().await? {
            if self.bytes > limit {
                return Err(ApiError::TooLarge);
            }
            use_chunk(&chunk);
        }
        Ok(())
    }
}

/// Truncates long runs of base64 in JSON: they are images of several megabytes, which no call reads.
///
/// The JSON stays valid: a run has no quote and no escape, so it is part of one string or number.
#[derive(Default)]
struct Base64Truncator {
    kept: Vec<u8>,
    run: usize,
}

impl Base64Truncator {
    fn push(&mut self, mut chunk: &[u8]) {
        while let Some(&first) = chunk.first() {
            let length = chunk
                .iter()
                .position(|&byte| !is_base64(byte))
                .unwrap_or(chunk.len());
            let (run, rest) = chunk.split_at(length);
            let room = MAX_RUN_BYTES.saturating_sub(self.run);
            self.kept.extend_from_slice(&run[..room.min(length)]);
            self.run += length;
            chunk = rest;
            if length == 0 {
                self.kept.push(first);
                self.run = 0;
                chunk = &rest[1..];
            }
        }
    }
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn truncated(text: &str, chunk: usize) -> Vec<u8> {
        let mut truncator = Base64Truncator::default();
        text.as_bytes()
            .chunks(chunk)
            .for_each(|chunk| truncator.push(chunk));
        truncator.kept
    }

    #[test]
    fn only_long_base64_is_truncated() {
        let image = "aGk/".repeat(50_000);
        let text = format!(
            r#"{{"side1Image":"{image}","name":"J\u00f6rg \"X\" 😀","n":[1,2.5e-7,true]}}"#
        );
        for chunk in [1, 7, 4096, text.len()] {
            let kept: Value = serde_json::from_slice(&truncated(&text, chunk)).unwrap();
            assert_eq!(
                kept["side1Image"],
                image[..MAX_RUN_BYTES],
                "chunks of {chunk}"
            );
            assert_eq!(kept["name"], "Jörg \"X\" 😀");
            assert_eq!(kept["n"], json!([1, 2.5e-7, true]));
        }
    }

    #[test]
    fn short_text_is_untouched() {
        let text = format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_RUN_BYTES));
        assert_eq!(truncated(&text, 100), text.as_bytes());
    }
}
