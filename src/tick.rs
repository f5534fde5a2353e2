//! The time of a tick, which is one poll of an HTTP/1 connection. What happens in it happens at one
//! time, as far as deadlines and the log care: for all of them the clock is read once.

use std::cell::Cell;

use tokio::time::Instant;

thread_local! {
    static TIME: Cell<Time> = const { Cell::new(Time::Free) };
}

#[derive(Clone, Copy)]
enum Time {
    /// There is no tick.
    Free,
    /// There is one, and nobody has asked for its time.
    Unread,
    At(Instant),
}

/// A tick of this thread, until it is dropped.
pub struct Tick(());

impl Tick {
    /// Begins one.
    pub fn begin() -> Self {
        TIME.set(Time::Unread);
        Tick(())
    }
}

impl Drop for Tick {
    fn drop(&mut self) {
        TIME.set(Time::Free);
    }
}

/// The time of this tick; where there is none, that of the clock.
pub fn now() -> Instant {
    match TIME.get() {
        Time::At(time) => time,
        Time::Free => Instant::now(),
        Time::Unread => {
            let now = Instant::now();
            TIME.set(Time::At(now));
            now
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_stands_still_in_a_tick_and_nowhere_else() {
        let second = Duration::from_secs(1);
        let began = Instant::now();
        for _ in 0..2 {
            let before = now();
            let tick = Tick::begin();
            advance(second).await;
            assert_eq!(now() - before, second, "it is read when it is asked for");
            advance(second).await;
            assert_eq!(now() - before, second);
            drop(tick);
            assert_eq!(now() - before, second * 2);
        }
        assert_eq!(now() - began, second * 4);
    }
}
