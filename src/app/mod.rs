//! Wiring only: a configuration becomes parts, and the parts a running proxy.

mod admin_server;
mod health;
pub mod signals;
pub mod systemd;
mod worker;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

use self::admin_server::{admin_limits, start_admin};
pub use self::health::Health;
use self::worker::{Renewal, Worker};
use crate::admin;
use crate::config::{self, Address, Config};
use crate::downstream::{self, Socket, bind, share};
use crate::error::BoxError;
use crate::metrics::{self, Metrics};
use crate::proxy::SharedState;
use crate::rt::liveness::LivenessProbe;
use crate::token::{self, Endpoint, Reader};
use crate::trace::SpanExporter;

/// How long the end waits for the last spans at the most: the exporter's own patience does not
/// bound a look-up of a name.
const LAST_SPANS: Duration = Duration::from_secs(3);

/// A running proxy. Its workers have threads of their own; what renews tokens and certificates runs
/// on the runtime that started it.
pub struct App {
    address: Address,
    shared: SharedState,
    metrics: Arc<Metrics>,
    renewals: Vec<Renewal>,
    /// Whether the file of a Unix socket is ours to remove.
    is_bound: bool,
    tokens: Reader,
    pulses: Vec<LivenessProbe>,
    drain: watch::Sender<bool>,
    workers: JoinSet<Result<(), BoxError>>,
    refresh: JoinHandle<()>,
    admin: Option<JoinHandle<io::Result<()>>>,
    admin_address: Option<Address>,
    quit: Arc<Notify>,
    /// Turns true before `drain` does, by `drain_delay`.
    unready: watch::Sender<bool>,
    /// What callers may, for who asks.
    limits: watch::Sender<Vec<admin::Limits>>,
    drain_delay: Duration,
    drain_timeout: Duration,
    exporter: Option<Arc<SpanExporter>>,
    endpoint: Arc<Endpoint>,
    /// What is in force, to tell whether something else is to be.
    upstream: config::Upstream,
    /// Follows the files of listen.tls.
    renewal: Option<JoinHandle<()>>,
}

/// Why a proxy does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address} ({key})")]
    Listen {
        /// The key that names it.
        key: &'static str,
        /// The address.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
    /// A part cannot be made from its section of the configuration.
    #[error("[{section}] cannot be used")]
    Part {
        /// The section.
        section: &'static str,
        /// Why.
        source: BoxError,
    },
    /// A thread cannot be started.
    #[error("cannot start a worker")]
    Thread(#[source] io::Error),
}

impl StartError {
    /// What to do about it, where that is known.
    pub fn fix(&self) -> Option<&'static str> {
        let StartError::Listen { source, .. } = self else {
            return None;
        };
        match source.kind() {
            io::ErrorKind::AddrInUse => Some(
                "end the process that listens there (ss -ltnp shows it), or write another address",
            ),
            io::ErrorKind::AddrNotAvailable => Some("write an address of this machine"),
            io::ErrorKind::PermissionDenied => Some(
                "a port below 1024 needs CAP_NET_BIND_SERVICE, a Unix socket a directory that may be written to",
            ),
            _ => None,
        }
    }
}

