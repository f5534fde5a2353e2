//! Rate limit of a log line that many requests would cause.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The time between two lines.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Lets one line through every 10 s, and counts the others.
#[derive(Debug)]
pub struct LogThrottle {
    epoch: Instant,
    /// Milliseconds from `epoch` to the next line.
    until: AtomicU64,
    /// Lines that were suppressed since the last one.
    suppressed: AtomicU64,
}

impl Default for LogThrottle {
    fn default() -> Self {
        LogThrottle {
            epoch: Instant::now(),
            until: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
        }
    }
}

impl LogThrottle {
    /// Whether the line is due; starts the next interval if so.
    pub fn is_due(&self) -> bool {
        self.due().is_some()
    }

    /// The number of lines that were suppressed, if the line is due; starts the next interval then.
    pub fn due(&self) -> Option<u64> {
        let now = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX);
        let until = self.until.load(Relaxed);
        let next = now.saturating_add(LOG_INTERVAL.as_millis() as u64);
        if now >= until
            && self
                .until
                .compare_exchange(until, next, Relaxed, Relaxed)
                .is_ok()
        {
            return Some(self.suppressed.swap(0, Relaxed));
        }
        self.suppressed.fetch_add(1, Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_suppressed_is_counted_once() {
        let throttle = LogThrottle::default();
        assert_eq!(throttle.due(), Some(0));
        assert_eq!((throttle.due(), throttle.due()), (None, None));
        throttle.until.store(0, Relaxed);
        assert_eq!(throttle.due(), Some(2));
        throttle.until.store(0, Relaxed);
        assert_eq!(throttle.due(), Some(0));
    }
}
