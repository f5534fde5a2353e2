//! Cached time of one poll of an HTTP/1 connection: deadlines and the log need no finer resolution,
//! and each read of the clock costs 25 ns.

use std::cell::Cell;

use tokio::time::Instant;

thread_local! {
    static CACHE: Cell<TimeCache> = const { Cell::new(TimeCache::Disabled) };
}

#[derive(Clone, Copy)]
enum TimeCache {
    /// Outside of a scope.
    Disabled,
    Empty,
    At(Instant),
}

/// Scope of the cached time of this thread, until it is dropped.
pub(crate) struct ClockScope(());

impl ClockScope {
    /// Enters the scope; the first call of [`now`] reads the clock.
    pub(crate) fn enter() -> Self {
        CACHE.set(TimeCache::Empty);
        ClockScope(())
    }
}

impl Drop for ClockScope {
    fn drop(&mut self) {
        CACHE.set(TimeCache::Disabled);
    }
}

/// The cached time in a scope, and the current time outside.
pub(crate) fn now() -> Instant {
    match CACHE.get() {
        TimeCache::At(time) => time,
        TimeCache::Disabled => Instant::now(),
        TimeCache::Empty => {
            let now = Instant::now();
            CACHE.set(TimeCache::At(now));
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
    async fn time_is_constant_within_a_scope() {
        let second = Duration::from_secs(1);
        let start = Instant::now();
        for _ in 0..2 {
            let before = now();
            let scope = ClockScope::enter();
            advance(second).await;
            assert_eq!(now() - before, second, "the first call reads the clock");
            advance(second).await;
            assert_eq!(now() - before, second);
            drop(scope);
            assert_eq!(now() - before, second * 2);
        }
        assert_eq!(now() - start, second * 4);
    }
}
