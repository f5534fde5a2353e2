//! The most recent failed requests in groups, for the status page.
//!
//! Only a failure writes here. Of what the caller sent nothing is kept except the request id, which
//! the caller may have chosen: no path, no header, no body.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::outcome::{Outcome, ResponseSource};

/// Groups that a worker keeps for each account, and that the status page shows for all workers.
const MAX_GROUPS: usize = 20;

/// Time without a failure after which the next one begins another group.
const GROUP_GAP: Duration = Duration::from_secs(15 * 60);

/// GBG's ids are UUIDs; a longer one is not kept.
const MAX_GBG_ID_BYTES: usize = 64;

/// Requests that failed for the same reason: same endpoint, caller, account, status and source.
#[derive(Clone, Debug)]
pub(crate) struct FailureGroup {
    pub(crate) count: u64,
    pub(crate) first: FailureTime,
    pub(crate) last: FailureTime,
    /// The id of the last request.
    pub(crate) id: Box<str>,
    /// The id that the API gave it.
    pub(crate) gbg_id: Option<Box<str>>,
    /// The number of the caller.
    pub(crate) caller: usize,
    /// The name of the account; `None` for requests that ended before they got one.
    pub(crate) account: Option<Box<str>>,
    /// The name of the endpoint in `gbg`.
    pub(crate) endpoint: &'static str,
    /// The status of the response; 0 without one.
    pub(crate) status: u16,
    pub(crate) source: ResponseSource,
    /// The reason of a failure that the proxy answered itself.
    pub(crate) reason: Option<&'static str>,
    /// Whether the API rejected the proxy's token.
    pub(crate) is_token_rejection: bool,
}

/// Common facts of the failures of a group, besides endpoint, caller and account.
#[derive(PartialEq, Eq, Hash)]
struct FailureKind {
    reason: Option<&'static str>,
    status: u16,
    source: ResponseSource,
    is_token_rejection: bool,
}

/// The end of a failed request, on both clocks: ages and the order of failures need the monotonic
/// one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FailureTime {
    pub(crate) wall: SystemTime,
    pub(crate) monotonic: Instant,
}

impl FailureGroup {
    /// A group of one failure that has just ended.
    fn new(outcome: &Outcome<'_>) -> Self {
        let now = FailureTime {
            wall: SystemTime::now(),
            monotonic: Instant::now(),
        };
        FailureGroup {
            count: 1,
            first: now,
            last: now,
            id: outcome.id.into(),
            gbg_id: outcome
                .gbg_id
                .and_then(|id| id.to_str().ok())
                .filter(|id| id.len() <= MAX_GBG_ID_BYTES)
                .map(Box::from),
            caller: outcome.caller,
            account: outcome.account.map(Box::from),
            endpoint: outcome.endpoint,
            status: outcome.status,
            source: outcome.source,
            reason: outcome.reason,
            is_token_rejection: outcome.is_token_rejection,
        }
    }

    fn kind(&self) -> FailureKind {
        FailureKind {
            reason: self.reason,
            status: self.status,
            source: self.source,
            is_token_rejection: self.is_token_rejection,
        }
    }

    /// Returns true if both are parts of one group.
    fn continues(&self, other: &FailureGroup) -> bool {
        let gap = |from: &FailureGroup, to: &FailureGroup| {
            let (last, first) = (from.last.monotonic, to.first.monotonic);
            first.saturating_duration_since(last)
        };
        self.kind() == other.kind()
            && (self.endpoint, self.caller) == (other.endpoint, other.caller)
            && self.account == other.account
            && gap(self, other).max(gap(other, self)) <= GROUP_GAP
    }

    fn absorb(&mut self, other: FailureGroup) {
        self.count += other.count;
        if other.first.monotonic < self.first.monotonic {
            self.first = other.first;
        }
        if other.last.monotonic >= self.last.monotonic {
            (self.last, self.id, self.gbg_id) = (other.last, other.id, other.gbg_id);
        }
    }
}

/// The groups of one worker and account, the most recent last.
#[derive(Debug, Default)]
pub(super) struct FailedRequests(Mutex<VecDeque<FailureGroup>>);

impl FailedRequests {
    pub(super) fn record(&self, outcome: &Outcome<'_>) {
        let failure = FailureGroup::new(outcome);
        let mut groups = self.0.lock();
        add(&mut groups, failure);
        truncate(&mut groups);
    }
}

/// The most recent groups of all lists, the newest first. List by list: no more than two lists are
/// in memory, however many workers and accounts there are.
pub(super) fn merge<'a>(lists: impl Iterator<Item = &'a FailedRequests>) -> Vec<FailureGroup> {
    let mut merged = VecDeque::new();
    for list in lists {
        let groups = list.0.lock().clone();
        if groups.is_empty() {
            continue;
        }
        groups.into_iter().for_each(|group| add(&mut merged, group));
        merged
            .make_contiguous()
            .sort_by_key(|group: &FailureGroup| group.last.monotonic);
        truncate(&mut merged);
    }
    merged.into_iter().rev().collect()
}

/// Adds `group` as the last one, with those that it continues.
fn add(groups: &mut VecDeque<FailureGroup>, mut group: FailureGroup) {
    while let Some(index) = groups.iter().rposition(|known| known.continues(&group))
        && let Some(known) = groups.remove(index)
    {
        group.absorb(known);
    }
    groups.push_back(group);
}

