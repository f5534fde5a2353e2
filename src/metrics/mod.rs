//! What is counted, as plain handles for those who count, and as text for whoever asks.
//!
//! What belongs to requests is counted by each worker for itself, under a lock that no other worker
//! takes, and summed up when somebody asks, every few seconds. Labels are bounded: callers of the
//! configuration, endpoints of `gbg`, statuses, reasons.

mod failures;
mod histogram;
mod refused;
mod requests;
mod summary;
mod text;
mod token;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

pub use self::failures::FailedRequest;
pub use self::histogram::Histogram;
pub use self::refused::{ConnectionRefusal, RefusedConnections};
use self::requests::Counts;
pub use self::requests::{Outcome, RequestMetrics, ResponseSource};
pub use self::summary::{CallerCounts, RequestSummary};
pub use self::text::{OPEN_METRICS, PLAIN};
pub use self::token::{FetchOutcome, LastFetch, TokenMetrics};

/// All that is counted in a process.
#[derive(Debug)]
pub struct Metrics {
    /// The names of callers, by their numbers; the first is of those who have none.
    callers: Mutex<Vec<String>>,
    workers: Vec<Arc<WorkerMetrics>>,
    /// Who is in flight, and who waits.
    pub places: Arc<AdmissionMetrics>,
    /// Login forms that are being read.
    pub login_forms: Arc<AtomicUsize>,
    /// The access token.
    pub token: Arc<TokenMetrics>,
    /// Connections that the listener for callers refused.
    pub refused: Arc<RefusedConnections>,
    /// Connections that the admin listener refused.
    pub refused_admin: Arc<RefusedConnections>,
    reloads: Mutex<Reloads>,
    began: SystemTime,
    /// The same on the clock that nobody sets.
    began_monotonic: Instant,
}

impl Metrics {
    /// Those of a process with so many `workers`.
    pub fn new(workers: usize) -> Self {
        Metrics {
            callers: Mutex::new(vec![String::new()]),
            workers: (0..workers).map(|_| Arc::default()).collect(),
            places: Arc::default(),
            login_forms: Arc::default(),
            token: Arc::default(),
            refused: Arc::default(),
            refused_admin: Arc::default(),
            reloads: Mutex::default(),
            began: SystemTime::now(),
            began_monotonic: Instant::now(),
        }
    }

    /// The number of the caller `name`, the same for as long as the process lives.
    pub fn caller_number(&self, name: &str) -> usize {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        callers
            .iter()
            .position(|known| known == name)
            .unwrap_or_else(|| {
                callers.push(name.to_owned());
                callers.len() - 1
            })
    }

    /// The names of callers, by their numbers; the first is of those who have none.
    pub fn callers(&self) -> Vec<String> {
        self.callers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Notes that the configuration was read again, and what was wrong with it, if it is not used.
    pub fn record_reload(&self, problem: Option<String>) {
        let mut reloads = self.reloads.lock().unwrap_or_else(PoisonError::into_inner);
        match problem {
            None => reloads.taken += 1,
            Some(_) => reloads.refused += 1,
        }
        reloads.problem = problem;
    }

    /// How the configuration fared that was read again.
    pub fn reloads(&self) -> Reloads {
        self.reloads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// For how long it has run.
    pub fn uptime(&self) -> Duration {
        self.began_monotonic.elapsed()
    }

    fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        self.workers
            .iter()
            .for_each(|worker| worker.requests.add_to(&mut sum));
        sum
    }

    /// What each worker counts in.
    pub fn workers(&self) -> &[Arc<WorkerMetrics>] {
        &self.workers
    }
}

/// How the configuration fared that was read again while the process ran.
#[derive(Clone, Debug, Default)]
pub struct Reloads {
    /// Times that it was taken.
    pub taken: u64,
    /// Times that it was not, and the last good one stayed.
    pub refused: u64,
    /// What was wrong with it the last time; `None` where nothing was.
    pub problem: Option<String>,
}

/// What one worker counts.
#[derive(Debug, Default)]
pub struct WorkerMetrics {
    /// Requests that have ended.
    pub requests: RequestMetrics,
    /// Connections of callers.
    pub callers: Arc<ConnectionMetrics>,
    /// Connections to the API.
    pub api: Arc<ConnectionMetrics>,
}

/// Connections of one side.
#[derive(Debug, Default)]
pub struct ConnectionMetrics {
    opened: AtomicU64,
    closed: AtomicU64,
    /// Requests that found one open.
    reused: AtomicU64,
    /// Times that opening one was given up for the moment.
    given_up: AtomicU64,
}

impl ConnectionMetrics {
    /// Counts one that has opened; it is open until what this gives is dropped.
    pub fn open(self: &Arc<Self>) -> OpenConnection {
        self.opened.fetch_add(1, Relaxed);
        OpenConnection(Arc::clone(self))
    }

    /// Counts that opening one is given up for the moment.
    pub fn record_circuit_opening(&self) {
        self.given_up.fetch_add(1, Relaxed);
    }

    /// How often opening one was given up for the moment.
    pub fn given_up(&self) -> u64 {
        self.given_up.load(Relaxed)
    }

    /// Counts a request that needed no new one.
    pub fn record_reuse(&self) {
        self.reused.fetch_add(1, Relaxed);
    }
}

/// A connection that is open.
#[derive(Debug)]
pub struct OpenConnection(Arc<ConnectionMetrics>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.closed.fetch_add(1, Relaxed);
    }
}

/// Requests in flight, and those that wait for it.
#[derive(Debug, Default)]
pub struct AdmissionMetrics {
    /// In flight.
    pub in_flight: AtomicUsize,
    /// Waiting.
    pub queued: AtomicUsize,
}

impl AdmissionMetrics {
    /// How many are in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Relaxed)
    }

    /// How many wait.
    pub fn queue(&self) -> usize {
        self.queued.load(Relaxed)
    }
}
