//! Expiry of pooled connections, by idle time and age: one rule for HTTP/1.1 and HTTP/2. The pools
//! apply it, HTTP/1.1 at each checkout; `maintain` sweeps both.
//!
//! The proxy closes a connection before the API does: a request that meets the API's close is lost,
//! or has to be retried.

use std::time::Duration;

use tokio::time::Instant;

use crate::config;

/// Idle time after which a connection is polled before it is reused: the API may have closed it.
/// The poll costs a system call, which a busy pool avoids; it halves the losses before an API that
/// closes connections at random.
pub(super) const POLL_AFTER_IDLE: Duration = Duration::from_millis(1);

/// Limits of the reuse of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdleLimits {
    pub(super) timeout: Duration,
    max_age: Duration,
}

impl IdleLimits {
    pub(super) fn new(config: &config::Upstream) -> Self {
        IdleLimits {
            timeout: config.idle_timeout,
            max_age: config.max_age,
        }
    }

    /// The retirement of a connection that opens now. Random by a tenth of `max_age`, so that
    /// connections that open together do not all end together.
    pub(super) fn retirement(&self) -> Retirement {
        Retirement(Instant::now() + self.max_age.mul_f64(0.9 + 0.2 * fastrand::f64()))
    }

    /// Returns true if a connection that is idle for `idle_for` at `time` is not used any more. Of a
    /// connection in use, `idle_for` is zero.
    pub(super) fn has_expired(
        &self,
        retirement: Retirement,
        idle_for: Duration,
        time: Instant,
    ) -> bool {
        idle_for >= self.timeout || retirement.has_come(time)
    }
}

/// The time from which a connection takes no more requests, because it reaches `max_age`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retirement(Instant);

impl Retirement {
    pub(super) fn has_come(self, time: Instant) -> bool {
        time >= self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    fn limits() -> IdleLimits {
        IdleLimits {
            timeout: Duration::from_secs(50),
            max_age: Duration::from_secs(300),
        }
    }

    #[test]
    fn a_connection_expires_at_the_idle_timeout() {
        let (limits, now) = (limits(), Instant::now());
        let has_expired = |idle_for| limits.has_expired(limits.retirement(), idle_for, now);
        assert!(!has_expired(Duration::ZERO));
        assert!(!has_expired(limits.timeout - MILLISECOND));
        assert!(has_expired(limits.timeout));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_retires_at_its_maximum_age() {
        let (limits, now) = (limits(), Instant::now());
        for _ in 0..100 {
            let retirement = limits.retirement();
            for (age, has_come) in [(0.9, false), (1.1, true)] {
                let time = now + limits.max_age.mul_f64(age) - MILLISECOND * u32::from(!has_come);
                assert_eq!(retirement.has_come(time), has_come, "{age}");
                let expired = limits.has_expired(retirement, Duration::ZERO, time);
                assert_eq!(expired, has_come, "in use, {age}");
            }
        }
    }
}
