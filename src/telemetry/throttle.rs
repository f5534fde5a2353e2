//! Rate limit of a log message that many requests can cause.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Minimum time between two lines.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Passes one line every 10 s and counts the suppressed ones.
#[derive(Debug)]
pub(crate) struct LogThrottle {
    epoch: Instant,
    /// The earliest time of the next line, in milliseconds since `epoch`.
    next_due: AtomicU64,
    /// Lines that were suppressed since the last line.
    suppressed: AtomicU64,
}

impl Default for LogThrottle {
    fn default() -> Self {
        LogThrottle {
            epoch: Instant::now(),
            next_due: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
        }
    }
}

impl LogThrottle {
    /// Whether the line is due. If so, the next interval starts.
    pub(crate) fn is_due(&self) -> bool {
        self.due().is_some()
    }

    /// The number of suppressed lines if the line is due; the next interval starts then.
    pub(crate) fn due(&self) -> Option<u64> {
        let now = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX);
        let due = self.next_due.load(Relaxed);
        let next = now.saturating_add(LOG_INTERVAL.as_millis() as u64);
        if now >= due
            && self
                .next_due
                .compare_exchange(due, next, Relaxed, Relaxed)
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
    fn suppressed_lines_are_counted_once() {
        let throttle = LogThrottle::default();
        assert_eq!(throttle.due(), Some(0));
        assert_eq!((throttle.due(), throttle.due()), (None, None));
        throttle.next_due.store(0, Relaxed);
        assert_eq!(throttle.due(), Some(2));
        throttle.next_due.store(0, Relaxed);
        assert_eq!(throttle.due(), Some(0));
    }
}
