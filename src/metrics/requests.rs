//! Request counters of one worker, and the gauges of requests in flight.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::failures::FailedRequests;
use super::histogram::Histogram;
use super::outcome::{Outcome, ResponseSource};

/// Labels of the request counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct RequestLabels {
    pub(super) caller: usize,
    pub(super) endpoint: &'static str,
    pub(super) status: u16,
    pub(super) source: ResponseSource,
}

/// Requests that have ended.
#[derive(Debug, Default)]
pub(crate) struct RequestMetrics {
    counts: Mutex<RequestCounts>,
    failures: FailedRequests,
}

#[derive(Clone, Debug, Default)]
pub(super) struct RequestCounts {
    pub(super) requests: FxHashMap<RequestLabels, u64>,
    pub(super) durations: FxHashMap<(&'static str, ResponseSource), Histogram>,
    pub(super) upstream: FxHashMap<&'static str, Histogram>,
    pub(super) refusals: BTreeMap<&'static str, u64>,
    pub(super) token_rejections: u64,
    pub(super) bytes: [u64; 2],
    pub(super) repeats: u64,
}

impl RequestMetrics {
    /// Counts a request that has ended.
    pub(crate) fn record(&self, outcome: &Outcome<'_>) {
        let Outcome {
            caller,
            endpoint,
            status,
            source,
            ..
        } = *outcome;
        let labels = RequestLabels {
            caller,
            endpoint,
            status,
            source,
        };
        let mut counts = self.counts.lock();
        *counts.requests.entry(labels).or_default() += 1;
        counts
            .durations
            .entry((endpoint, source))
            .or_default()
            .record(outcome.duration);
        if let Some(upstream) = outcome.upstream
            && source == ResponseSource::Gbg
        {
            counts
                .upstream
                .entry(endpoint)
                .or_default()
                .record(upstream);
        }
        if let Some(reason) = outcome.reason {
            *counts.refusals.entry(reason).or_default() += 1;
        }
        counts.token_rejections += u64::from(outcome.is_token_rejection);
        for (sum, bytes) in counts.bytes.iter_mut().zip(outcome.bytes) {
            *sum += bytes;
        }
        counts.repeats += u64::from(outcome.repeats);
        drop(counts);
        if outcome.is_failure() {
            self.failures.record(outcome);
        }
    }

    pub(super) fn failures(&self) -> &FailedRequests {
        &self.failures
    }

    pub(super) fn add_to(&self, sum: &mut RequestCounts) {
        // A copy: the worker waits for the lock only while the maps are cloned.
        let counts = self.counts.lock().clone();
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
        sum.token_rejections += counts.token_rejections;
        sum.repeats += counts.repeats;
    }
}

/// Requests in flight and requests in the admission queue, of the whole process.
#[derive(Debug, Default)]
pub(crate) struct AdmissionMetrics {
    /// Admitted requests whose response has not ended.
    pub(crate) in_flight: AtomicUsize,
    /// Requests that wait for admission.
    pub(crate) queued: AtomicUsize,
}

impl AdmissionMetrics {
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Relaxed)
    }

    pub(crate) fn queued(&self) -> usize {
        self.queued.load(Relaxed)
    }
}
