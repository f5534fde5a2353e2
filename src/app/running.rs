//! A running proxy and its shutdown.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::{JoinError, JoinHandle, JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

use super::accounts::{Account, Accounts};
use super::health::ProcessHealth;
use super::worker::WorkerHandle;
use crate::admin;
use crate::config::{Address, Drain};
use crate::error::BoxError;
use crate::metrics::Metrics;
use crate::proxy::SharedState;
use crate::trace::SpanExporter;

/// Timeout of the last span export. The timeout of the exporter does not bound its DNS lookup.
const LAST_EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// A running proxy. Dropping it ends its parts at once; [`App::shut_down`] drains them.
pub struct App {
    pub(super) listener: CallerListener,
    pub(super) accounts: Accounts<Account>,
    pub(super) workers: Workers,
    pub(super) admin: AdminState,
    pub(super) shared: SharedState,
    pub(super) metrics: Arc<Metrics>,
    pub(super) exporter: Option<Arc<SpanExporter>>,
    pub(super) drain: Drain,
}

/// The listener for callers.
pub(super) struct CallerListener {
    pub(super) address: Address,
    /// Whether this process bound the address, and so removes the file of a Unix socket.
    pub(super) is_bound: bool,
    /// Reloads the files of `listen.tls`.
    pub(super) tls_reload: Option<JoinHandle<()>>,
}

/// The worker threads.
pub(super) struct Workers {
    pub(super) handles: Vec<WorkerHandle>,
    pub(super) threads: JoinSet<Result<(), BoxError>>,
    /// Turns true when the workers drain.
    pub(super) drain: watch::Sender<bool>,
}

/// The admin server and the state that it shows.
pub(super) struct AdminState {
    pub(super) server: Option<AdminServer>,
    pub(super) quit: Arc<Notify>,
    /// Turns true when the proxy reports that it is not ready: `drain.delay` before it drains.
    pub(super) unready: watch::Sender<bool>,
    pub(super) caller_limits: watch::Sender<Vec<admin::CallerLimits>>,
}

/// The admin server, if `admin.address` is set.
pub(super) struct AdminServer {
    pub(super) address: Address,
    pub(super) task: JoinHandle<io::Result<()>>,
}

impl App {
    /// The address of the listener, with the actual port.
    pub fn address(&self) -> &Address {
        &self.listener.address
    }

    /// The address of the admin server, with the actual port.
    pub fn admin_address(&self) -> Option<&Address> {
        self.admin.server.as_ref().map(|server| &server.address)
    }

    /// Waits until `POST /quit` asks the proxy to shut down.
    pub fn quit(&self) -> impl Future<Output = ()> + use<> {
        let quit = Arc::clone(&self.admin.quit);
        async move { quit.notified().await }
    }

    /// How long the shutdown waits for requests in flight.
    pub fn drain_timeout(&self) -> Duration {
        self.drain.timeout
    }

    /// Health of the proxy, also during the shutdown.
    pub fn health(&self) -> ProcessHealth {
        let tokens = self.accounts.iter().map(|account| account.tokens().clone());
        let probes = self.workers.handles.iter().map(WorkerHandle::probe);
        ProcessHealth::new(
            tokens.collect(),
            self.admin.unready.subscribe(),
            probes.collect(),
        )
    }

    /// Returns when a worker or a token task has ended by itself, which is a bug.
    pub async fn failed(&mut self) -> BoxError {
        let worker = tokio::select! {
            worker = self.workers.threads.join_next() => worker,
            ended = refresh_ended(&mut self.accounts) => {
                return ended.err().map_or_else(|| "the token task ended".into(), BoxError::from);
            }
        };
        match worker {
            Some(Ok(Err(error))) => error,
            Some(Err(error)) => error.into(),
            Some(Ok(Ok(()))) | None => "a worker ended".into(),
        }
    }

    /// Shuts down: reports not ready, stops accepting after `drain.delay`, and waits for requests in
    /// flight. Each worker drains its connections, and ends them after `drain.timeout`.
    pub async fn shut_down(mut self) {
        self.admin.unready.send_replace(true);
        sleep(self.drain.delay).await;
        if let Address::Unix(path) = &self.listener.address
            && self.listener.is_bound
        {
            // Before the drain: after it the path may belong to the next process. If removing it
            // fails, the next start replaces the file.
            let _ = std::fs::remove_file(path);
        }
        self.workers.drain.send_replace(true);
        self.shared.drain();
        while self.workers.threads.join_next().await.is_some() {}
        if let Some(exporter) = self.exporter.take() {
            // An error means that the exporter panicked or hangs: its last spans are lost.
            let export = spawn_blocking(move || exporter.shut_down());
            let _ = timeout(LAST_EXPORT_TIMEOUT, export).await;
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.workers.drain.send_replace(true);
        if let Some(reload) = &self.listener.tls_reload {
            reload.abort();
        }
        if let Some(server) = &self.admin.server {
            server.task.abort();
        }
    }
}

/// Waits for the first token task that ends.
async fn refresh_ended(accounts: &mut Accounts<Account>) -> Result<(), JoinError> {
    poll_fn(|cx| {
        for account in accounts.iter_mut() {
            if let Poll::Ready(ended) = Pin::new(account.refresh_task()).poll(cx) {
                return Poll::Ready(ended);
            }
        }
        Poll::Pending
    })
    .await
}
