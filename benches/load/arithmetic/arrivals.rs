//! When each request is due at a constant rate, whatever became of those before it: the open loop.

use std::time::Duration;

/// The requests of a span of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrivals {
    rate: f64,
    count: u64,
}

impl Arrivals {
    /// So many a second, for so long.
    pub(crate) fn new(rate: f64, time: Duration) -> Self {
        Arrivals {
            rate,
            count: (rate * time.as_secs_f64()).round() as u64,
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// When request `index` is due, since the beginning; `None` after the last. Counted from the
    /// beginning, so that no rounding adds up.
    pub(crate) fn due(&self, index: u64) -> Option<Duration> {
        (index < self.count).then(|| Duration::from_secs_f64(index as f64 / self.rate))
    }
}
