//! Requests by outcome, and failures by the party that has to act on them: totals, or the
//! difference between two totals.

use crate::error::{ErrorReason, Party, REASONS};
use crate::metrics::{
    CallerCounts, ConnectionRefusal, Histogram, RefusedConnections, RequestSummary, ResponseSource,
};

/// Requests by outcome. The size is fixed except for the callers: the history keeps 181 of them.
#[derive(Clone, Debug, Default)]
pub(super) struct OutcomeCounts {
    pub(super) requests: u64,
    /// Failures that the proxy answered itself, in the order of [`REASONS`].
    pub(super) reasons: [u64; REASONS.len()],
    /// Failures that the API answered, in the order of [`GbgFailure::ALL`].
    pub(super) gbg: [u64; GbgFailure::ALL.len()],
    /// Connections that the listener for callers refused, in the order of [`ConnectionRefusal::ALL`].
    pub(super) refused_connections: [u64; ConnectionRefusal::ALL.len()],
    /// Requests whose caller disconnected before the response.
    pub(super) disconnected: u64,
    /// Durations of the requests that the API answered.
    pub(super) times: Histogram,
    /// The API's part of the duration.
    pub(super) upstream: Histogram,
    /// By the number of the caller.
    pub(super) callers: Box<[CallerCounts]>,
}

/// Class of a failure that the API answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GbgFailure {
    /// 5xx.
    ServerError,
    /// 401 or 403 to the proxy's token on a known endpoint.
    Unauthorized,
    /// 429.
    RateLimited,
    /// Any other 4xx.
    ClientError,
}

impl GbgFailure {
    const ALL: [GbgFailure; 4] = [
        GbgFailure::ServerError,
        GbgFailure::Unauthorized,
        GbgFailure::RateLimited,
        GbgFailure::ClientError,
    ];

    /// Classifies `status`; `None` if it is not a failure.
    pub(super) fn classify(status: u16, is_token_rejection: bool) -> Option<Self> {
        match status {
            500.. => Some(GbgFailure::ServerError),
            _ if is_token_rejection => Some(GbgFailure::Unauthorized),
            429 => Some(GbgFailure::RateLimited),
            400..500 => Some(GbgFailure::ClientError),
            _ => None,
        }
    }

    /// The party that has to act.
    pub(super) fn fault(self) -> Party {
        match self {
            GbgFailure::ServerError => Party::Upstream,
            GbgFailure::Unauthorized => Party::Proxy,
            GbgFailure::RateLimited | GbgFailure::ClientError => Party::Caller,
        }
    }
}

/// Failures by the party that has to act.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FailuresByParty {
    pub(super) caller: u64,
    pub(super) proxy: u64,
    pub(super) upstream: u64,
    /// Callers that disconnected before the response. No party is to blame: the caller may be
    /// impatient, or the API slow.
    pub(super) disconnected: u64,
}

impl FailuresByParty {
    fn add(&mut self, fault: Party, count: u64) {
        match fault {
            Party::Caller => self.caller += count,
            Party::Proxy => self.proxy += count,
            Party::Upstream => self.upstream += count,
        }
    }
}

impl OutcomeCounts {
    pub(super) fn new(summary: RequestSummary, refused: &RefusedConnections) -> Self {
        let mut counts = OutcomeCounts {
            requests: summary.total,
            times: summary.times,
            upstream: summary.upstream,
            callers: summary.callers.into(),
            ..OutcomeCounts::default()
        };
        for (reason, count) in refused.by_reason() {
            counts.refused_connections[reason as usize] = count;
        }
        for (count, reason) in counts.reasons.iter_mut().zip(REASONS) {
            *count = summary.refusals.get(reason.name).copied().unwrap_or(0);
        }
        for ((_, status, source), count) in summary.by_response {
            match (source, GbgFailure::classify(status, false)) {
                (ResponseSource::None, _) => counts.disconnected += count,
                (ResponseSource::Gbg, Some(failure)) => counts.gbg[failure as usize] += count,
                _ => {}
            }
        }
        // They were counted as errors of callers.
        let rejections = summary.token_rejections;
        counts.gbg[GbgFailure::Unauthorized as usize] = rejections;
        let client_errors = &mut counts.gbg[GbgFailure::ClientError as usize];
        *client_errors = client_errors.saturating_sub(rejections);
        counts
    }

