//! Deadline on two clocks: the monotonic clock stops while a machine sleeps, and the wall clock may
//! be set back.

use std::ops::Add;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep};

/// Time between two reads of the wall clock while waiting.
const WALL_CLOCK_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// A deadline on the monotonic and the wall clock. It has passed as soon as either clock says so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    monotonic: Instant,
    wall: SystemTime,
}

impl Deadline {
    pub(crate) fn now() -> Self {
        Deadline {
            monotonic: Instant::now(),
            wall: wall_clock(),
        }
    }

    pub(crate) fn has_passed(&self) -> bool {
        self.monotonic <= Instant::now() || self.wall <= wall_clock()
    }

    /// Waits until it has passed; returns up to a second late after a sleep of the machine.
    pub(super) async fn wait(self) {
        while !self.has_passed() {
            sleep(
                self.monotonic
                    .saturating_duration_since(Instant::now())
                    .min(WALL_CLOCK_POLL_INTERVAL),
            )
            .await;
        }
    }

    /// The time until then; zero if it has passed.
    pub(crate) fn remaining(&self) -> Duration {
        let wall = self.wall.duration_since(wall_clock()).unwrap_or_default();
        self.monotonic
            .saturating_duration_since(Instant::now())
            .min(wall)
    }

    /// The earlier of the two on the monotonic clock.
    pub(super) fn min(self, other: Self) -> Self {
        if self.monotonic <= other.monotonic {
            self
        } else {
            other
        }
    }
}

impl Add<Duration> for Deadline {
    type Output = Deadline;

    fn add(self, duration: Duration) -> Deadline {
        Deadline {
            monotonic: self.monotonic + duration,
            wall: self.wall + duration,
        }
    }
}

#[cfg(not(test))]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
use self::tests::wall_clock;

#[cfg(test)]
pub(super) mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static AHEAD: Cell<Duration> = const { Cell::new(Duration::ZERO) };
        static WALL: Cell<Option<(SystemTime, Instant)>> = const { Cell::new(None) };
    }

    /// The wall clock of a test: tokio's clock, which may be paused, plus the machine's sleep.
    pub(super) fn wall_clock() -> SystemTime {
        let now = Instant::now();
        let (wall, then) = WALL.get().unwrap_or_else(|| {
            let start = (SystemTime::now(), now);
            WALL.set(Some(start));
            start
        });
        wall + AHEAD.get() + now.saturating_duration_since(then)
    }

    /// Simulates a sleep of the machine: only the wall clock advances.
    pub(in crate::token) fn sleep_machine(time: Duration) {
        AHEAD.set(AHEAD.get() + time);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_passes_on_the_first_clock() {
        let soon = Deadline::now() + Duration::from_secs(60);
        assert!(!soon.has_passed());
        assert_eq!(soon.remaining(), Duration::from_secs(60));
        sleep_machine(Duration::from_secs(59));
        assert!(!soon.has_passed());
        assert_eq!(soon.remaining(), Duration::from_secs(1));
        sleep_machine(Duration::from_secs(1));
        assert!(soon.has_passed());

        let later = Deadline::now() + Duration::from_secs(60);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(later.has_passed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_sleep_is_noticed_within_a_second() {
        let far = Deadline::now() + Duration::from_secs(3600);
        let began = Instant::now();
        let slept = async {
            sleep(Duration::from_secs(10)).await;
            sleep_machine(Duration::from_secs(3600));
        };
        tokio::join!(far.wait(), slept);
        assert!(
            began.elapsed() <= Duration::from_secs(11),
            "{:?}",
            began.elapsed()
        );
    }
}
