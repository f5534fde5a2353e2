//! `[limits]`: bounds on requests, for each of them and for the whole process.

use std::num::NonZeroU32;
use std::time::Duration;

use http::HeaderValue;
use serde::Deserialize;

use crate::config::types::{duration, size, url};

/// `[limits]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Requests that are answered at once, in the whole process.
    pub max_in_flight: NonZeroU32,
    /// Requests that wait beyond that; a quarter of `max_in_flight` where it is not written.
    pub queue: Option<u32>,
    /// How long one waits.
    #[serde(deserialize_with = "duration::positive")]
    pub queue_timeout: Duration,
    /// Whether the `Retry-After` of a 429 of the API holds the caller back that got it.
    pub honor_retry_after: bool,
    /// Origins (RFC 6454) of web pages that may call.
    #[serde(deserialize_with = "url::origins")]
    pub origins: Vec<HeaderValue>,
    /// The longest request body, in bytes.
    #[serde(deserialize_with = "size::bytes")]
    pub max_request_body: u64,
    /// The longest request body, in bytes, that is kept until its answer has come, so that it can
    /// be sent once more.
    #[serde(deserialize_with = "size::bytes")]
    pub max_replay_body: u64,
    /// All header fields of a request together, in bytes.
    #[serde(deserialize_with = "size::header_bytes")]
    pub max_header_bytes: u64,
    /// Header fields of a request.
    #[serde(deserialize_with = "size::field_count")]
    pub max_header_fields: usize,
    /// Path and query, in bytes.
    #[serde(deserialize_with = "size::target_bytes")]
    pub max_target_bytes: u64,
}

impl Limits {
    /// Requests that wait beyond `max_in_flight`: as written, or a quarter of that.
    pub fn queue(&self) -> usize {
        self.queue.unwrap_or(self.max_in_flight.get() / 4) as usize
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_in_flight: const { NonZeroU32::new(4096).unwrap() },
            queue: None,
            queue_timeout: Duration::from_secs(1),
            honor_retry_after: false,
            origins: Vec::new(),
            max_request_body: 32 << 20,
            max_replay_body: 64 << 10,
            max_header_bytes: 64 << 10,
            max_header_fields: 100,
            max_target_bytes: 8 << 10,
        }
    }
}
