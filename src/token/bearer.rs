//! Access token as a request sends it: a ready `Authorization` value with its end.

use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;

use super::deadline::Deadline;
use super::sensitive_header::sensitive_header;

/// Minimum age of a token that is replaced because the API rejects it: a newer one would be
/// rejected too.
const MIN_AGE_TO_REPLACE: Duration = Duration::from_secs(10);

/// An access token as the value of an Authorization field (RFC 6750 section 2.1).
#[derive(Clone, Debug)]
pub struct Bearer {
    /// `Bearer …`, marked sensitive.
    pub(crate) header: HeaderValue,
    /// The number of this token, counted from one.
    pub(crate) generation: u64,
    /// The token is not sent after this; it precedes the expiry by a small margin.
    pub(crate) usable_until: Deadline,
    received: Instant,
}

impl Bearer {
    pub(super) fn new(header: HeaderValue, generation: u64, usable_until: Deadline) -> Self {
        Bearer {
            header,
            generation,
            usable_until,
            received: Instant::now(),
        }
    }

    /// Whether it may be sent now.
    pub(crate) fn is_valid(&self) -> bool {
        !self.usable_until.has_passed()
    }

    /// Whether it is old enough to be replaced because the API rejects it.
    pub(super) fn is_replaceable(&self) -> bool {
        self.received.elapsed() >= MIN_AGE_TO_REPLACE
    }

    /// A copy with memory of its own. Cores would contend for the reference count of a clone.
    pub(super) fn deep_copy(&self) -> Self {
        let copy = self
            .header
            .to_str()
            .ok()
            .and_then(|text| sensitive_header([text, ""]));
        Bearer {
            header: copy.unwrap_or_else(|| self.header.clone()),
            ..*self
        }
    }
}
