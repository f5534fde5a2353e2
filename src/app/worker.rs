//! A worker: one thread with a runtime, a listening socket and a pool of upstream connections of
//! its own.
//!
//! A thread per core that shares nothing with the others measured better than one runtime over all
//! cores: no task moves between cores, and no lock is contended.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::sleep;

use super::accounts::{Accounts, PreparedAccount};
use crate::config::{self, Config};
use crate::downstream::{CallerBody, CallerCertificate, PeerInfo, ServerOptions, Socket, Timeouts};
use crate::error::BoxError;
use crate::metrics::{AccountMetrics, WorkerMetrics};
use crate::proxy::{
    self, CheckCertificate, ConnectionIdentity, ConnectionInfo, Policy, RequestBody, SharedState,
    WithContext,
};
use crate::rt::liveness::{self, LivenessProbe, LivenessResponder};
use crate::token::TokenReader;
use crate::upstream::{ConnectionLimit, UpstreamClient};

/// Concurrent DNS lookups of a worker; each takes a thread. Without a bound, a burst of new
/// connections would start hundreds.
const MAX_DNS_LOOKUPS: usize = 4;

type ApiUpstream = UpstreamClient<RequestBody<WithContext<CallerBody>>>;

/// The configuration that a worker uses until the next reload.
#[derive(Clone)]
struct ActiveConfig {
    accounts: Accounts<ActiveAccount>,
    drain_timeout: Duration,
}

impl ActiveConfig {
    fn upstreams(&self) -> impl Iterator<Item = &Arc<ApiUpstream>> {
        self.accounts.iter().map(|account| &account.upstream)
    }
}

/// Policy and upstream for the requests of one account.
#[derive(Clone)]
struct ActiveAccount {
    metrics: Arc<AccountMetrics>,
    tokens: TokenReader,
    policy: Arc<Policy>,
    upstream: Arc<ApiUpstream>,
}

/// Controls a worker while it runs.
#[derive(Clone)]
pub(super) struct WorkerHandle {
    active: watch::Sender<ActiveConfig>,
    timeouts: watch::Sender<Timeouts>,
    metrics: Arc<WorkerMetrics>,
    /// One limit for all upstreams: a replaced one keeps its connections until their requests have
    /// ended.
    limit: ConnectionLimit,
    probe: LivenessProbe,
}

/// The next upstream of an account.
pub(super) struct PreparedUpstream(Arc<ApiUpstream>);

impl WorkerHandle {
    /// Makes an upstream of `account` for a later [`WorkerHandle::reload`].
    ///
    /// # Errors
    /// As those of [`Worker::new`].
    pub(super) fn prepare_upstream(
        &self,
        account: &str,
        config: &config::Upstream,
    ) -> Result<PreparedUpstream, BoxError> {
        let account = self.metrics.account(account);
        UpstreamClient::new(config, account, self.limit.clone())
            .map(|upstream| PreparedUpstream(Arc::new(upstream)))
    }

    /// Applies `config` to all requests from now on. `upstreams` has an entry for each account:
    /// its next upstream, or `None` to keep the current one.
    pub(super) fn reload(
        &self,
        config: &Config,
        shared: &SharedState,
        upstreams: Vec<Option<PreparedUpstream>>,
    ) {
        let mut retired = Vec::new();
        self.active.send_modify(|active| {
            active.drain_timeout = config.drain.timeout;
            for (account, next) in active.accounts.iter_mut().zip(upstreams) {
                let tokens = account.tokens.clone();
                let policy = Policy::new(config, shared, tokens, &self.metrics, &account.metrics);
                account.policy = Arc::new(policy);
                if let Some(PreparedUpstream(next)) = next {
                    retired.push(std::mem::replace(&mut account.upstream, next));
                }
            }
        });
        // Not in the worker: a busy one sees only the last of several reloads.
        for upstream in retired {
            upstream.retire();
        }
        self.timeouts.send_replace(Timeouts::new(&config.listen));
    }

    /// Checks whether the worker responds, once it runs.
    pub(super) fn probe(&self) -> LivenessProbe {
        self.probe.clone()
    }
}

/// A worker that has not started.
pub(super) struct Worker {
    active: watch::Receiver<ActiveConfig>,
    handle: WorkerHandle,
    options: ServerOptions,
    drain: watch::Receiver<bool>,
    responder: LivenessResponder,
}

