//! The last requests that failed, for the person who asks what goes wrong.
//!
//! Written when one fails and never else, by the worker that it was of. Neither path nor anything
//! that a caller sent is kept, but for the id that it may have chosen.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use super::Metrics;
use super::requests::{Outcome, ResponseSource};

/// So many are kept by a worker, and told of all.
const KEPT: usize = 20;

/// A request that failed.
#[derive(Clone, Debug)]
pub struct FailedRequest {
    /// When it ended.
    pub at: SystemTime,
    /// The same on the clock that nobody sets: for how long ago it was, and which of two was first.
    pub ended: Instant,
    /// Under which the log speaks of it.
    pub id: Box<str>,
    /// The number of the caller.
    pub caller: usize,
    /// What was called, by its name in `gbg`.
    pub endpoint: &'static str,
    /// The status of the answer; 0 without one.
    pub status: u16,
    /// Who made it.
    pub source: ResponseSource,
    /// Why it is ours.
    pub reason: Option<&'static str>,
}

impl FailedRequest {
    fn of(outcome: &Outcome<'_>) -> Self {
        let Outcome {
            id,
            caller,
            endpoint,
            status,
            source,
            reason,
            ..
        } = *outcome;
        let (at, ended) = (SystemTime::now(), Instant::now());
        FailedRequest {
            at,
            ended,
            id: id.into(),
            caller,
            endpoint,
            status,
            source,
            reason,
        }
    }

    fn kind(&self) -> (Option<&'static str>, u16, ResponseSource) {
        (self.reason, self.status, self.source)
    }
}

#[derive(Debug, Default)]
pub(super) struct FailedRequests(Mutex<VecDeque<FailedRequest>>);

impl FailedRequests {
    pub(super) fn note(&self, outcome: &Outcome<'_>) {
        let failure = FailedRequest::of(outcome);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back(failure);
        shorten(&mut kept);
    }

    fn all(&self) -> VecDeque<FailedRequest> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Metrics {
    /// The last requests that failed, the newest first.
    pub fn failures(&self) -> Vec<FailedRequest> {
        let each = self
            .workers
            .iter()
            .flat_map(|worker| worker.requests.failures.all());
        let mut all: Vec<_> = each.collect();
        all.sort_by_key(|failure| failure.ended);
        let mut all = VecDeque::from(all);
        shorten(&mut all);
        all.into_iter().rev().collect()
    }
}

/// Lets the oldest of the most frequent kind go, until no more than [`KEPT`] are left: a flood of
/// one kind does not wash out what is rare.
fn shorten(failures: &mut VecDeque<FailedRequest>) {
    while failures.len() > KEPT {
        let count = |kind| {
            failures
                .iter()
                .filter(|failure| failure.kind() == kind)
                .count()
        };
        // The first of those that are equal is the oldest: of the maxima `max_by_key` gives the
        // last.
        let oldest = (0..failures.len())
            .rev()
            .max_by_key(|&index| count(failures[index].kind()));
        failures.remove(oldest.unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn outcome(id: &str, status: u16) -> Outcome<'_> {
        Outcome {
            id,
            caller: 0,
            endpoint: "other",
            status,
            source: ResponseSource::Gbg,
            reason: None,
            duration: Duration::ZERO,
            upstream: None,
            bytes: [0; 2],
            repeats: 0,
        }
    }

    #[test]
    fn what_is_rare_is_not_washed_out_by_what_is_frequent() {
        let metrics = Metrics::new(2);
        let note = |worker: usize, id: &str, status| {
            metrics.workers[worker]
                .requests
                .record(&outcome(id, status));
        };
        note(0, "fine", 200);
        note(0, "rare", 503);
        for number in 0..100 {
            note(number % 2, &number.to_string(), 404);
        }
        let ids: Vec<_> = metrics
            .failures()
            .into_iter()
            .map(|failure| failure.id.into_string())
            .collect();
        assert_eq!(ids.len(), KEPT);
        assert_eq!((ids[0].as_str(), ids[1].as_str()), ("99", "98"));
        assert_eq!(ids.last().unwrap(), "rare");
        assert!(!ids.contains(&"fine".to_owned()));
    }
}
