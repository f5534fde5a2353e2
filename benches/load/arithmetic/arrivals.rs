//! Arrival times of an open loop: each request is due at a constant rate, whatever happened to
//! earlier ones.

use std::time::Duration;

/// The requests of a phase.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrivals {
    rate: f64,
    count: u64,
}

impl Arrivals {
    /// `rate` requests per second for `time`.
    pub(crate) fn new(rate: f64, time: Duration) -> Self {
        Arrivals {
            rate,
            count: (rate * time.as_secs_f64()).round() as u64,
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The time of request `index` since the start; `None` after the last. Computed from the start,
    /// so that rounding errors do not add up.
    pub(crate) fn due(&self, index: u64) -> Option<Duration> {
        (index < self.count).then(|| Duration::from_secs_f64(index as f64 / self.rate))
    }
}
