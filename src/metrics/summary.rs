//! Totals of all requests of the process, for the status page.

use std::collections::BTreeMap;

use super::histogram::Histogram;
use super::outcome::{ResponseSource, is_failure_status};
use super::requests::RequestCounts;

/// Requests of all workers.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestSummary {
    pub(crate) total: u64,
    /// By the name of the source.
    pub(crate) by_source: BTreeMap<&'static str, u64>,
    /// By status; 0 without a response.
    pub(crate) by_status: BTreeMap<u16, u64>,
    /// By endpoint, status and source.
    pub(crate) by_response: BTreeMap<(&'static str, u16, ResponseSource), u64>,
    /// By the number of the caller; the first entry counts requests without a known caller.
    pub(crate) callers: Vec<CallerCounts>,
    /// Failures that the proxy answered itself, by reason.
    pub(crate) refusals: BTreeMap<&'static str, u64>,
    /// 401 and 403 of the API to the proxy's token.
    pub(crate) token_rejections: u64,
    /// Durations of the requests that the API answered, from the first byte to the last.
    pub(crate) times: Histogram,
    /// The API's part of the duration, up to the head of its response.
    pub(crate) upstream: Histogram,
}

/// Requests of one caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CallerCounts {
    pub(crate) requests: u64,
    /// Failed requests, whatever the cause.
    pub(crate) failed: u64,
    /// Requests that exceeded the caller's rate or quota.
    pub(crate) limited: u64,
}

impl RequestSummary {
    /// The totals of `counts`, with `callers` known callers.
    pub(super) fn new(counts: RequestCounts, callers: usize) -> Self {
        let mut sum = RequestSummary {
            refusals: counts.refusals,
            token_rejections: counts.token_rejections,
            callers: vec![CallerCounts::default(); callers],
            ..RequestSummary::default()
        };
        for (labels, count) in counts.requests {
            let (status, source) = (labels.status, labels.source);
            sum.total += count;
            *sum.by_source.entry(source.name()).or_default() += count;
            *sum.by_status.entry(status).or_default() += count;
            let response = (labels.endpoint, status, source);
            *sum.by_response.entry(response).or_default() += count;
            if let Some(caller) = sum.callers.get_mut(labels.caller) {
                caller.requests += count;
                if is_failure_status(status) {
                    caller.failed += count;
                }
                if (status, source) == (429, ResponseSource::Proxy) {
                    caller.limited += count;
                }
            }
        }
        for ((_, source), times) in &counts.durations {
            if *source == ResponseSource::Gbg {
                sum.times.add(times);
            }
        }
        for times in counts.upstream.values() {
            sum.upstream.add(times);
        }
        sum
    }
}
