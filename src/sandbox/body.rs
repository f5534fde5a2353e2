//! A request's body as it arrives: counted always, kept no longer and no larger than its reader
//! needs.
//!
//! A body is read to its end whatever the answer is, so that a refused upload leaves a connection
//! that can be used again, and a count that can be relied on.

use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::Value;

use super::refusal::Refusal;
use crate::downstream::CallerBody;

/// The largest body that the JSON calls take: 48 MiB, above what three images of 10 MB make in
/// base64.
const JSON_LIMIT: u64 = 48 << 20;

/// Of a run of base64 characters in JSON, so many are kept.
const RUN_KEPT: usize = 4096;

/// A body on its way in.
pub(super) struct Arriving {
    body: CallerBody,
    bytes: u64,
}

impl Arriving {
    pub(super) fn new(body: CallerBody) -> Self {
        Arriving { body, bytes: 0 }
    }

    /// How many bytes came so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] when it broke off.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Refusal> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| Refusal::Malformed(error.to_string()))?;
            // What is no data is trailers, which mean nothing here.
            if let Ok(data) = frame.into_data() {
                self.bytes += data.len() as u64;
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// The whole body.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`] above `limit` bytes, [`Refusal::Malformed`] when it broke off.
    pub(super) async fn collect(&mut self, limit: u64) -> Result<Vec<u8>, Refusal> {
        let mut kept = Vec::new();
        self.each(limit, |chunk| kept.extend_from_slice(chunk))
            .await?;
        Ok(kept)
    }

    /// The body as JSON, its images cut short. What was read of it is gone when this returns.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`] above 48 MiB, [`Refusal::Malformed`] when it is no JSON.
    pub(super) async fn json(&mut self) -> Result<Value, Refusal> {
        let mut shortener = Shortener::default();
        self.each(JSON_LIMIT, |chunk| shortener.push(chunk)).await?;
        serde_json::from_slice(&shortener.kept)
            .map_err(|error| Refusal::Malformed(error.to_string()))
    }

    /// Reads what is left, to no purpose.
    pub(super) async fn discard(&mut self) {
        while let Ok(Some(_)) = self.chunk().await {}
    }

    async fn each(&mut self, limit: u64, mut take: impl FnMut(&[u8])) -> Result<(), Refusal> {
        while let Some(chunk) = self.chunk().await? {
            if self.bytes > limit {
                return Err(Refusal::TooLarge);
            }
            take(&chunk);
        }
        Ok(())
    }
}

/// Cuts long runs of base64 short: images are strings in the JSON, megabytes of them, and nobody
/// here looks at one.
///
/// Such a run is part of a string, or of a number, and both stay valid when they lose characters
/// from the middle of a run: no quote and no escape is in it.
#[derive(Default)]
struct Shortener {
    kept: Vec<u8>,
    run: usize,
}

impl Shortener {
    fn push(&mut self, mut chunk: &[u8]) {
        while let Some(&first) = chunk.first() {
            let length = chunk
                .iter()
                .position(|&byte| !is_base64(byte))
                .unwrap_or(chunk.len());
            let (run, rest) = chunk.split_at(length);
            let room = RUN_KEPT.saturating_sub(self.run);
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

    fn shortened(text: &str, chunk: usize) -> Vec<u8> {
        let mut shortener = Shortener::default();
        text.as_bytes()
            .chunks(chunk)
            .for_each(|chunk| shortener.push(chunk));
        shortener.kept
    }

    #[test]
    fn an_image_is_cut_short_and_everything_else_stays() {
        let image = "aGk/".repeat(50_000);
        let text = format!(
            r#"{{"side1Image":"{image}","name":"J\u00f6rg \"X\" 😀","n":[1,2.5e-7,true]}}"#
        );
        for chunk in [1, 7, 4096, text.len()] {
            let kept: Value = serde_json::from_slice(&shortened(&text, chunk)).unwrap();
            assert_eq!(kept["side1Image"], image[..RUN_KEPT], "chunks of {chunk}");
            assert_eq!(kept["name"], "Jörg \"X\" 😀");
            assert_eq!(kept["n"], json!([1, 2.5e-7, true]));
        }
    }

    #[test]
    fn short_text_is_untouched() {
        let text = format!(r#"{{"a":"{}"}}"#, "x".repeat(RUN_KEPT));
        assert_eq!(shortened(&text, 100), text.as_bytes());
    }
}
