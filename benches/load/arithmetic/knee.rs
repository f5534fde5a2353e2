//! Knee: the last of rising rates that the proxy sustains.

use std::time::Duration;

/// Fraction of the requested rate that has to be achieved.
const MIN_ACHIEVED: f64 = 0.99;

/// Consecutive failed steps that are past the knee: a single one may be a stall of the machine.
const STEPS_PAST_KNEE: usize = 2;

/// The result of one rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// Requests per second that were due.
    pub(crate) asked: f64,
    /// Good responses per second, in time.
    pub(crate) achieved: f64,
    /// Requests without a good response.
    pub(crate) failures: u64,
    /// The 99th percentile of the latency.
    pub(crate) p99: Duration,
}

impl Step {
    /// The reason why the step does not hold; `None` if it does.
    pub(crate) fn broken_by(&self, bound: Duration) -> Option<&'static str> {
        if self.failures > 0 {
            Some("failures")
        } else if self.achieved < self.asked * MIN_ACHIEVED {
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

/// Whether higher rates are past the knee.
pub(crate) fn is_past(steps: &[Step], bound: Duration) -> bool {
    steps.len() >= STEPS_PAST_KNEE
        && steps[steps.len() - STEPS_PAST_KNEE..]
            .iter()
            .all(|step| step.broken_by(bound).is_some())
}
