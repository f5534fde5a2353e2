//! Log of the API calls that a sandbox received, without secrets: for tests, and for the terminal.

use std::collections::{BTreeMap, VecDeque};

use http::{HeaderName, Method, StatusCode};
use tokio::sync::broadcast;

use super::authorization::Authorization;
use crate::gbg;

/// Older calls are dropped.
const MAX_KEPT_CALLS: usize = 10_000;

/// A subscriber that lags further behind loses calls.
const MAX_SUBSCRIBER_LAG: usize = 1024;

/// One API call, without its token and its body.
#[derive(Clone, Debug)]
pub struct RecordedCall {
    /// The method.
    pub method: Method,
    /// Path and query, byte for byte.
    pub path: String,
    /// The status of the response, even of one that a fault holds back.
    pub status: StatusCode,
    /// The token that came with the call.
    pub authorization: Authorization,
    /// The `User-Agent`.
    pub user_agent: Option<String>,
    /// The `X-GBG-Source`.
    pub source: Option<String>,
    /// The names of the header fields that came, each once.
    pub fields: Vec<HeaderName>,
    /// The number of bytes of the body that arrived.
    pub body_bytes: u64,
    /// The `X-Request-ID` of the response.
    pub request_id: String,
}

/// The number of calls by endpoint, as `gbg` names it, and by status.
pub(super) type CallCounts = BTreeMap<&'static str, BTreeMap<u16, u64>>;

/// The newest calls, the counts of all, and the subscribers to further ones.
pub(super) struct CallLog {
    calls: VecDeque<RecordedCall>,
    pub(super) counts: CallCounts,
    subscribers: broadcast::Sender<RecordedCall>,
}

impl CallLog {
    pub(super) fn new() -> Self {
        CallLog {
            calls: VecDeque::new(),
            counts: CallCounts::new(),
            subscribers: broadcast::Sender::new(MAX_SUBSCRIBER_LAG),
        }
    }

    pub(super) fn add(&mut self, call: RecordedCall) {
        let path = call.path.split('?').next().unwrap_or_default();
        let by_status = self.counts.entry(gbg::parse_path(path).name).or_default();
        *by_status.entry(call.status.as_u16()).or_default() += 1;
        if self.subscribers.receiver_count() > 0 {
            // Fails only when the last subscriber has just left.
            let _ = self.subscribers.send(call.clone());
        }
        if self.calls.len() == MAX_KEPT_CALLS {
            self.calls.pop_front();
        }
        self.calls.push_back(call);
    }

    /// The number of calls so far, including dropped ones.
    pub(super) fn total(&self) -> u64 {
        self.counts.values().flat_map(BTreeMap::values).sum()
    }

    /// The kept calls, oldest first.
    pub(super) fn calls(&self) -> Vec<RecordedCall> {
        self.calls.iter().cloned().collect()
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<RecordedCall> {
        self.subscribers.subscribe()
    }
}
