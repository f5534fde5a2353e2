//! All metrics of a process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use super::account::{AccountMetrics, UpstreamCounts, UpstreamFailure};
use super::connections::ConnectionMetrics;
use super::expiry::{CertificateEnd, CertificateUse, Expiries};
use super::failures::{self, FailureGroup};
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
    /// One for each account, in the order of the configuration.
    tokens: Mutex<Vec<Arc<TokenMetrics>>>,
    /// Connections that the listener for callers refused.
    pub(crate) refused: Arc<RefusedConnections>,
    /// Connections that the admin listener refused.
    pub(crate) refused_admin: Arc<RefusedConnections>,
    reloads: Mutex<Reloads>,
    pub(crate) expiries: Arc<Expiries>,
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
            tokens: Mutex::default(),
            refused: Arc::default(),
            refused_admin: Arc::default(),
            reloads: Mutex::default(),
            expiries: Arc::default(),
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

    /// The metrics of the token of `account`: they stay the same until the process ends.
    pub(crate) fn token(&self, account: &str) -> Arc<TokenMetrics> {
        let mut tokens = self.tokens.lock();
        let known = tokens.iter().find(|token| token.account() == account);
        known.map(Arc::clone).unwrap_or_else(|| {
            let token = Arc::new(TokenMetrics::new(account));
            tokens.push(Arc::clone(&token));
            token
        })
    }

    /// The token metrics of all accounts.
    pub(super) fn tokens(&self) -> Vec<Arc<TokenMetrics>> {
        self.tokens.lock().clone()
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

    /// Records the changed keys that need a restart, as of the last reload.
    pub(crate) fn record_restart_keys(&self, keys: Vec<String>) {
        self.reloads.lock().restart_keys = keys;
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
        let mut counts = RequestCounts::default();
        for (_, requests) in self.request_metrics() {
            requests.add_to(&mut counts);
        }
        // After the counts: callers never shrink, so each counted caller is among them.
        RequestSummary::new(counts, self.callers.lock().len())
    }

    /// Requests by account; the empty name stands for requests that got none.
    pub(super) fn request_counts(&self) -> BTreeMap<Box<str>, RequestCounts> {
        let mut counts = BTreeMap::<_, RequestCounts>::new();
        for (account, requests) in self.request_metrics() {
            requests.add_to(counts.entry(account).or_default());
        }
        counts
    }

    /// The request metrics of all workers, with the account that they are about.
    fn request_metrics(&self) -> Vec<(Box<str>, Arc<RequestMetrics>)> {
        let mut all = Vec::new();
        for worker in &self.workers {
            all.push((Box::default(), Arc::clone(&worker.without_account)));
            let accounts = worker.accounts().into_iter();
            all.extend(
                accounts.map(|account| (account.name().into(), Arc::clone(&account.requests))),
            );
        }
        all
    }

    /// The connections of each account to the API.
    pub(crate) fn upstream_counts(&self) -> BTreeMap<Box<str>, UpstreamCounts> {
        let mut counts = BTreeMap::<_, UpstreamCounts>::new();
        for account in self.workers.iter().flat_map(|worker| worker.accounts()) {
            account.add_to(counts.entry(account.name().into()).or_default());
        }
        counts
    }

    /// The last failure of each account to get a response from the API.
    pub(crate) fn upstream_failures(&self) -> BTreeMap<Box<str>, UpstreamFailure> {
        let mut last = BTreeMap::<Box<str>, UpstreamFailure>::new();
        for account in self.workers.iter().flat_map(|worker| worker.accounts()) {
            let Some(failure) = account.last_failure() else {
                continue;
            };
            let newest = last.get(account.name());
            if newest.is_none_or(|newest| newest.ended < failure.ended) {
                last.insert(account.name().into(), failure);
            }
        }
        last
    }

    /// The ends of all certificates.
    pub(crate) fn certificates(&self) -> Vec<CertificateEnd> {
        let mut ends = self.expiries.certificates();
        ends.extend(self.tokens().iter().filter_map(|token| {
            Some(CertificateEnd {
                used: CertificateUse::Token,
                account: token.account().into(),
                end: token.certificate_end()?,
            })
        }));
        ends
    }

    /// The most recent failed requests, the newest first.
    pub(crate) fn failures(&self) -> Vec<FailureGroup> {
        let requests = self.request_metrics();
        failures::merge(requests.iter().map(|(_, requests)| requests.failures()))
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
    /// Changed keys that need a restart.
    pub(crate) restart_keys: Vec<String>,
}

/// Metrics of one worker.
#[derive(Debug, Default)]
pub struct WorkerMetrics {
    /// Requests that ended before they got an account.
    pub(crate) without_account: Arc<RequestMetrics>,
    accounts: Mutex<Vec<Arc<AccountMetrics>>>,
    /// Connections from callers.
    pub(crate) callers: Arc<ConnectionMetrics>,
}

impl WorkerMetrics {
    /// The metrics of the account `name`: they stay the same until the process ends.
    pub fn account(&self, name: &str) -> Arc<AccountMetrics> {
        let mut accounts = self.accounts.lock();
        let known = accounts.iter().find(|account| account.name() == name);
        known.map(Arc::clone).unwrap_or_else(|| {
            let account = Arc::new(AccountMetrics::new(name));
            accounts.push(Arc::clone(&account));
            account
        })
    }

    fn accounts(&self) -> Vec<Arc<AccountMetrics>> {
        self.accounts.lock().clone()
    }
}
