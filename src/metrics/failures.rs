//! The most recent failed requests, for the status page.
//!
//! Only a failure writes here. Of what the caller sent nothing is kept except the request id, which
//! the caller may have chosen: no path, no header, no body.

use std::collections::VecDeque;
use std::time::{Instant, SystemTime};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

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

/// The most recent failures of all lists, the newest first. List by list: no more than two lists
/// are in memory, however many workers and accounts there are.
pub(super) fn merge<'a>(lists: impl Iterator<Item = &'a FailedRequests>) -> Vec<FailedRequest> {
    let mut merged = VecDeque::new();
    for list in lists {
        let count = merged.len();
        merged.extend(list.0.lock().iter().cloned());
        if merged.len() > count {
            merged
                .make_contiguous()
                .sort_by_key(|failure: &FailedRequest| failure.ended);
            truncate(&mut merged);
        }
    }
    merged.into_iter().rev().collect()
}

/// Removes the oldest failure of the most frequent kind until [`MAX_FAILURES`] are left: a flood of
/// one kind does not push out a rare one.
///
/// This keeps the newest of each kind, then the second newest of each, and so on. A failure that
/// loses against some of the lists therefore loses against all of them.
fn truncate(failures: &mut VecDeque<FailedRequest>) {
    if failures.len() <= MAX_FAILURES {
        return;
    }
    let mut counts = FxHashMap::<_, usize>::default();
    let newest_first = (0..failures.len()).rev();
    let mut ranked: Vec<_> = newest_first
        .map(|index| {
            let rank = counts.entry(failures[index].kind()).or_default();
            *rank += 1;
            (*rank, index)
        })
        .collect();
    // Stable: of one rank, the oldest come last.
    ranked.sort_by_key(|(rank, _)| *rank);
    let mut removed: Vec<_> = ranked
        .drain(MAX_FAILURES..)
        .map(|(_, index)| index)
        .collect();
    removed.sort_unstable();
    for index in removed.into_iter().rev() {
        failures.remove(index);
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

    /// The rule as it is written: one failure at a time.
    fn truncate_naively(failures: &mut Vec<FailedRequest>) {
        while failures.len() > MAX_FAILURES {
            let count = |kind| failures.iter().filter(|other| other.kind() == kind).count();
            let counts: Vec<_> = failures.iter().map(|one| count(one.kind())).collect();
            let most = counts.iter().max().copied();
            let oldest = counts.iter().position(|count| Some(*count) == most);
            failures.remove(oldest.unwrap());
        }
    }

    fn merge_naively(lists: &[FailedRequests]) -> Vec<FailedRequest> {
        let lists = lists.iter().flat_map(|list| list.0.lock().clone());
        let mut all: Vec<_> = lists.collect();
        all.sort_by_key(|failure| failure.ended);
        truncate_naively(&mut all);
        all.reverse();
        all
    }

    fn ids(failures: Vec<FailedRequest>) -> Vec<String> {
        let ids = failures.into_iter().map(|one| one.id.into_string());
        ids.collect()
    }

    /// A list of random failures of at most `kinds` kinds, some of them at the same time.
    fn random_list(
        random: &mut fastrand::Rng,
        start: Instant,
        name: usize,
        kinds: u16,
    ) -> FailedRequests {
        let mut list: Vec<_> = (0..random.usize(..=MAX_FAILURES))
            .map(|number| FailedRequest {
                ended: start + Duration::from_millis(random.u64(..200)),
                ..FailedRequest::new(&outcome(
                    &format!("{name}-{number}"),
                    400 + random.u16(..kinds) / random.u16(1..=kinds),
                ))
            })
            .collect();
        list.sort_by_key(|failure| failure.ended);
        FailedRequests(Mutex::new(list.into()))
    }

    #[test]
    fn merging_list_by_list_follows_the_rule() {
        let (mut random, start) = (fastrand::Rng::with_seed(1), Instant::now());
        for round in 0..300 {
            let kinds = random.u16(1..=30);
            let lists: Vec<_> = (0..random.usize(1..=8))
                .map(|name| random_list(&mut random, start, name, kinds))
                .collect();
            let merged = ids(merge(lists.iter()));
            assert_eq!(merged, ids(merge_naively(&lists)), "round {round}");
        }
    }

    #[test]
    fn recording_follows_the_rule() {
        let mut random = fastrand::Rng::with_seed(2);
        let failures = FailedRequests::default();
        let mut naive = Vec::new();
        for number in 0..300 {
            let id = number.to_string();
            let outcome = outcome(&id, 400 + random.u16(..12) / random.u16(1..=12));
            failures.record(&outcome);
            naive.push(FailedRequest::new(&outcome));
            truncate_naively(&mut naive);
            let recorded = failures.0.lock().iter().cloned().collect();
            assert_eq!(ids(recorded), ids(naive.clone()), "{number}");
        }
    }

    #[test]
    fn many_workers_and_accounts_are_merged() {
        let start = Instant::now();
        let failure = |list: u64, number: u64| FailedRequest {
            ended: start + Duration::from_micros(number * 3200 + list),
            ..FailedRequest::new(&outcome(&format!("{list}-{number}"), 404))
        };
        let mut lists: Vec<_> = (0..64 * 50)
            .map(|list| (0..20).map(|number| failure(list, number)).collect())
            .map(|list| FailedRequests(Mutex::new(list)))
            .collect();
        lists[1700] = FailedRequests::default();
        lists[1700].record(&outcome("rare", 503));
        lists[1700].0.lock()[0].ended = start;
        let merged = ids(merge(lists.iter()));
        let newest = (3200 - 19..3200).rev().map(|list| format!("{list}-19"));
        assert_eq!(
            merged,
            newest.chain(["rare".to_owned()]).collect::<Vec<_>>()
        );
    }
}
