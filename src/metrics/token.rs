//! What is counted of the access token.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::histogram::Histogram;

/// The access token, and the fetches that brought it or did not.
#[derive(Debug, Default)]
pub struct Token {
    generation: AtomicU64,
    /// Seconds since 1970; 0 without a token.
    granted: AtomicI64,
    expires: AtomicI64,
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
    last: Option<Fetch>,
}

/// The fetch that ended last.
#[derive(Clone, Copy, Debug)]
pub struct Fetch {
    /// Why it brought no token; `None` if it brought one.
    pub failure: Option<&'static str>,
    /// When it ended.
    pub at: Instant,
    /// How long it took.
    pub took: Duration,
}

/// How a fetch ended.
#[derive(Clone, Copy, Debug)]
pub enum Fetched {
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

impl Token {
    /// Notes that a fetch has ended, after `time`.
    pub fn note_fetch(&self, fetched: Fetched, time: Duration) {
        let labels = match fetched {
            Fetched::Granted { .. } => ("ok", ""),
            Fetched::Failed { reason } => ("failed", reason),
        };
        if let Fetched::Granted { generation, life } = fetched {
            let now = seconds(SystemTime::now());
            self.generation.store(generation, Relaxed);
            self.granted.store(now, Relaxed);
            self.expires.store(now.saturating_add_unsigned(life.as_secs()), Relaxed);
        }
        let mut fetches = self.fetches.lock().unwrap_or_else(PoisonError::into_inner);
        fetches.times.note(time);
        *fetches.counts.entry(labels).or_default() += 1;
        let now = Instant::now();
        let failure = match fetched {
            Fetched::Granted { .. } => None,
            Fetched::Failed { reason } => Some(reason),
        };
        fetches.last = Some(Fetch { failure, at: now, took: time });
        if let Some(reason) = failure {
            fetches.failed = Some((reason, now));
        }
    }

    /// Notes that somebody waits for a token, until what this gives is dropped.
    pub fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Relaxed);
        Waiting(self)
    }

    /// Notes that another token is asked for because the API refuses the one that is held.
    pub fn note_rejection(&self) {
        self.rejections.fetch_add(1, Relaxed);
    }

    /// Notes that the API has refused a request because of its token.
    pub fn note_unauthorized(&self) {
        self.unauthorized.fetch_add(1, Relaxed);
    }

    /// How long the token still serves, in seconds; 0 without one.
    pub fn left(&self) -> i64 {
        (self.expires.load(Relaxed) - seconds(SystemTime::now())).max(0)
    }

    /// Its number; 0 before the first.
    pub fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    /// Why the last fetch that failed did, and how many seconds ago.
    pub fn last_failure(&self) -> Option<(&'static str, u64)> {
        self.fetches().failed.map(|(reason, at)| (reason, at.elapsed().as_secs()))
    }

    /// The fetch that ended last, if one did.
    pub fn last_fetch(&self) -> Option<Fetch> {
        self.fetches().last
    }

    /// How old it is, in seconds; 0 without one.
    pub fn age(&self) -> i64 {
        match self.granted.load(Relaxed) {
            0 => 0,
            granted => (seconds(SystemTime::now()) - granted).max(0),
        }
    }

    pub(super) fn fetches(&self) -> Fetches {
        self.fetches.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Somebody who waits.
#[derive(Debug)]
pub struct Waiting<'a>(&'a Token);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

fn seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
