//! A moment on two clocks.

use std::ops::Add;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep};

/// The longest time that is slept through without a look at the wall clock.
const LOOK: Duration = Duration::from_secs(1);

/// A moment on the monotonic and on the wall clock. The first stands still while a machine sleeps,
/// and the second may be set back: a moment has come as soon as either says so.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    monotonic: Instant,
    wall: SystemTime,
}

impl Deadline {
    /// This moment.
    pub fn now() -> Self {
        Deadline {
            monotonic: Instant::now(),
            wall: wall_clock(),
        }
    }

    /// Whether it is now, or past.
    pub fn has_come(&self) -> bool {
        self.monotonic <= Instant::now() || self.wall <= wall_clock()
    }

    /// Waits until it has come; after a sleep of the machine it may be noticed a second late.
    pub(super) async fn reached(self) {
        while !self.has_come() {
            sleep(
                self.monotonic
                    .saturating_duration_since(Instant::now())
                    .min(LOOK),
            )
            .await;
        }
    }

    /// The time until then; zero if it has come.
    pub fn left(&self) -> Duration {
        let wall = self.wall.duration_since(wall_clock()).unwrap_or_default();
        self.monotonic
            .saturating_duration_since(Instant::now())
            .min(wall)
    }

    /// The earlier of the two, as far as the monotonic clock can tell.
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

    fn add(self, time: Duration) -> Deadline {
        Deadline {
            monotonic: self.monotonic + time,
            wall: self.wall + time,
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

    /// The wall clock of a test goes with tokio's, which may be paused, and with what the machine
    /// has slept.
    pub(super) fn wall_clock() -> SystemTime {
        let now = Instant::now();
        let (wall, then) = WALL.get().unwrap_or_else(|| {
            let start = (SystemTime::now(), now);
            WALL.set(Some(start));
            start
        });
        wall + AHEAD.get() + now.saturating_duration_since(then)
    }

    /// Lets this thread's machine sleep: the monotonic clock stands still, the wall clock goes on.
    pub(in crate::token) fn sleep_machine(time: Duration) {
        AHEAD.set(AHEAD.get() + time);
    }

    #[tokio::test(start_paused = true)]
    async fn a_moment_comes_on_whichever_clock_is_first() {
        let soon = Deadline::now() + Duration::from_secs(60);
        assert!(!soon.has_come());
        assert_eq!(soon.left(), Duration::from_secs(60));
        sleep_machine(Duration::from_secs(59));
        assert!(!soon.has_come());
        assert_eq!(soon.left(), Duration::from_secs(1));
        sleep_machine(Duration::from_secs(1));
        assert!(soon.has_come());

        let later = Deadline::now() + Duration::from_secs(60);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(later.has_come());
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_that_slept_is_noticed_within_a_second() {
        let far = Deadline::now() + Duration::from_secs(3600);
        let began = Instant::now();
        let slept = async {
            sleep(Duration::from_secs(10)).await;
            sleep_machine(Duration::from_secs(3600));
        };
        tokio::join!(far.reached(), slept);
        assert!(
            began.elapsed() <= Duration::from_secs(11),
            "{:?}",
            began.elapsed()
        );
    }
}
