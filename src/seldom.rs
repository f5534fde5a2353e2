//! What is worth a line in the log, and not one a request.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long nothing more is said of the same.
const SILENCE: Duration = Duration::from_secs(10);

/// Lets something be said seldom.
#[derive(Debug)]
pub struct Seldom {
    epoch: Instant,
    /// Milliseconds from `epoch` to the end of the silence.
    until: AtomicU64,
    /// How often it was not said since it was said last.
    suppressed: AtomicU64,
}

impl Default for Seldom {
    fn default() -> Self {
        Seldom {
            epoch: Instant::now(),
            until: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
        }
    }
}

impl Seldom {
    /// Whether it is time to say it again; then silence begins.
    pub fn is_due(&self) -> bool {
        self.due().is_some()
    }

    /// How often it was suppressed since the last time, if it is time to say it again; then silence
    /// begins.
    pub fn due(&self) -> Option<u64> {
        let now = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX);
        let until = self.until.load(Relaxed);
        let next = now.saturating_add(SILENCE.as_millis() as u64);
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
        let seldom = Seldom::default();
        assert_eq!(seldom.due(), Some(0));
        assert_eq!((seldom.due(), seldom.due()), (None, None));
        seldom.until.store(0, Relaxed);
        assert_eq!(seldom.due(), Some(2));
        seldom.until.store(0, Relaxed);
        assert_eq!(seldom.due(), Some(0));
    }
}
