//! Throttle of failed authentication: rejections of an address that fails often are delayed.
//!
//! Nobody guesses a key of 256 random bits; the throttle bounds the cost of those who try, or who
//! lost their key and keep asking. The first [`BURST`] failures of an address, and one a second from
//! then on, are rejected at once. A valid key is never delayed, whatever else comes from its
//! address.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::time::sleep;

use crate::telemetry::throttle::LogThrottle;

/// Failures of an address that are rejected at once.
const BURST: NonZeroU32 = NonZeroU32::new(20).unwrap();

const REJECTION_DELAY: Duration = Duration::from_secs(1);

/// Rejections that the process delays at once; further ones are sent at once and take no memory.
const MAX_DELAYED: usize = 1024;

/// Buckets of addresses. Addresses that share one delay each other's rejections, and nothing else.
const BUCKETS: usize = 1024;

#[derive(Debug)]
pub(in crate::proxy) struct AuthFailureThrottle {
    buckets: Vec<DefaultDirectRateLimiter>,
    /// Keyed differently in each process, so that nobody can choose whose bucket to share.
    hasher: RandomState,
    delayed: AtomicUsize,
    log_throttle: LogThrottle,
}

impl AuthFailureThrottle {
    pub(in crate::proxy) fn new() -> Self {
        let quota = Quota::per_second(NonZeroU32::MIN).allow_burst(BURST);
        AuthFailureThrottle {
            buckets: (0..BUCKETS).map(|_| RateLimiter::direct(quota)).collect(),
            hasher: RandomState::new(),
            delayed: AtomicUsize::new(0),
            log_throttle: LogThrottle::default(),
        }
    }

    /// Returns when a rejection may be sent to `addr`.
    pub(super) async fn delay_rejection(&self, addr: Option<IpAddr>) {
        if !self.is_too_frequent(addr) {
            return;
        }
        if self.log_throttle.is_due() {
            tracing::warn!(
                addr = addr.map(tracing::field::display),
                "repeated authentication failures; delaying 401 responses"
            );
        }
        if let Some(_delayed) = DelayedRejection::start(&self.delayed) {
            sleep(REJECTION_DELAY).await;
        }
    }

    fn is_too_frequent(&self, addr: Option<IpAddr>) -> bool {
        let bucket = self.hasher.hash_one(addr.map(network)) as usize % BUCKETS;
        self.buckets[bucket].check().is_err()
    }
}

/// The addresses of one host: an IPv4 address, or the /64 network of an IPv6 host.
fn network(addr: IpAddr) -> IpAddr {
    match addr.to_canonical() {
        IpAddr::V6(addr) => Ipv6Addr::from_bits(addr.to_bits() & !u128::from(u64::MAX)).into(),
        addr @ IpAddr::V4(_) => addr,
    }
}

/// A rejection that is delayed.
struct DelayedRejection<'a>(&'a AtomicUsize);

impl<'a> DelayedRejection<'a> {
    /// `None` when too many are delayed.
    fn start(count: &'a AtomicUsize) -> Option<Self> {
        let before = count.fetch_add(1, Relaxed);
        let delayed = DelayedRejection(count);
        (before < MAX_DELAYED).then_some(delayed)
    }
}

impl Drop for DelayedRejection<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn addr(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn only_repeated_failures_are_delayed() {
        let throttle = AuthFailureThrottle::new();
        let delay = async |from: Option<IpAddr>| {
            let began = Instant::now();
            throttle.delay_rejection(from).await;
            began.elapsed()
        };
        for _ in 0..20 {
            assert_eq!(delay(addr("2001:db8::1")).await, Duration::ZERO);
        }
        assert_eq!(
            delay(addr("2001:db8::2")).await,
            REJECTION_DELAY,
            "it is of the same network"
        );
        let others = (1..=9).map(|last| addr(&format!("192.0.2.{last}")));
        let mut at_once = 0;
        for other in others {
            at_once += usize::from(delay(other).await == Duration::ZERO);
        }
        assert!(at_once >= 7, "{at_once} of 9");
    }

    #[test]
    fn a_mapped_ipv4_address_is_that_address() {
        let network = |text: &str| network(text.parse().unwrap());
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("::ffff:192.0.2.1"), network("::ffff:192.0.2.2"));
        assert_eq!(network("2001:db8::1"), network("2001:db8::2"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_delayed_rejections_is_bounded() {
        let throttle = std::sync::Arc::new(AuthFailureThrottle::new());
        while !throttle.is_too_frequent(None) {}
        for _ in 0..MAX_DELAYED {
            let throttle = std::sync::Arc::clone(&throttle);
            tokio::spawn(async move { throttle.delay_rejection(None).await });
        }
        for _ in 0..MAX_DELAYED {
            tokio::task::yield_now().await;
        }
        assert_eq!(throttle.delayed.load(Relaxed), MAX_DELAYED);
        let began = Instant::now();
        throttle.delay_rejection(None).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        sleep(REJECTION_DELAY * 2).await;
        assert_eq!(throttle.delayed.load(Relaxed), 0);
    }
}
