//! Cached time of one poll of an HTTP/1 connection. Deadlines and the log need no finer resolution,
//! and each read of the clock costs 25 ns.

use std::cell::Cell;

use tokio::time::Instant;

thread_local! {
    static TIME: Cell<Time> = const { Cell::new(Time::Free) };
}

#[derive(Clone, Copy)]
enum Time {
    /// There is no scope.
    Free,
    /// The clock was not read in this scope.
    Unread,
    At(Instant),
}

/// Scope of the cached time in this thread, until it is dropped.
pub(crate) struct ClockScope(());

impl ClockScope {
    /// Enters the scope; the first call of [`now`] reads the clock.
    pub(crate) fn enter() -> Self {
        TIME.set(Time::Unread);
        ClockScope(())
    }
}

impl Drop for ClockScope {
    fn drop(&mut self) {
        TIME.set(Time::Free);
    }
}

/// The time of the current scope; outside of one, the clock's.
pub(crate) fn now() -> Instant {
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
    async fn time_stands_still_in_a_scope_only() {
        let second = Duration::from_secs(1);
        let began = Instant::now();
        for _ in 0..2 {
            let before = now();
            let scope = ClockScope::enter();
            advance(second).await;
            assert_eq!(now() - before, second, "it is read when it is asked for");
            advance(second).await;
            assert_eq!(now() - before, second);
            drop(scope);
            assert_eq!(now() - before, second * 2);
        }
        assert_eq!(now() - began, second * 4);
    }
}
