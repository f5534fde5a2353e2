//! The requests of all workers, summed up.

use std::collections::BTreeMap;

use super::requests::failed;
use super::{Histogram, Metrics, ResponseSource};

/// Requests, summed up.
#[derive(Clone, Debug, Default)]
pub struct RequestSummary {
    /// All.
    pub total: u64,
    /// By whose answer it was.
    pub by_source: BTreeMap<&'static str, u64>,
    /// By status; 0 without an answer.
    pub by_status: BTreeMap<u16, u64>,
    /// By endpoint, status, and whose answer it was.
    pub by_answer: BTreeMap<(&'static str, u16, ResponseSource), u64>,
    /// By the number of the caller; the first is of those who have no name.
    pub callers: Vec<CallerCounts>,
    /// Failures that were answered here, by reason.
    pub refusals: BTreeMap<&'static str, u64>,
    /// How long what the API answered took, from a request's first byte to its last.
    pub times: Histogram,
    /// From where a request goes to the API to the head of its answer.
    pub upstream: Histogram,
}

/// The requests of one caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallerCounts {
    /// All.
    pub requests: u64,
    /// Those that failed, whoever is to blame for it.
    pub failed: u64,
    /// Those that were refused because the caller had had its share.
    pub limited: u64,
}

impl Metrics {
    /// The requests of all workers, summed up.
    pub fn requests(&self) -> RequestSummary {
        let counts = self.counts();
        let callers = vec![CallerCounts::default(); self.callers().len()];
        let mut sum = RequestSummary {
            refusals: counts.refusals,
            callers,
            ..RequestSummary::default()
        };
        for ((caller, endpoint, status, source), count) in counts.requests {
            sum.total += count;
            *sum.by_source.entry(source.name()).or_default() += count;
            *sum.by_status.entry(status).or_default() += count;
            *sum.by_answer.entry((endpoint, status, source)).or_default() += count;
            if let Some(of) = sum.callers.get_mut(caller) {
                of.requests += count;
                of.failed += if failed(status) { count } else { 0 };
                of.limited += if (status, source) == (429, ResponseSource::Proxy) {
                    count
                } else {
                    0
                };
            }
        }
        for ((_, source), times) in &counts.durations {
            if *source == ResponseSource::Gbg {
                sum.times.add(times);
            }
        }
        counts
            .upstream
            .values()
            .for_each(|times| sum.upstream.add(times));
        sum
    }
}