impl App {
    /// Starts the proxy that `config` describes. It listens when this returns; the first token is
    /// still on its way.
    ///
    /// # Errors
    /// When the address is taken, or a part of the configuration cannot be used.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        Self::start_on(config, None).await
    }

    /// The same on a socket that somebody else has bound, where there is `handed` one.
    ///
    /// # Errors
    /// As above.
    pub async fn start_on(config: &Config, handed: Option<Socket>) -> Result<Self, StartError> {
        let part = |section| move |source| StartError::Part { section, source };
        let listen = &config.listen;
        let tls = listen
            .tls
            .as_ref()
            .map(downstream::tls_channel)
            .transpose()
            .map_err(part("listen.tls"))?;
        let (certificates, acceptors) = tls.unzip();
        let endpoint = Arc::new(Endpoint::new(
            token::Client::new(&config.token).map_err(part("token"))?,
        ));
        let metrics = Arc::new(Metrics::new(listen.workers.get()));
        let options =
            downstream::ServerOptions::new(listen, acceptors, Arc::clone(&metrics.refused));
        let (publisher, tokens) =
            token::channel(config.token.wait_timeout, Arc::clone(&metrics.token));
        let exporter = match config.trace.exported.clone() {
            None => None,
            // Its client has a thread of its own, which is not to be waited for here.
            Some(exported) => {
                let started = spawn_blocking(move || SpanExporter::start(&exported)).await;
                let started = started.unwrap_or_else(|panicked| Err(panicked.into()));
                Some(Arc::new(started.map_err(part("trace"))?))
            }
        };
        let shared = SharedState::new(config, &metrics, exporter.clone());
        let (drain, draining) = watch::channel(false);
        let worker = |metrics: &Arc<metrics::WorkerMetrics>| {
            let (options, metrics) = (options.clone(), Arc::clone(metrics));
            Worker::new(
                config,
                options,
                &shared,
                tokens.clone(),
                metrics,
                draining.clone(),
            )
        };
        let workers = metrics
            .workers()
            .iter()
            .map(worker)
            .collect::<Result<Vec<_>, _>>()
            .map_err(part("upstream"))?;

        let cannot_listen = |source| StartError::Listen {
            key: "listen.address",
            address: listen.address.clone(),
            source,
        };
        let is_bound = handed.is_none();
        let sockets = match handed {
            Some(socket) => share(socket, workers.len()),
            None => bind(&listen.address, listen.socket_mode, workers.len()),
        }
        .map_err(cannot_listen)?;
        let address = sockets[0].address().map_err(cannot_listen)?;

        let pulses: Vec<_> = workers.iter().map(Worker::pulse).collect();
        let (limits, limits_told) = watch::channel(admin_limits(config));
        let (unready, draining_soon) = watch::channel(false);
        let quit = Arc::new(Notify::new());
        let (admin, admin_address) = match &config.admin.address {
            None => (None, None),
            Some(address) => {
                let handles = admin::Handles {
                    metrics: Arc::clone(&metrics),
                    tokens: tokens.clone(),
                    draining: draining_soon,
                    quit: Arc::clone(&quit),
                    limits: limits_told,
                    workers: pulses.clone(),
                };
                let (task, address) = start_admin(address, config, handles)?;
                (Some(task), Some(address))
            }
        };
        let asking = Arc::clone(&endpoint);
        let refresh = tokio::spawn(async move {
            let default_lifetime = || asking.default_lifetime();
            token::refresh(
                || asking.fetch(),
                || asking.changed(),
                publisher,
                default_lifetime,
            )
            .await;
        });
        let renewal = listen.tls.clone().zip(certificates);
        let renewal = renewal
            .map(|(tls, publisher)| tokio::spawn(downstream::reload_tls_on_change(tls, publisher)));
        let renewals = workers.iter().map(Worker::renewal).collect();
        let mut threads = JoinSet::new();
        for (index, (worker, socket)) in workers.into_iter().zip(sockets).enumerate() {
            let thread = worker.start(index, socket).map_err(StartError::Thread)?;
            threads.spawn(join(thread));
        }
        Ok(App {
            address,
            is_bound,
            tokens,
            pulses,
            shared,
            metrics,
            renewals,
            drain,
            workers: threads,
            refresh,
            admin,
            admin_address,
            quit,
            unready,
            limits,
            drain_delay: config.drain.delay,
            drain_timeout: config.drain.timeout,
            exporter,
            endpoint,
            upstream: config.upstream.clone(),
            renewal,
        })
    }

    /// Where it listens, with the port that was really taken.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Where health and metrics are told, with the port that was really taken.
    pub fn admin_address(&self) -> Option<&Address> {
        self.admin_address.as_ref()
    }

    /// Waits until somebody has asked it to end (`POST /quit`).
    pub fn quit(&self) -> impl Future<Output = ()> + use<> {
        let quit = Arc::clone(&self.quit);
        async move { quit.notified().await }
    }

    /// Puts `config` in force for all requests that come from now on, but for where is listened and
    /// by how many workers, which is what the process was started with.
    ///
    /// # Errors
    /// When a part of it cannot be used; then nothing is changed.
    pub async fn reload(&mut self, config: &Config) -> Result<(), StartError> {
        let part = |section| move |source| StartError::Part { section, source };
        // These go with what the listeners do, and with the limit of open files: both stay.
        let config::Upstream {
            keep_header_case,
            max_connections,
            ..
        } = self.upstream;
        let reached = config::Upstream {
            keep_header_case,
            max_connections,
            ..config.upstream.clone()
        };
        let client = match self.endpoint.goes_by(&config.token) {
            true => None,
            false => {
                let token = config.token.clone();
                let made = spawn_blocking(move || token::Client::new(&token)).await;
                Some(
                    made.unwrap_or_else(|panicked| Err(panicked.into()))
                        .map_err(part("token"))?,
                )
            }
        };
        let prepare = |renewal: &Renewal| match reached == self.upstream {
            true => Ok(None),
            false => renewal.prepare(&reached).map(Some),
        };
        let upstreams = self
            .renewals
            .iter()
            .map(prepare)
            .collect::<Result<Vec<_>, _>>();
        let upstreams = upstreams.map_err(part("upstream"))?;
        // From here on nothing fails.
        self.shared = self.shared.reload(config, &self.metrics);
        for (renewal, upstream) in self.renewals.iter().zip(upstreams) {
            renewal.renew(config, &self.shared, upstream);
        }
        if let Some(client) = client {
            self.endpoint.renew(client);
        }
        self.upstream = reached;
        self.limits.send_replace(admin_limits(config));
        self.drain_delay = config.drain.delay;
        self.drain_timeout = config.drain.timeout;
        self.metrics.record_reload(None);
        Ok(())
    }

    /// Notes that a configuration is not put in force, and why.
    pub fn record_rejected_config(&self, problem: String) {
        self.metrics.record_reload(Some(problem));
    }

    /// How long requests in flight are waited for in the end.
    pub fn drain_timeout(&self) -> Duration {
        self.drain_timeout
    }

    /// How it is, for whoever watches over the process.
    pub fn health(&self) -> Health {
        let (tokens, draining) = (self.tokens.clone(), self.unready.subscribe());
        Health {
            tokens,
            draining,
            pulses: self.pulses.clone(),
        }
    }

    /// Ends when a worker or the token task has ended by itself, which none should.
    pub async fn failed(&mut self) -> BoxError {
        let worker = tokio::select! {
            worker = self.workers.join_next() => worker,
            ended = &mut self.refresh => {
                return ended.err().map_or_else(|| "the token task ended".into(), BoxError::from);
            }
        };
        match worker {
            Some(Ok(Err(error))) => error,
            Some(Err(error)) => error.into(),
            Some(Ok(Ok(()))) | None => "a worker ended".into(),
        }
    }

    /// Says that it is not ready, and after `drain.delay` stops accepting; lets requests in flight
    /// finish for up to `drain.timeout`, and returns when all is done.
    pub async fn shut_down(mut self) {
        self.unready.send_replace(true);
        sleep(self.drain_delay).await;
        if let Address::Unix(path) = &self.address
            && self.is_bound
        {
            // Now, not in the end: by then it may be the socket of a successor. If it cannot be
            // removed, the next start replaces it.
            let _ = std::fs::remove_file(path);
        }
        self.drain.send_replace(true);
        self.shared.drain();
        while self.workers.join_next().await.is_some() {}
        if let Some(exporter) = self.exporter.take() {
            // An error means that it panicked, or hangs; what it did not tell is lost.
            let _ = timeout(LAST_SPANS, spawn_blocking(move || exporter.shut_down())).await;
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.drain.send_replace(true);
        self.refresh.abort();
        if let Some(renewal) = &self.renewal {
            renewal.abort();
        }
        if let Some(admin) = &self.admin {
            admin.abort();
        }
    }
}

async fn join(thread: std::thread::JoinHandle<Result<(), BoxError>>) -> Result<(), BoxError> {
    match spawn_blocking(move || thread.join()).await? {
        Ok(ended) => ended,
        Err(_) => Err("a worker panicked".into()),
    }
}
