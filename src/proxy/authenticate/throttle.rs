//! Makes guessing slow. A key has 256 random bits, so nobody guesses one; but who tries, or has
//! lost its key and does not stop asking, is to cost little.
//!
//! An address that fails more often than [`FREE`] times in a row, and then more than once a second,
//! gets its refusals late. A valid key is never held back, whatever else comes from its address.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::time::sleep;

use crate::telemetry::throttle::LogThrottle;

/// Failures that are answered at once.
const FREE: NonZeroU32 = NonZeroU32::new(20).unwrap();

/// How long a refusal is held.
const HOLD: Duration = Duration::from_secs(1);

/// Refusals that are held at once, in the whole process: more than these are given at once, and
/// take no memory.
const MOST_HELD: usize = 1024;

/// Buckets of addresses. Two addresses may share one, which slows the refusals of both, and nothing
/// else.
const BUCKETS: usize = 1024;

#[derive(Debug)]
pub(in crate::proxy) struct AuthFailureThrottle {
    buckets: Vec<DefaultDirectRateLimiter>,
    /// With a key of its own for each process: nobody chooses whose bucket he shares.
    hasher: RandomState,
    held: AtomicUsize,
    told: LogThrottle,
}

impl AuthFailureThrottle {
    pub(in crate::proxy) fn new() -> Self {
        let quota = Quota::per_second(NonZeroU32::MIN).allow_burst(FREE);
        AuthFailureThrottle {
            buckets: (0..BUCKETS).map(|_| RateLimiter::direct(quota)).collect(),
            hasher: RandomState::new(),
            held: AtomicUsize::new(0),
            told: LogThrottle::default(),
        }
    }

    /// Returns when a refusal for `addr` may be given.
    pub(super) async fn hold_back(&self, addr: Option<IpAddr>) {
        if !self.is_too_often(addr) {
            return;
        }
        if self.told.is_due() {
            tracing::warn!(
                addr = addr.map(tracing::field::display),
                "requests without a valid caller key come time and again; they are answered late from now on"
            );
        }
        let held = Held::one_more(&self.held);
        if held.is_some() {
            sleep(HOLD).await;
        }
    }

    fn is_too_often(&self, addr: Option<IpAddr>) -> bool {
        let bucket = self.hasher.hash_one(addr.map(network)) as usize % BUCKETS;
        self.buckets[bucket].check().is_err()
    }
}

/// What is one caller's: an address, or the network of 64 bits that a host of IPv6 has.
fn network(addr: IpAddr) -> IpAddr {
    match addr.to_canonical() {
        IpAddr::V6(addr) => Ipv6Addr::from_bits(addr.to_bits() & !u128::from(u64::MAX)).into(),
        addr @ IpAddr::V4(_) => addr,
    }
}

/// A refusal that is held.
struct Held<'a>(&'a AtomicUsize);

impl<'a> Held<'a> {
    fn one_more(held: &'a AtomicUsize) -> Option<Self> {
        let held = (held.fetch_add(1, Relaxed), Held(held));
        (held.0 < MOST_HELD).then_some(held.1)
    }
}

impl Drop for Held<'_> {
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
    async fn whoever_fails_often_is_told_late_and_others_are_not() {
        let guesses = AuthFailureThrottle::new();
        let held = async |from: Option<IpAddr>| {
            let began = Instant::now();
            guesses.hold_back(from).await;
            began.elapsed()
        };
        for _ in 0..20 {
            assert_eq!(held(addr("2001:db8::1")).await, Duration::ZERO);
        }
        assert_eq!(
            held(addr("2001:db8::2")).await,
            HOLD,
            "it is of the same network"
        );
        let others = (1..=9).map(|last| addr(&format!("192.0.2.{last}")));
        let mut at_once = 0;
        for other in others {
            at_once += usize::from(held(other).await == Duration::ZERO);
        }
        assert!(at_once >= 7, "{at_once} of 9");
    }

    #[test]
    fn an_address_of_ipv4_is_one_however_it_is_written() {
        let network = |text: &str| network(text.parse().unwrap());
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("::ffff:192.0.2.1"), network("::ffff:192.0.2.2"));
        assert_eq!(network("2001:db8::1"), network("2001:db8::2"));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_held_than_there_is_room_for() {
        let guesses = std::sync::Arc::new(AuthFailureThrottle::new());
        while !guesses.is_too_often(None) {}
        for _ in 0..MOST_HELD {
            let guesses = std::sync::Arc::clone(&guesses);
            tokio::spawn(async move { guesses.hold_back(None).await });
        }
        for _ in 0..MOST_HELD {
            tokio::task::yield_now().await;
        }
        assert_eq!(guesses.held.load(Relaxed), MOST_HELD);
        let began = Instant::now();
        guesses.hold_back(None).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        sleep(HOLD * 2).await;
        assert_eq!(guesses.held.load(Relaxed), 0);
    }
}
