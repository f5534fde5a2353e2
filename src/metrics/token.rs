//! What is counted of the access token.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::histogram::Histogram;

/// The access token, and the fetches that brought it or did not.
#[derive(Debug, Default)]
pub struct TokenMetrics {
    generation: AtomicU64,
    pub(super) waiting: AtomicI64,
    pub(super) rejections: AtomicU64,
    pub(super) unauthorized: AtomicU64,
    fetches: Mutex<Fetches>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Fetches {
    pub(super) times: Histogram,
    /// By outcome and reason.
    pub(super) counts: BTreeMap<(&'static str, &'static str), u64>,
    /// Why the last one that failed did, and when.
    failed: Option<(&'static str, Instant)>,
    last: Option<LastFetch>,
    granted: Option<TokenLifetime>,
}

/// When the newest token was granted, on both clocks, and for how long.
///
/// The monotonic clock stands still while the machine sleeps, and the wall clock can be set back:
/// the one that has advanced further counts, as it does for the token itself.
#[derive(Clone, Copy, Debug)]
struct TokenLifetime {
    monotonic: Instant,
    wall: SystemTime,
    lifetime: Duration,
}

impl TokenLifetime {
    fn new(lifetime: Duration) -> Self {
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

    fn left(&self, now: Instant, wall: SystemTime) -> Duration {
        self.lifetime.saturating_sub(self.age(now, wall))
    }
}

/// The fetch that ended last.
#[derive(Clone, Copy, Debug)]
pub struct LastFetch {
    /// Why it brought no token; `None` if it brought one.
    pub failure: Option<&'static str>,
    /// When it ended.
    pub at: Instant,
    /// How long it took.
    pub took: Duration,
}

/// How a fetch ended.
#[derive(Clone, Copy, Debug)]
pub enum FetchOutcome {
    /// With a token of this generation, that is sent for so long.
    Granted {
        /// The number of the token.
        generation: u64,
        /// How long it serves.
        life: Duration,
    },
    /// Without.
    Failed {
        /// One word for why.
        reason: &'static str,
    },
}

impl TokenMetrics {
    /// Notes that a fetch has ended, after `time`.
    pub fn record_fetch(&self, fetched: FetchOutcome, time: Duration) {
        let labels = match fetched {
            FetchOutcome::Granted { .. } => ("ok", ""),
            FetchOutcome::Failed { reason } => ("failed", reason),
        };
        let mut fetches = self.fetches.lock().unwrap_or_else(PoisonError::into_inner);
        if let FetchOutcome::Granted { generation, life } = fetched {
            self.generation.store(generation, Relaxed);
            fetches.granted = Some(TokenLifetime::new(life));
        }
        fetches.times.note(time);
        *fetches.counts.entry(labels).or_default() += 1;
        let now = Instant::now();
        let failure = match fetched {
            FetchOutcome::Granted { .. } => None,
            FetchOutcome::Failed { reason } => Some(reason),
        };
        fetches.last = Some(LastFetch {
            failure,
            at: now,
            took: time,
        });
        if let Some(reason) = failure {
            fetches.failed = Some((reason, now));
        }
    }

    /// Notes that somebody waits for a token, until what this gives is dropped.
    pub fn wait(&self) -> TokenWaiter<'_> {
        self.waiting.fetch_add(1, Relaxed);
        TokenWaiter(self)
    }

    /// Notes that another token is asked for because the API refuses the one that is held.
    pub fn record_rejection(&self) {
        self.rejections.fetch_add(1, Relaxed);
    }

    /// Notes that the API has refused a request because of its token.
    pub fn record_unauthorized(&self) {
        self.unauthorized.fetch_add(1, Relaxed);
    }

    /// How long the token still serves, in seconds; 0 without one.
    pub fn left(&self) -> u64 {
        let granted = self.granted();
        granted.map_or(0, |grant| {
            grant.left(Instant::now(), SystemTime::now()).as_secs()
        })
    }

    /// Its number; 0 before the first.
    pub fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    /// Why the last fetch that failed did, and how many seconds ago.
    pub fn last_failure(&self) -> Option<(&'static str, u64)> {
        self.fetches()
            .failed
            .map(|(reason, at)| (reason, at.elapsed().as_secs()))
    }

    /// The fetch that ended last, if one did.
    pub fn last_fetch(&self) -> Option<LastFetch> {
        self.fetches().last
    }

    /// How old it is, in seconds; 0 without one.
    pub fn age(&self) -> u64 {
        let granted = self.granted();
        granted.map_or(0, |grant| {
            grant.age(Instant::now(), SystemTime::now()).as_secs()
        })
    }

    fn granted(&self) -> Option<TokenLifetime> {
        self.fetches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .granted
    }

    pub(super) fn fetches(&self) -> Fetches {
        self.fetches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Somebody who waits.
#[derive(Debug)]
pub struct TokenWaiter<'a>(&'a TokenMetrics);

impl Drop for TokenWaiter<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Age and remaining seconds of a token that lives for an hour, when the two clocks have
    /// advanced by so many seconds.
    fn age_and_left(monotonic: u64, wall: i64) -> (u64, u64) {
        let grant = TokenLifetime::new(Duration::from_secs(3600));
        let by = Duration::from_secs(wall.unsigned_abs());
        let wall = if wall < 0 {
            grant.wall - by
        } else {
            grant.wall + by
        };
        let now = grant.monotonic + Duration::from_secs(monotonic);
        (
            grant.age(now, wall).as_secs(),
            grant.left(now, wall).as_secs(),
        )
    }

    #[test]
    fn a_wall_clock_set_back_prolongs_no_token() {
        assert_eq!(age_and_left(600, 600), (600, 3000));
        assert_eq!(age_and_left(600, -86_400), (600, 3000));
        assert_eq!(age_and_left(7200, -86_400), (7200, 0));
    }

    #[test]
    fn a_machine_that_slept_has_an_older_token() {
        assert_eq!(age_and_left(10, 3000), (3000, 600));
        assert_eq!(age_and_left(10, 90_000), (90_000, 0));
    }
}
