//! `[limits]`: bounds on requests, for each of them and for the whole process.

use std::num::NonZeroU32;
use std::time::Duration;

use http::HeaderValue;

use crate::config::source::invalid::Invalid;
use crate::config::source::section::Section;
use crate::config::types::duration::positive;
use crate::config::types::size::{Size, at_most};
use crate::config::types::url::PageOrigin;

/// Together they are a request head, of which at most 128 KiB is held.
const MAX_HEADER_BYTES: u64 = 96 << 10;
const MAX_TARGET_BYTES: u64 = 24 << 10;

/// As many header fields as the parser takes.
const MAX_HEADER_FIELDS: usize = 100;

/// `[limits]`.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Maximum number of requests in flight in the whole process.
    pub max_in_flight: NonZeroU32,
    /// Maximum number of requests that wait for admission, in addition to `max_in_flight`.
    pub queue: usize,
    /// How long a request waits for admission before it gets a 503.
    pub queue_timeout: Duration,
    /// Whether the `Retry-After` of a 429 from the API holds back the caller that got it.
    pub honor_retry_after: bool,
    /// Origins (RFC 6454) of web pages that may call.
    pub origins: Vec<HeaderValue>,
    /// The longest request body, in bytes.
    pub max_request_body: u64,
    /// The longest request body, in bytes, that is kept until its response arrives, so that it can
    /// be sent once more.
    pub max_replay_body: u64,
    /// All header fields of a request together, in bytes.
    pub max_header_bytes: u64,
    /// Header fields of a request.
    pub max_header_fields: usize,
    /// Path and query, in bytes.
    pub max_target_bytes: u64,
}

impl Limits {
    pub(crate) fn read(section: &Section<'_, '_>) -> Self {
        let max_in_flight = section.get("max_in_flight", const { NonZeroU32::new(4096).unwrap() });
        let origins: Vec<PageOrigin> = section.get("origins", Vec::new());
        let Size(max_request_body) = section.get("max_request_body", Size(32 << 20));
        let Size(max_replay_body) = section.get("max_replay_body", Size(64 << 10));
        let Size(max_header_bytes) = section.get_checked(
            "max_header_bytes",
            Size(64 << 10),
            at_most(MAX_HEADER_BYTES),
        );
        let Size(max_target_bytes) =
            section.get_checked("max_target_bytes", Size(8 << 10), at_most(MAX_TARGET_BYTES));
        Limits {
            max_in_flight,
            queue: section.get("queue", max_in_flight.get() / 4) as usize,
            queue_timeout: section.get_checked("queue_timeout", Duration::from_secs(1), positive),
            honor_retry_after: section.get("honor_retry_after", false),
            origins: origins.into_iter().map(|PageOrigin(value)| value).collect(),
            max_request_body,
            max_replay_body,
            max_header_bytes,
            max_header_fields: section.get_checked(
                "max_header_fields",
                MAX_HEADER_FIELDS,
                is_field_count,
            ),
            max_target_bytes,
        }
    }
}

fn is_field_count(count: &usize) -> Result<(), Invalid> {
    if (1..=MAX_HEADER_FIELDS).contains(count) {
        return Ok(());
    }
    let fix = format!("write a number from 1 to {MAX_HEADER_FIELDS}");
    Err(Invalid::new("number", "it is out of range", fix))
}

#[cfg(test)]
impl Default for Limits {
    fn default() -> Self {
        let findings = Default::default();
        let reader = crate::config::source::section::Reader::declaring(&findings);
        Limits::read(&reader.section("limits"))
    }
}
