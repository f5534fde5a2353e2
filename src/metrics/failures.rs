//! The most recent failed requests, for the status page.
//!
//! Only a failure writes here. Of what the caller sent nothing is kept except the request id, which
//! the caller may have chosen: no path, no header, no body.

use std::collections::VecDeque;
use std::time::{Instant, SystemTime};

use parking_lot::Mutex;

use super::outcome::{Outcome, ResponseSource};

/// Failures that a worker keeps, and that the status page shows for all workers.
const MAX_FAILURES: usize = 20;

/// A request that failed.
#[derive(Clone, Debug)]
pub(crate) struct FailedRequest {
    pub(crate) ended_at: SystemTime,
    /// The same on the monotonic clock: for ages and the order of failures.
    pub(crate) ended: Instant,
    pub(crate) id: Box<str>,
    /// The number of the caller.
    pub(crate) caller: usize,
    /// The name of the account; `None` for a request that ended before it got one.
    pub(crate) account: Option<Box<str>>,
    /// The name of the endpoint in `gbg`.
    pub(crate) endpoint: &'static str,
    /// The status of the response; 0 without one.
    pub(crate) status: u16,
    pub(crate) source: ResponseSource,
    /// The reason of a failure that the proxy answered itself.
    pub(crate) reason: Option<&'static str>,
}

impl FailedRequest {
    fn new(outcome: &Outcome<'_>) -> Self {
        FailedRequest {
            ended_at: SystemTime::now(),
            ended: Instant::now(),
            id: outcome.id.into(),
            caller: outcome.caller,
            account: outcome.account.map(Box::from),
            endpoint: outcome.endpoint,
            status: outcome.status,
            source: outcome.source,
            reason: outcome.reason,
        }
    }

    fn kind(&self) -> (Option<&'static str>, u16, ResponseSource) {
        (self.reason, self.status, self.source)
    }
}

#[derive(Debug, Default)]
pub(super) struct FailedRequests(Mutex<VecDeque<FailedRequest>>);

impl FailedRequests {
    pub(super) fn record(&self, outcome: &Outcome<'_>) {
        let failure = FailedRequest::new(outcome);
        let mut failures = self.0.lock();
        failures.push_back(failure);
        truncate(&mut failures);
    }
}

/// The most recent failures of all workers, the newest first.
pub(super) fn merge<'a>(workers: impl Iterator<Item = &'a FailedRequests>) -> Vec<FailedRequest> {
    let mut all: Vec<_> = workers
        .flat_map(|failures| failures.0.lock().clone())
        .collect();
    all.sort_by_key(|failure| failure.ended);
    let mut all = VecDeque::from(all);
    truncate(&mut all);
    all.into_iter().rev().collect()
}

/// Removes the oldest failure of the most frequent kind until [`MAX_FAILURES`] are left: a flood of
/// one kind does not push out a rare one.
fn truncate(failures: &mut VecDeque<FailedRequest>) {
    while failures.len() > MAX_FAILURES {
        let count = |kind| {
            failures
                .iter()
                .filter(|failure| failure.kind() == kind)
                .count()
        };
        // `max_by_key` returns the last of equal maxima: in reverse that is the oldest.
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
            account: None,
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
    fn frequent_failures_do_not_push_out_rare_ones() {
        let workers = [FailedRequests::default(), FailedRequests::default()];
        workers[0].record(&outcome("rare", 503));
        for number in 0..100 {
            workers[number % 2].record(&outcome(&number.to_string(), 404));
        }
        let ids: Vec<_> = merge(workers.iter())
            .into_iter()
            .map(|failure| failure.id.into_string())
            .collect();
        assert_eq!(ids.len(), MAX_FAILURES);
        assert_eq!((ids[0].as_str(), ids[1].as_str()), ("99", "98"));
        assert_eq!(ids.last().unwrap(), "rare");
    }

    #[test]
    fn successful_requests_are_not_kept() {
        let metrics = super::super::Metrics::new(1);
        let requests = &metrics.workers()[0].account("default").requests;
        requests.record(&outcome("fine", 200));
        requests.record(&outcome("failed", 404));
        let ids: Vec<_> = metrics
            .failures()
            .into_iter()
            .map(|failure| failure.id.into_string())
            .collect();
        assert_eq!(ids, ["failed"]);
    }
}
