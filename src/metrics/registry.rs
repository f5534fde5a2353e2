//! All metrics of a process.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use super::connections::ConnectionMetrics;
use super::failures::{self, FailedRequest};
use super::refused::RefusedConnections;
use super::requests::{AdmissionMetrics, RequestCounts, RequestMetrics};
use super::summary::RequestSummary;
use super::token::TokenMetrics;

/// Metrics of a process.
#[derive(Debug)]
pub struct Metrics {
    /// The names of callers, by number; number 0 stands for requests without a known caller.
    callers: Mutex<Vec<String>>,
    workers: Vec<Arc<WorkerMetrics>>,
    pub(crate) admission: Arc<AdmissionMetrics>,
    /// Login forms that are being read.
    pub(crate) login_forms: Arc<AtomicUsize>,
    pub(crate) token: Arc<TokenMetrics>,
    /// Connections that the listener for callers refused.
    pub(crate) refused: Arc<RefusedConnections>,
    /// Connections that the admin listener refused.
    pub(crate) refused_admin: Arc<RefusedConnections>,
    reloads: Mutex<Reloads>,
    started_at: SystemTime,
    started: Instant,
}

impl Metrics {
    /// Metrics of a process with so many `workers`.
    pub fn new(workers: usize) -> Self {
        Metrics {
            callers: Mutex::new(vec![String::new()]),
            workers: (0..workers).map(|_| Arc::default()).collect(),
            admission: Arc::default(),
            login_forms: Arc::default(),
            token: Arc::default(),
            refused: Arc::default(),
            refused_admin: Arc::default(),
            reloads: Mutex::default(),
            started_at: SystemTime::now(),
            started: Instant::now(),
        }
    }

    /// The number of the caller `name`: it stays the same until the process ends.
    pub(crate) fn caller_number(&self, name: &str) -> usize {
        let mut callers = self.callers.lock();
        callers
            .iter()
            .position(|known| known == name)
            .unwrap_or_else(|| {
                callers.push(name.to_owned());
                callers.len() - 1
            })
    }

    /// The names of callers, by number.
    pub(crate) fn callers(&self) -> Vec<String> {
        self.callers.lock().clone()
    }

    /// Records a reload of the configuration; `problem` says why it was rejected.
    pub(crate) fn record_reload(&self, problem: Option<String>) {
        let mut reloads = self.reloads.lock();
        if problem.is_none() {
            reloads.applied += 1;
        } else {
            reloads.rejected += 1;
        }
        reloads.problem = problem;
    }

    pub(crate) fn reloads(&self) -> Reloads {
        self.reloads.lock().clone()
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn started_at(&self) -> SystemTime {
        self.started_at
    }

    /// The metrics of each worker.
    pub fn workers(&self) -> &[Arc<WorkerMetrics>] {
        &self.workers
    }

    pub(crate) fn requests(&self) -> RequestSummary {
        // In this order: callers never shrink, so each counted caller is among them.
        let counts = self.request_counts();
        RequestSummary::new(counts, self.callers.lock().len())
    }

    pub(super) fn request_counts(&self) -> RequestCounts {
        let mut sum = RequestCounts::default();
        for worker in &self.workers {
            worker.requests.add_to(&mut sum);
        }
        sum
    }

    /// The most recent failed requests, the newest first.
    pub(crate) fn failures(&self) -> Vec<FailedRequest> {
        failures::merge(self.workers.iter().map(|worker| worker.requests.failures()))
    }
}

/// Reloads of the configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reloads {
    pub(crate) applied: u64,
    /// Reloads that left the previous configuration active.
    pub(crate) rejected: u64,
    /// Why the last reload was rejected; `None` if it was applied.
    pub(crate) problem: Option<String>,
}

/// Metrics of one worker.
#[derive(Debug, Default)]
pub struct WorkerMetrics {
    pub(crate) requests: RequestMetrics,
    /// Connections from callers.
    pub(crate) callers: Arc<ConnectionMetrics>,
    /// Connections to the API.
    pub(crate) api: Arc<ConnectionMetrics>,
}
