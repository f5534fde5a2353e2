//! Requests that have ended, counted by one worker.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::failures::FailedRequests;
use super::histogram::Histogram;

/// Who made an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResponseSource {
    /// The API.
    Gbg,
    /// This proxy.
    Proxy,
    /// Nobody: the caller was gone before there was one.
    None,
}

impl ResponseSource {
    /// The name in labels and logs.
    pub fn name(self) -> &'static str {
        match self {
            ResponseSource::Gbg => "gbg",
            ResponseSource::Proxy => "proxy",
            ResponseSource::None => "none",
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug)]
pub struct Outcome<'a> {
    /// Under which the log speaks of it.
    pub id: &'a str,
    /// The number of the caller.
    pub caller: usize,
    /// What was called, by its name in `gbg`.
    pub endpoint: &'static str,
    /// The status of the answer; 0 without one.
    pub status: u16,
    /// Who made it.
    pub source: ResponseSource,
    /// Why it is ours, where that is a failure.
    pub reason: Option<&'static str>,
    /// From the first byte to the last.
    pub duration: Duration,
    /// From where it went to the API to the head of its answer.
    pub upstream: Option<Duration>,
    /// Bytes of the bodies, received and sent.
    pub bytes: [u64; 2],
    /// How often it was sent to the API beyond the first time.
    pub repeats: u32,
}

impl Outcome<'_> {
    /// Whether somebody is to look at it: neither we nor the API did what was asked, or nobody
    /// waited for it.
    fn is_failure(&self) -> bool {
        self.reason.is_some() || failed(self.status)
    }
}

/// Whether a status is that of a failure; 0 is that of no answer.
pub(super) fn failed(status: u16) -> bool {
    status == 0 || status >= 400
}

/// What is told apart: caller, endpoint, status, source.
pub(super) type Labels = (usize, &'static str, u16, ResponseSource);

/// Requests that have ended.
#[derive(Debug, Default)]
pub struct RequestMetrics {
    counts: Mutex<Counts>,
    pub(super) failures: FailedRequests,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) requests: FxHashMap<Labels, u64>,
    pub(super) durations: FxHashMap<(&'static str, ResponseSource), Histogram>,
    pub(super) upstream: FxHashMap<&'static str, Histogram>,
    pub(super) refusals: BTreeMap<&'static str, u64>,
    pub(super) bytes: [u64; 2],
    pub(super) repeats: u64,
}

impl RequestMetrics {
    /// Counts one.
    pub fn record(&self, outcome: &Outcome<'_>) {
        let Outcome {
            caller,
            endpoint,
            status,
            source,
            ..
        } = *outcome;
        let mut counts = self.lock();
        *counts
            .requests
            .entry((caller, endpoint, status, source))
            .or_default() += 1;
        counts
            .durations
            .entry((endpoint, source))
            .or_default()
            .note(outcome.duration);
        if let Some(upstream) = outcome.upstream {
            counts.upstream.entry(endpoint).or_default().note(upstream);
        }
        if let Some(reason) = outcome.reason {
            *counts.refusals.entry(reason).or_default() += 1;
        }
        for (sum, bytes) in counts.bytes.iter_mut().zip(outcome.bytes) {
            *sum += bytes;
        }
        counts.repeats += u64::from(outcome.repeats);
        drop(counts);
        if outcome.is_failure() {
            self.failures.note(outcome);
        }
    }

    /// Adds what is counted here to `sum`.
    pub(super) fn add_to(&self, sum: &mut Counts) {
        // A copy, so that who counts waits for no more than that.
        let counts = self.lock().clone();
        for (labels, count) in counts.requests {
            *sum.requests.entry(labels).or_default() += count;
        }
        for (labels, times) in counts.durations {
            sum.durations.entry(labels).or_default().add(&times);
        }
        for (endpoint, times) in counts.upstream {
            sum.upstream.entry(endpoint).or_default().add(&times);
        }
        for (reason, count) in counts.refusals {
            *sum.refusals.entry(reason).or_default() += count;
        }
        for (sum, bytes) in sum.bytes.iter_mut().zip(counts.bytes) {
            *sum += bytes;
        }
        sum.repeats += counts.repeats;
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
