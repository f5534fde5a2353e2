//! The knee: the last of rising rates that still holds.

use std::time::Duration;

/// What must be achieved of the rate that was asked for.
const ENOUGH: f64 = 0.99;

/// How many steps in a row do not hold when the knee is behind: one alone may be a moment of the
/// machine's.
const PAST: usize = 2;

/// One rate, and what came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// Requests a second that were due.
    pub(crate) asked: f64,
    /// Requests a second that were answered as they should be, in time.
    pub(crate) achieved: f64,
    /// Requests that were not answered as they should be.
    pub(crate) failures: u64,
    /// The 99th percentile of the latency.
    pub(crate) p99: Duration,
}

impl Step {
    /// Why the step does not hold; `None` if it does.
    pub(crate) fn broken_by(&self, bound: Duration) -> Option<&'static str> {
        if self.failures > 0 {
            Some("failures")
        } else if self.achieved < self.asked * ENOUGH {
            Some("rate")
        } else if self.p99 >= bound {
            Some("p99")
        } else {
            None
        }
    }
}

/// The index of the last step that holds.
pub(crate) fn knee(steps: &[Step], bound: Duration) -> Option<usize> {
    steps
        .iter()
        .rposition(|step| step.broken_by(bound).is_none())
}

/// Whether higher rates need not be tried.
pub(crate) fn is_past(steps: &[Step], bound: Duration) -> bool {
    steps.len() >= PAST
        && steps[steps.len() - PAST..]
            .iter()
            .all(|step| step.broken_by(bound).is_some())
}
