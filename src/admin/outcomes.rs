//! Requests by what became of them, and whose fault it was: the sums of a moment, or what came
//! between two.

use crate::error::{ErrorReason, Party, REASONS};
use crate::gbg;
use crate::metrics::{CallerCounts, Histogram, RequestSummary, ResponseSource};

/// Requests by what became of them. Of a fixed size, but for the callers, so that many can be kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) requests: u64,
    /// Refused here, in the order of [`REASONS`].
    pub(super) reasons: [u64; REASONS.len()],
    /// What the API answered that is a failure.
    pub(super) gbg: [u64; GbgFailure::ALL.len()],
    /// Nobody waited for an answer any more.
    pub(super) gone: u64,
    /// How long what the API answered took.
    pub(super) times: Histogram,
    /// The API's part of it.
    pub(super) upstream: Histogram,
    /// By their numbers.
    pub(super) callers: Box<[CallerCounts]>,
}

/// How the API says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GbgFailure {
    /// It failed itself: 5xx.
    Broken,
    /// Our token opens nothing there: 401 and 403 of a call that exists, and whose bearer is ours.
    Unauthorized,
    /// It is asked too often: 429.
    Limited,
    /// What the caller sent is refused: any other 4xx.
    Refused,
}

impl GbgFailure {
    const ALL: [GbgFailure; 4] = [
        GbgFailure::Broken,
        GbgFailure::Unauthorized,
        GbgFailure::Limited,
        GbgFailure::Refused,
    ];

    /// What `status` means for a call of `endpoint`, if that is a failure.
    pub(super) fn of(endpoint: &str, status: u16) -> Option<Self> {
        // For a path that it does not have, the API answers 401 as well.
        let has_our_bearer = !matches!(endpoint, "other" | "login")
            && !gbg::CALLER_BEARER
                .iter()
                .any(|path| path.ends_with(endpoint));
        match status {
            500.. => Some(GbgFailure::Broken),
            401 | 403 if has_our_bearer => Some(GbgFailure::Unauthorized),
            429 => Some(GbgFailure::Limited),
            400..500 => Some(GbgFailure::Refused),
            _ => None,
        }
    }

    /// Who has to act.
    pub(super) fn fault(self) -> Party {
        match self {
            GbgFailure::Broken => Party::Upstream,
            GbgFailure::Unauthorized => Party::Proxy,
            GbgFailure::Limited | GbgFailure::Refused => Party::Caller,
        }
    }
}

/// Failures by whose fault they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Faults {
    pub(super) caller: u64,
    pub(super) proxy: u64,
    pub(super) upstream: u64,
    /// Callers that were gone before there was an answer: they were impatient, or the API slow.
    pub(super) gone: u64,
}

impl Faults {
    fn add(&mut self, fault: Party, count: u64) {
        match fault {
            Party::Caller => self.caller += count,
            Party::Proxy => self.proxy += count,
            Party::Upstream => self.upstream += count,
        }
    }
}

impl Tally {
    pub(super) fn of(summary: RequestSummary) -> Self {
        let mut tally = Tally {
            requests: summary.total,
            times: summary.times,
            upstream: summary.upstream,
            callers: summary.callers.into(),
            ..Tally::default()
        };
        for (count, reason) in tally.reasons.iter_mut().zip(REASONS) {
            *count = summary.refusals.get(reason.name).copied().unwrap_or(0);
        }
        for ((endpoint, status, source), count) in summary.by_response {
            match (source, GbgFailure::of(endpoint, status)) {
                (ResponseSource::None, _) => tally.gone += count,
                (ResponseSource::Gbg, Some(failure)) => tally.gbg[failure as usize] += count,
                _ => {}
            }
        }
        tally
    }

    /// What came since it was `earlier`.
    pub(super) fn since(&self, earlier: &Tally) -> Tally {
        let mut tally = self.clone();
        let less = |now: &mut u64, before: u64| *now = now.saturating_sub(before);
        less(&mut tally.requests, earlier.requests);
        less(&mut tally.gone, earlier.gone);
        tally
            .reasons
            .iter_mut()
            .zip(earlier.reasons)
            .for_each(|(now, before)| less(now, before));
        tally
            .gbg
            .iter_mut()
            .zip(earlier.gbg)
            .for_each(|(now, before)| less(now, before));
        tally.times = self.times.since(&earlier.times);
        tally.upstream = self.upstream.since(&earlier.upstream);
        for (now, before) in tally.callers.iter_mut().zip(&earlier.callers) {
            less(&mut now.requests, before.requests);
            less(&mut now.failed, before.failed);
            less(&mut now.limited, before.limited);
        }
        tally
    }

    pub(super) fn faults(&self) -> Faults {
        let mut faults = Faults {
            gone: self.gone,
            ..Faults::default()
        };
        self.reasons()
            .for_each(|(reason, count)| faults.add(reason.fault, count));
        for failure in GbgFailure::ALL {
            faults.add(failure.fault(), self.gbg(failure));
        }
        faults
    }

    /// How often each reason was given.
    pub(super) fn reasons(&self) -> impl Iterator<Item = (&'static ErrorReason, u64)> {
        REASONS.into_iter().zip(self.reasons)
    }

    /// How often the API said no in this way.
    pub(super) fn gbg(&self, failure: GbgFailure) -> u64 {
        self.gbg[failure as usize]
    }
}

/// What tests make up: so many requests, of which `reasons` and `gbg` failed.
#[cfg(test)]
pub(super) fn made_up(requests: u64, reasons: &[(&str, u64)], gbg: &[(GbgFailure, u64)]) -> Tally {
    let mut tally = Tally {
        requests,
        ..Tally::default()
    };
    for (name, count) in reasons {
        let index = REASONS
            .iter()
            .position(|reason| reason.name == *name)
            .unwrap();
        tally.reasons[index] = *count;
    }
    gbg.iter()
        .for_each(|(failure, count)| tally.gbg[*failure as usize] = *count);
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_401_is_to_be_mended_by_whose_token_it_was() {
        let of = GbgFailure::of;
        assert_eq!(of("journey/start", 401), Some(GbgFailure::Unauthorized));
        assert_eq!(of("journey/device/connect", 401), Some(GbgFailure::Refused));
        assert_eq!(
            of("other", 401),
            Some(GbgFailure::Refused),
            "a path that does not exist"
        );
        assert_eq!(of("journey/start", 503), Some(GbgFailure::Broken));
        assert_eq!(
            (of("journey/start", 200), of("journey/start", 302)),
            (None, None)
        );
    }

    #[test]
    fn failures_are_told_by_whose_fault_they_are() {
        let mut summary = RequestSummary {
            total: 10,
            ..RequestSummary::default()
        };
        summary.refusals = [
            ("path_unknown", 1),
            ("overloaded", 2),
            ("upstream_timeout", 3),
        ]
        .into();
        summary.by_response = [
            (("other", 404, ResponseSource::Proxy), 1),
            (("journey/start", 502, ResponseSource::Gbg), 1),
            (("journey/start", 400, ResponseSource::Gbg), 2),
            (("journey/start", 0, ResponseSource::None), 1),
        ]
        .into();
        let tally = Tally::of(summary);
        assert_eq!(
            tally.faults(),
            Faults {
                caller: 3,
                proxy: 2,
                upstream: 4,
                gone: 1
            }
        );
        assert_eq!(tally.since(&tally).faults(), Faults::default());
    }
}