    /// The difference to `earlier` totals.
    pub(super) fn since(&self, earlier: &OutcomeCounts) -> OutcomeCounts {
        let mut counts = self.clone();
        let less = |now: &mut u64, before: u64| *now = now.saturating_sub(before);
        less(&mut counts.requests, earlier.requests);
        less(&mut counts.disconnected, earlier.disconnected);
        counts
            .reasons
            .iter_mut()
            .zip(earlier.reasons)
            .for_each(|(now, before)| less(now, before));
        counts
            .gbg
            .iter_mut()
            .zip(earlier.gbg)
            .for_each(|(now, before)| less(now, before));
        counts
            .refused_connections
            .iter_mut()
            .zip(earlier.refused_connections)
            .for_each(|(now, before)| less(now, before));
        counts.times = self.times.since(&earlier.times);
        counts.upstream = self.upstream.since(&earlier.upstream);
        for (now, before) in counts.callers.iter_mut().zip(&earlier.callers) {
            less(&mut now.requests, before.requests);
            less(&mut now.failed, before.failed);
            less(&mut now.limited, before.limited);
        }
        counts
    }

    pub(super) fn failures_by_party(&self) -> FailuresByParty {
        let mut failures = FailuresByParty {
            disconnected: self.disconnected,
            ..FailuresByParty::default()
        };
        self.reasons()
            .for_each(|(reason, count)| failures.add(reason.fault, count));
        for failure in GbgFailure::ALL {
            failures.add(failure.fault(), self.gbg(failure));
        }
        failures
    }

    /// Requests that the proxy did not reject because of their caller: the others say nothing about
    /// GBG or the proxy, and anyone can send them.
    pub(super) fn admitted(&self) -> u64 {
        let of_callers = self
            .reasons()
            .filter(|(reason, _)| reason.fault == Party::Caller);
        let rejected: u64 = of_callers.map(|(_, count)| count).sum();
        self.requests.saturating_sub(rejected)
    }

    /// Refused connections by reason, without those that a probe of the port causes.
    pub(super) fn refused_connections(&self) -> impl Iterator<Item = (ConnectionRefusal, u64)> {
        use ConnectionRefusal::{Evicted, IncompleteRequest, NoRequest};
        let all = ConnectionRefusal::ALL
            .into_iter()
            .zip(self.refused_connections);
        all.filter(|(reason, _)| !matches!(reason, NoRequest | IncompleteRequest | Evicted))
    }

    /// The count of each reason.
    pub(super) fn reasons(&self) -> impl Iterator<Item = (&'static ErrorReason, u64)> {
        REASONS.into_iter().zip(self.reasons)
    }

    pub(super) fn gbg(&self, failure: GbgFailure) -> u64 {
        self.gbg[failure as usize]
    }
}

/// Counts for tests: `requests`, of which `reasons` and `gbg` failed.
#[cfg(test)]
pub(super) fn outcome_counts(
    requests: u64,
    reasons: &[(&str, u64)],
    gbg: &[(GbgFailure, u64)],
) -> OutcomeCounts {
    let mut counts = OutcomeCounts {
        requests,
        ..OutcomeCounts::default()
    };
    for (name, count) in reasons {
        let index = REASONS
            .iter()
            .position(|reason| reason.name == *name)
            .unwrap();
        counts.reasons[index] = *count;
    }
    gbg.iter()
        .for_each(|(failure, count)| counts.gbg[*failure as usize] = *count);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_401_is_classified_by_its_token() {
        let classify = GbgFailure::classify;
        assert_eq!(classify(401, true), Some(GbgFailure::Unauthorized));
        assert_eq!(classify(401, false), Some(GbgFailure::ClientError));
        assert_eq!(classify(503, false), Some(GbgFailure::ServerError));
        assert_eq!(classify(429, false), Some(GbgFailure::RateLimited));
        assert_eq!((classify(200, false), classify(302, false)), (None, None));
        let summary = RequestSummary {
            total: 5,
            token_rejections: 2,
            by_response: [(("journey/start", 401, ResponseSource::Gbg), 5)].into(),
            ..RequestSummary::default()
        };
        let counts = OutcomeCounts::new(summary, &RefusedConnections::default());
        assert_eq!(
            (
                counts.gbg(GbgFailure::Unauthorized),
                counts.gbg(GbgFailure::ClientError)
            ),
            (2, 3)
        );
    }

    #[test]
    fn failures_are_counted_by_party() {
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
        let counts = OutcomeCounts::new(summary, &RefusedConnections::default());
        assert_eq!(
            counts.failures_by_party(),
            FailuresByParty {
                caller: 3,
                proxy: 2,
                upstream: 4,
                disconnected: 1
            }
        );
        assert_eq!(
            counts.since(&counts).failures_by_party(),
            FailuresByParty::default()
        );
    }
}