/// Removes the oldest group of the most frequent kind until [`MAX_GROUPS`] are left: a flood of one
/// kind does not push out a rare one.
fn truncate(groups: &mut VecDeque<FailureGroup>) {
    while groups.len() > MAX_GROUPS {
        let mut counts = FxHashMap::<_, usize>::default();
        for group in groups.iter() {
            *counts.entry(group.kind()).or_default() += 1;
        }
        let most = counts.values().max().copied();
        let oldest = groups
            .iter()
            .position(|group| counts.get(&group.kind()).copied() == most);
        groups.remove(oldest.unwrap_or(0));
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
            is_token_rejection: false,
            duration: Duration::ZERO,
            upstream: None,
            bytes: [0; 2],
            repeats: 0,
            gbg_id: None,
        }
    }

    /// A failure that ended so many seconds after `start`.
    fn failure(start: Instant, seconds: u64, outcome: &Outcome<'_>) -> FailureGroup {
        let mut group = FailureGroup::new(outcome);
        group.first.monotonic = start + Duration::from_secs(seconds);
        group.last = group.first;
        group
    }

    fn list(groups: impl IntoIterator<Item = FailureGroup>) -> FailedRequests {
        let list = FailedRequests::default();
        groups
            .into_iter()
            .for_each(|group| add(&mut list.0.lock(), group));
        list
    }

    /// Id of the last request, count, and seconds of the first and the last.
    fn figures(start: Instant, groups: &[FailureGroup]) -> Vec<(&str, u64, u64, u64)> {
        let seconds = |time: FailureTime| time.monotonic.duration_since(start).as_secs();
        let figures = groups.iter().map(|group| {
            (
                &*group.id,
                group.count,
                seconds(group.first),
                seconds(group.last),
            )
        });
        figures.collect()
    }

    #[test]
    fn failures_of_all_workers_form_groups() {
        let start = Instant::now();
        let at = |seconds, id: &'static str| failure(start, seconds, &outcome(id, 404));
        let other_caller = Outcome {
            caller: 1,
            ..outcome("crm", 404)
        };
        let lists = [
            list([at(10, "a"), at(20, "b"), failure(start, 30, &other_caller)]),
            list([at(5, "c"), at(25, "d")]),
        ];
        let merged = merge(lists.iter());
        assert_eq!(
            figures(start, &merged),
            [("crm", 1, 30, 30), ("d", 4, 5, 25)]
        );
    }

    #[test]
    fn a_pause_begins_another_group() {
        let start = Instant::now();
        let at = |seconds, id: &'static str| failure(start, seconds, &outcome(id, 404));
        let lists = [
            list([at(0, "a"), at(900, "b"), at(1801, "c")]),
            list([at(1802, "d"), at(4000, "e")]),
        ];
        assert_eq!(
            figures(start, &merge(lists.iter())),
            [("e", 1, 4000, 4000), ("d", 2, 1801, 1802), ("b", 2, 0, 900)]
        );
    }

    #[test]
    fn frequent_failures_do_not_push_out_rare_ones() {
        let workers = [FailedRequests::default(), FailedRequests::default()];
        workers[0].record(&outcome("rare", 503));
        let ids: Vec<_> = (0..100).map(|number| number.to_string()).collect();
        for (number, id) in ids.iter().enumerate() {
            let caller = Outcome {
                caller: number,
                ..outcome(id, 404)
            };
            workers[number % 2].record(&caller);
        }
        let merged = merge(workers.iter());
        let ids: Vec<_> = merged.iter().map(|group| &*group.id).collect();
        assert_eq!(ids.len(), MAX_GROUPS);
        assert_eq!(ids[..2], ["99", "98"]);
        assert_eq!(*ids.last().unwrap(), "rare");
        assert!(workers.iter().all(|list| list.0.lock().len() == MAX_GROUPS));
    }

    #[test]
    fn successful_requests_are_not_kept() {
        let metrics = super::super::Metrics::new(1);
        let requests = &metrics.workers()[0].account("default").requests;
        requests.record(&outcome("fine", 200));
        for _ in 0..1000 {
            requests.record(&outcome("failed", 404));
        }
        let groups = metrics.failures();
        let figures: Vec<_> = groups
            .iter()
            .map(|group| (&*group.id, group.count))
            .collect();
        assert_eq!(figures, [("failed", 1000)]);
    }

    #[test]
    fn many_workers_and_accounts_are_merged() {
        let start = Instant::now();
        let lists: Vec<_> = (0..64 * 50)
            .map(|number| {
                let callers = (0..20).map(|caller| Outcome {
                    caller,
                    ..outcome("id", 404)
                });
                list(callers.map(|outcome| failure(start, number % 600, &outcome)))
            })
            .chain([list([failure(start, 0, &outcome("rare", 503))])])
            .collect();
        let merged = merge(lists.iter());
        assert_eq!(merged.len(), MAX_GROUPS);
        assert_eq!(merged[0].count, 3200);
        assert_eq!(figures(start, &merged).last(), Some(&("rare", 1, 0, 0)));
    }
}
