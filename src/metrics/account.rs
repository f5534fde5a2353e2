//! Metrics of one account in one worker: its requests, and its connections to the API.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Instant, SystemTime};

use parking_lot::Mutex;

use super::connections::ConnectionMetrics;
use super::requests::RequestMetrics;

/// Handle of an account's metrics in one worker. It carries the name of the account: log lines and
/// spans of the worker use it.
#[derive(Debug, Default)]
pub struct AccountMetrics {
    name: Box<str>,
    /// Requests of this account that have ended.
    pub(crate) requests: Arc<RequestMetrics>,
    /// Connections to the API.
    pub(crate) connections: Arc<ConnectionMetrics>,
    reused: AtomicU64,
    circuit_openings: AtomicU64,
    /// Locked only when a request fails.
    last_failure: Mutex<Option<UpstreamFailure>>,
}

/// A request that got no response from the API.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamFailure {
    pub(crate) ended_at: SystemTime,
    pub(crate) ended: Instant,
    /// The name of the reason.
    pub(crate) reason: &'static str,
    /// The error and its sources.
    pub(crate) cause: Box<str>,
}

impl AccountMetrics {
    pub(super) fn new(name: &str) -> Self {
        AccountMetrics {
            name: name.into(),
            ..AccountMetrics::default()
        }
    }

    /// The name of the account.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Counts a request that was sent over an existing connection.
    pub(crate) fn record_reuse(&self) {
        self.reused.fetch_add(1, Relaxed);
    }

    /// Counts an opening of the circuit breaker.
    pub(crate) fn record_circuit_opening(&self) {
        self.circuit_openings.fetch_add(1, Relaxed);
    }

    /// Records that a request got no response from the API.
    pub(crate) fn record_failure(&self, reason: &'static str, cause: &str) {
        *self.last_failure.lock() = Some(UpstreamFailure {
            ended_at: SystemTime::now(),
            ended: Instant::now(),
            reason,
            cause: cause.into(),
        });
    }

    pub(super) fn last_failure(&self) -> Option<UpstreamFailure> {
        self.last_failure.lock().clone()
    }

    pub(crate) fn circuit_openings(&self) -> u64 {
        self.circuit_openings.load(Relaxed)
    }

    pub(super) fn add_to(&self, sum: &mut UpstreamCounts) {
        sum.open += self.connections.open_now();
        sum.opened += self.connections.opened();
        sum.reused += self.reused.load(Relaxed);
        sum.circuit_openings += self.circuit_openings();
    }
}

/// Connections of one account to the API, over all workers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UpstreamCounts {
    pub(crate) open: u64,
    pub(crate) opened: u64,
    /// Requests that were sent over an existing connection.
    pub(crate) reused: u64,
    pub(crate) circuit_openings: u64,
}
