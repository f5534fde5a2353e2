//! Outcome of one request, as the access log, the metrics and the list of failures record it.

use std::time::Duration;

use http::HeaderValue;

/// Origin of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum ResponseSource {
    /// The API.
    Gbg,
    /// This proxy.
    Proxy,
    /// No response: the caller disconnected first.
    None,
}

impl ResponseSource {
    /// The name in labels and logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            ResponseSource::Gbg => "gbg",
            ResponseSource::Proxy => "proxy",
            ResponseSource::None => "none",
        }
    }
}

/// A request that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome<'a> {
    /// The request id.
    pub(crate) id: &'a str,
    /// The number of the caller ([`Metrics::caller_number`](super::Metrics::caller_number)).
    pub(crate) caller: usize,
    /// The name of the account; `None` for a request that ended before it got one.
    pub(crate) account: Option<&'a str>,
    /// The name of the endpoint in `gbg`.
    pub(crate) endpoint: &'static str,
    /// The status of the response; 0 without one.
    pub(crate) status: u16,
    pub(crate) source: ResponseSource,
    /// The reason of a failure that the proxy answered itself.
    pub(crate) reason: Option<&'static str>,
    /// Whether the API responded with 401 or 403 to the proxy's token.
    pub(crate) is_token_rejection: bool,
    /// From the first byte of the request to the last of the response.
    pub(crate) duration: Duration,
    /// From the start of sending to the API to the head of its response.
    pub(crate) upstream: Option<Duration>,
    /// Body bytes, received and sent.
    pub(crate) bytes: [u64; 2],
    /// The number of retries.
    pub(crate) repeats: u32,
    /// The id that the API gave the request.
    pub(crate) gbg_id: Option<&'a HeaderValue>,
}

impl Outcome<'_> {
    /// Whether the request failed, or the caller did not wait for the response.
    pub(super) fn is_failure(&self) -> bool {
        self.reason.is_some() || is_failure_status(self.status)
    }
}

/// Whether `status` is a failure; 0 means that there was no response.
pub(super) fn is_failure_status(status: u16) -> bool {
    status == 0 || status >= 400
}
