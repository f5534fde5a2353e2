//! Metrics of an account's access token and of the fetches that replace it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use super::histogram::Histogram;

/// Metrics of the access token of one account. They carry the name of the account: log lines about
/// the token use it.
#[derive(Debug, Default)]
pub struct TokenMetrics {
    account: Box<str>,
    generation: AtomicU64,
    waiters: AtomicI64,
    rejections: AtomicU64,
    unauthorized: AtomicU64,
    /// 0 without a client certificate.
    certificate_end: AtomicU64,
    fetches: Mutex<TokenFetches>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct TokenFetches {
    pub(super) times: Histogram,
    /// By outcome and reason.
    pub(super) counts: BTreeMap<(&'static str, &'static str), u64>,
    granted: Option<TokenLifetime>,
}

/// Start and length of the newest token's lifetime, on both clocks.
///
/// The monotonic clock stands still while the machine sleeps, and the wall clock can be set back:
/// the one that has advanced further counts, as for the token itself.
#[derive(Clone, Copy, Debug)]
struct TokenLifetime {
    monotonic: Instant,
    wall: SystemTime,
    lifetime: Duration,
}

impl TokenLifetime {
    fn starting_now(lifetime: Duration) -> Self {
        TokenLifetime {
            monotonic: Instant::now(),
            wall: SystemTime::now(),
            lifetime,
        }
    }

    fn age(&self, now: Instant, wall: SystemTime) -> Duration {
        let by_wall = wall.duration_since(self.wall).unwrap_or_default();
        now.saturating_duration_since(self.monotonic).max(by_wall)
    }

    fn remaining(&self, now: Instant, wall: SystemTime) -> Duration {
        self.lifetime.saturating_sub(self.age(now, wall))
    }
}

/// Outcome of a fetch.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FetchOutcome {
    /// A token with this generation.
    Granted {
        /// The number of the token.
        generation: u64,
        /// How long the token may be sent.
        life: Duration,
    },
    /// No token.
    Failed {
        /// The label of the failure.
        reason: &'static str,
    },
}

impl TokenMetrics {
    pub(super) fn new(account: &str) -> Self {
        TokenMetrics {
            account: account.into(),
            ..TokenMetrics::default()
        }
    }

    /// The name of the account.
    pub(crate) fn account(&self) -> &str {
        &self.account
    }

    /// Records a fetch that has ended.
    pub(crate) fn record_fetch(&self, outcome: FetchOutcome, took: Duration) {
        let mut fetches = self.fetches.lock();
        let labels = match outcome {
            FetchOutcome::Granted { generation, life } => {
                self.generation.store(generation, Relaxed);
                fetches.granted = Some(TokenLifetime::starting_now(life));
                ("ok", "")
            }
            FetchOutcome::Failed { reason } => ("failed", reason),
        };
        fetches.times.record(took);
        *fetches.counts.entry(labels).or_default() += 1;
    }

    /// Sets the end of the certificate that the last fetch presented, if any.
    pub(crate) fn set_certificate_end(&self, end: Option<u64>) {
        self.certificate_end.store(end.unwrap_or(0), Relaxed);
    }

    pub(super) fn certificate_end(&self) -> Option<u64> {
        let end = self.certificate_end.load(Relaxed);
        (end > 0).then_some(end)
    }

    /// Counts a request that waits for a token, until the returned guard is dropped.
    pub(crate) fn count_waiter(&self) -> TokenWaiter<'_> {
        self.waiters.fetch_add(1, Relaxed);
        TokenWaiter(self)
    }

    /// Records that the API rejected the current token, and that it is replaced.
    pub(crate) fn record_rejection(&self) {
        self.rejections.fetch_add(1, Relaxed);
    }

    /// Records a response of the API that rejects the token of its request.
    pub(crate) fn record_unauthorized(&self) {
        self.unauthorized.fetch_add(1, Relaxed);
    }

    /// The time in which the token may still be sent; 0 without a token.
    pub(crate) fn remaining_seconds(&self) -> u64 {
        self.seconds(TokenLifetime::remaining)
    }

    /// The age of the newest token; 0 before the first.
    pub(crate) fn age_seconds(&self) -> u64 {
        self.seconds(TokenLifetime::age)
    }

    fn seconds(&self, time: fn(&TokenLifetime, Instant, SystemTime) -> Duration) -> u64 {
        let granted = self.fetches.lock().granted;
        granted.map_or(0, |lifetime| {
            time(&lifetime, Instant::now(), SystemTime::now()).as_secs()
        })
    }

    /// The number of the newest token; 0 before the first.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    pub(super) fn waiters(&self) -> i64 {
        self.waiters.load(Relaxed)
    }

    pub(super) fn rejections(&self) -> u64 {
        self.rejections.load(Relaxed)
    }

    pub(super) fn unauthorized(&self) -> u64 {
        self.unauthorized.load(Relaxed)
    }

    pub(super) fn fetches(&self) -> TokenFetches {
        self.fetches.lock().clone()
    }
}

/// Guard of a request that waits for a token.
#[derive(Debug)]
pub(crate) struct TokenWaiter<'a>(&'a TokenMetrics);

impl Drop for TokenWaiter<'_> {
    fn drop(&mut self) {
        self.0.waiters.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Age and remaining lifetime in seconds of a token with a lifetime of one hour, after the
    /// clocks have advanced by so many seconds.
    fn age_and_remaining(monotonic: u64, wall: i64) -> (u64, u64) {
        let lifetime = TokenLifetime::starting_now(Duration::from_secs(3600));
        let by = Duration::from_secs(wall.unsigned_abs());
        let wall = if wall < 0 {
            lifetime.wall - by
        } else {
            lifetime.wall + by
        };
        let now = lifetime.monotonic + Duration::from_secs(monotonic);
        (
            lifetime.age(now, wall).as_secs(),
            lifetime.remaining(now, wall).as_secs(),
        )
    }

    #[test]
    fn a_wall_clock_set_back_extends_no_lifetime() {
        assert_eq!(age_and_remaining(600, 600), (600, 3000));
        assert_eq!(age_and_remaining(600, -86_400), (600, 3000));
        assert_eq!(age_and_remaining(7200, -86_400), (7200, 0));
    }

    #[test]
    fn sleep_of_the_machine_counts_as_age() {
        assert_eq!(age_and_remaining(10, 3000), (3000, 600));
        assert_eq!(age_and_remaining(10, 90_000), (90_000, 0));
    }
}