impl Worker {
    /// A worker that drains when `drain` turns true.
    ///
    /// # Errors
    /// When the certificates or the server name of an upstream cannot be used.
    pub(super) fn new(
        config: &Config,
        mut options: ServerOptions,
        shared: &SharedState,
        accounts: &Accounts<PreparedAccount>,
        metrics: Arc<WorkerMetrics>,
        drain: watch::Receiver<bool>,
    ) -> Result<Self, BoxError> {
        options.connection_metrics = Arc::clone(&metrics.callers);
        let workers = u32::try_from(config.listen.workers.get()).unwrap_or(u32::MAX);
        let max_connections = config.upstream.max_connections;
        let limit = ConnectionLimit::new(max_connections.map(|max| (max / workers).max(1)));
        let accounts = accounts.try_map(|account| {
            let account_metrics = metrics.account(account.name());
            let tokens = account.tokens().clone();
            let policy = Policy::new(config, shared, tokens.clone(), &metrics, &account_metrics);
            let upstream = UpstreamClient::new(
                account.upstream(),
                Arc::clone(&account_metrics),
                limit.clone(),
            )?;
            Ok::<_, BoxError>(ActiveAccount {
                metrics: account_metrics,
                tokens,
                policy: Arc::new(policy),
                upstream: Arc::new(upstream),
            })
        })?;
        let (active_sender, active) = watch::channel(ActiveConfig {
            accounts,
            drain_timeout: config.drain.timeout,
        });
        // A channel for each worker: the workers share no reference count per connection.
        let (timeouts_sender, timeouts) = watch::channel(*options.timeouts.borrow());
        options.timeouts = timeouts;
        let (probe, responder) = liveness::channel();
        Ok(Worker {
            active,
            handle: WorkerHandle {
                active: active_sender,
                timeouts: timeouts_sender,
                metrics,
                limit,
                probe,
            },
            options,
            drain,
            responder,
        })
    }

    pub(super) fn handle(&self) -> WorkerHandle {
        self.handle.clone()
    }

    /// Starts the thread with number `index`. It ends when the worker is drained, at the latest
    /// after `drain.timeout`.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(super) fn start(
        self,
        index: usize,
        socket: Socket,
    ) -> io::Result<JoinHandle<Result<(), BoxError>>> {
        thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .max_blocking_threads(MAX_DNS_LOOKUPS)
                    .build()?;
                let served = runtime.block_on(self.serve(socket));
                // Dropping the runtime would wait for a DNS lookup that hangs.
                runtime.shutdown_background();
                served
            })
    }

    async fn serve(self, socket: Socket) -> Result<(), BoxError> {
        let active = self.active.clone();
        let served = socket.serve(self.options, self.drain.clone(), move |peer| {
            proxy::reloadable(active.clone(), move |active: &ActiveConfig| {
                let ActiveAccount {
                    policy, upstream, ..
                } = active.accounts.choose();
                let peer = identify(policy, &peer);
                proxy::stack(policy, peer, proxy::forward(Arc::clone(upstream)))
            })
        });
        tokio::select! {
            served = served => Ok(served?),
            () = maintain_upstreams(self.active.clone()) => Ok(()),
            () = self.responder.respond() => Ok(()),
            () = drain_timeout(self.drain, self.active) => {
                tracing::warn!("drain.timeout has passed; aborting the requests in flight");
                Ok(())
            }
        }
    }
}

impl CheckCertificate for CallerCertificate {
    fn check(&self) -> Result<(), &'static str> {
        CallerCertificate::check(self)
    }
}

fn identify(policy: &Policy, peer: &PeerInfo) -> ConnectionIdentity {
    let certificate = peer.certificate.as_ref();
    policy.identify(ConnectionInfo {
        addr: peer.addr,
        local: peer.local,
        is_tls: peer.is_tls,
        server_names: peer.server_names.clone(),
        names: certificate.map_or(&[], |certificate| certificate.names()),
        certificate: certificate.map(|certificate| Arc::clone(certificate) as _),
        uid: peer.uid,
    })
}

/// Closes idle connections to the API in time, and keeps `upstream.min_idle` ready.
async fn maintain_upstreams(mut active: watch::Receiver<ActiveConfig>) {
    loop {
        let upstreams: Vec<_> = active.borrow_and_update().upstreams().cloned().collect();
        let replaced = async {
            let is_replaced = |active: &ActiveConfig| {
                let mut pairs = active.upstreams().zip(&upstreams);
                pairs.any(|(next, current)| !Arc::ptr_eq(next, current))
            };
            if active.wait_for(is_replaced).await.is_err() {
                // No reload can come any more.
                pending::<()>().await;
            }
        };
        tokio::select! {
            _ = join_all(upstreams.iter().map(|upstream| upstream.maintain())) => {}
            () = replaced => {}
        }
    }
}

/// Returns when `drain.timeout` has passed since the drain began.
async fn drain_timeout(mut drain: watch::Receiver<bool>, active: watch::Receiver<ActiveConfig>) {
    // An error means that the `App` is dropped, which ends the worker, too.
    let _ = drain.wait_for(|draining| *draining).await;
    let timeout = active.borrow().drain_timeout;
    sleep(timeout).await;
}
