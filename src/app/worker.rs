//! A worker: one thread with a runtime, a listener and a pool of upstream connections of its own.
//!
//! A thread per core that shares nothing with the others measured better than one runtime over all
//! cores: no task moves between cores, and no lock is contended.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use crate::config::{self, Config};
use crate::downstream::{self, CallerBody, CallerCertificate, Socket, Timeouts};
use crate::error::BoxError;
use crate::metrics;
use crate::proxy::{
    self, CheckCertificate, ConnectionInfo, Policy, RequestBody, SharedState, WithContext,
};
use crate::rt::liveness::{self, LivenessProbe, LivenessResponder};
use crate::token::Reader;
use crate::upstream::{ConnectionLimit, Upstream};

/// Look-ups of the API's name that a worker makes at once; each takes a thread. Without a bound, a
/// burst of new connections would start hundreds.
const LOOK_UPS: usize = 4;

/// The API, as a worker reaches it.
type Api = Upstream<RequestBody<WithContext<CallerBody>>>;

/// What a worker goes by, until it is given something else.
#[derive(Clone)]
struct InForce {
    policy: Arc<Policy>,
    upstream: Arc<Api>,
    drain_timeout: Duration,
}

/// Gives a worker something else to go by while it runs.
#[derive(Clone)]
pub(super) struct Renewal {
    in_force: watch::Sender<InForce>,
    timeouts: watch::Sender<Timeouts>,
    tokens: Reader,
    metrics: Arc<metrics::WorkerMetrics>,
    /// One for all upstreams: the connections of a former one are open until what is in flight has
    /// ended.
    limit: ConnectionLimit,
}

/// An upstream that is to take the place of a worker's.
pub(super) struct Prepared(Arc<Api>);

impl Renewal {
    /// Makes an upstream of `config`, to be put in force later.
    ///
    /// # Errors
    /// As those of [`Worker::new`].
    pub(super) fn prepare(&self, config: &config::Upstream) -> Result<Prepared, BoxError> {
        Ok(Prepared(Arc::new(Upstream::new(
            config,
            Arc::clone(&self.metrics.api),
            self.limit.clone(),
        )?)))
    }

    /// Puts what `config` says in force, for all requests that come from now on: with another
    /// upstream, if there is one.
    pub(super) fn renew(&self, config: &Config, shared: &SharedState, upstream: Option<Prepared>) {
        let policy = Policy::new(
            config,
            shared,
            self.tokens.clone(),
            Arc::clone(&self.metrics),
        );
        let mut former = None;
        self.in_force.send_modify(|in_force| {
            in_force.policy = Arc::new(policy);
            in_force.drain_timeout = config.drain.timeout;
            if let Some(Prepared(upstream)) = upstream {
                former = Some(std::mem::replace(&mut in_force.upstream, upstream));
            }
        });
        // Here, since a worker that is busy sees the last of several changes alone.
        if let Some(former) = former {
            former.retire();
        }
        self.timeouts.send_replace(Timeouts::new(&config.listen));
    }
}

/// A worker that has not begun.
pub(super) struct Worker {
    in_force: watch::Receiver<InForce>,
    renewal: Renewal,
    options: downstream::ServerOptions,
    drain: watch::Receiver<bool>,
    pulse: LivenessProbe,
    heart: LivenessResponder,
}

impl Worker {
    /// The worker that `config` describes. It is to end when `drain` turns true.
    ///
    /// # Errors
    /// When the upstream's certificates or name are of no use.
    pub(super) fn new(
        config: &Config,
        mut options: downstream::ServerOptions,
        shared: &SharedState,
        tokens: Reader,
        metrics: Arc<metrics::WorkerMetrics>,
        drain: watch::Receiver<bool>,
    ) -> Result<Self, BoxError> {
        options.connection_metrics = Arc::clone(&metrics.callers);
        let workers = u32::try_from(config.listen.workers.get()).unwrap_or(u32::MAX);
        let limit = ConnectionLimit::new(
            config
                .upstream
                .max_connections
                .map(|max| (max / workers).max(1)),
        );
        let upstream = Upstream::new(&config.upstream, Arc::clone(&metrics.api), limit.clone())?;
        let first = InForce {
            policy: Arc::new(Policy::new(
                config,
                shared,
                tokens.clone(),
                Arc::clone(&metrics),
            )),
            upstream: Arc::new(upstream),
            drain_timeout: config.drain.timeout,
        };
        let (renewing, in_force) = watch::channel(first);
        // A channel of its own, that workers share no reference count for each connection.
        let (timeouts, timeouts_in_force) = watch::channel(*options.timeouts.borrow());
        options.timeouts = timeouts_in_force;
        let (pulse, heart) = liveness::channel();
        Ok(Worker {
            in_force,
            renewal: Renewal {
                in_force: renewing,
                timeouts,
                tokens,
                metrics,
                limit,
            },
            options,
            drain,
            pulse,
            heart,
        })
    }

    /// What gives it something else to go by while it runs.
    pub(super) fn renewal(&self) -> Renewal {
        self.renewal.clone()
    }

    /// Asks whether it lives, once it has begun.
    pub(super) fn pulse(&self) -> LivenessProbe {
        self.pulse.clone()
    }

    /// Starts the thread, number `index`. It ends when it is told to drain and the last request is
    /// answered, or `drain.timeout` has passed.
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
                    .max_blocking_threads(LOOK_UPS)
                    .build()?;
                let served = runtime.block_on(self.serve(socket));
                // Dropped, it would wait for a look-up of a name that hangs.
                runtime.shutdown_background();
                served
            })
    }

    async fn serve(self, socket: Socket) -> Result<(), BoxError> {
        let in_force = self.in_force.clone();
        let served = socket.serve(self.options, self.drain.clone(), move |peer| {
            proxy::reloadable(
                in_force.clone(),
                move |InForce {
                          policy, upstream, ..
                      }: &InForce| {
                    let connection = policy.identify(ConnectionInfo {
                        addr: peer.addr,
                        local: peer.local,
                        is_tls: peer.is_tls,
                        names: peer
                            .certificate
                            .as_ref()
                            .map_or(&[], |certificate| certificate.names()),
                        certificate: peer.certificate.clone().map(|certificate| certificate as _),
                        uid: peer.uid,
                    });
                    proxy::stack(policy, connection, proxy::forward(Arc::clone(upstream)))
                },
            )
        });
        tokio::select! {
            served = served => Ok(served?),
            () = tend_connections(self.in_force.clone()) => Ok(()),
            () = self.heart.respond() => Ok(()),
            () = drain_is_over(self.drain, self.in_force) => {
                tracing::warn!("drain.timeout has passed; what was still in flight is cut off");
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

/// Closes idle connections to the API in time, and keeps some ready.
async fn tend_connections(mut in_force: watch::Receiver<InForce>) {
    loop {
        let upstream = Arc::clone(&in_force.borrow().upstream);
        let another = async {
            let changed = in_force
                .wait_for(|now| !Arc::ptr_eq(&now.upstream, &upstream))
                .await;
            if changed.is_err() {
                // Nobody renews it any more.
                pending::<()>().await;
            }
        };
        tokio::select! {
            () = upstream.maintain() => {}
            () = another => {}
        }
    }
}

async fn drain_is_over(mut drain: watch::Receiver<bool>, in_force: watch::Receiver<InForce>) {
    // An error means that whoever drains is gone, which ends the worker as well.
    let _ = drain.wait_for(|draining| *draining).await;
    let timeout = in_force.borrow().drain_timeout;
    sleep(timeout).await;
}
