//! A worker: one thread with a runtime, a listener and a pool of upstream connections of its own.
//!
//! A thread per core that shares nothing with the others measured better than one runtime over all cores: no task moves
//! between cores, and no lock is contended.

mod pulse;

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use self::pulse::Heart;
pub use self::pulse::Pulse;
use crate::config::Config;
use crate::downstream::{self, CallerBody, Socket};
use crate::error::Cause;
use crate::metrics;
use crate::proxy::{self, Observed, RequestBody, Rules, Shared};
use crate::token::Reader;
use crate::upstream::Upstream;

/// Look-ups of the API's name that a worker makes at once; each takes a thread. Without a bound, a burst of new
/// connections would start hundreds.
const LOOK_UPS: usize = 4;

/// Gives a worker other rules while it runs.
#[derive(Clone, Debug)]
pub struct Renewal {
    publisher: watch::Sender<Arc<Rules>>,
    tokens: Reader,
    metrics: Arc<metrics::Worker>,
}

impl Renewal {
    /// Puts those in force that `config` describes, for all requests that come from now on.
    pub fn renew(&self, config: &Config, shared: &Shared) {
        let rules = Rules::new(config, shared, self.tokens.clone(), Arc::clone(&self.metrics));
        self.publisher.send_replace(Arc::new(rules));
    }
}

/// A worker that has not begun.
pub struct Worker {
    upstream: Arc<Upstream<RequestBody<Observed<CallerBody>>>>,
    rules: watch::Receiver<Arc<Rules>>,
    renewal: Renewal,
    options: downstream::Options,
    drain: watch::Receiver<bool>,
    drain_timeout: Duration,
    pulse: Pulse,
    heart: Heart,
}

impl Worker {
    /// The worker that `config` describes. It is to end when `drain` turns true.
    ///
    /// # Errors
    /// When the upstream's certificates or name are of no use.
    pub fn new(
        config: &Config,
        mut options: downstream::Options,
        shared: &Shared,
        tokens: Reader,
        metrics: Arc<metrics::Worker>,
        drain: watch::Receiver<bool>,
    ) -> Result<Self, Cause> {
        options.counted = Arc::clone(&metrics.callers);
        let upstream = Arc::new(Upstream::new(&config.upstream, Arc::clone(&metrics.api))?);
        let first = Rules::new(config, shared, tokens.clone(), Arc::clone(&metrics));
        let (publisher, rules) = watch::channel(Arc::new(first));
        let (pulse, heart) = pulse::channel();
        Ok(Worker {
            upstream,
            rules,
            renewal: Renewal { publisher, tokens, metrics },
            options,
            drain,
            drain_timeout: config.drain.timeout,
            pulse,
            heart,
        })
    }

    /// What gives it other rules while it runs.
    pub fn renewal(&self) -> Renewal {
        self.renewal.clone()
    }

    /// Asks whether it lives, once it has begun.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Starts the thread, number `index`. It ends when it is told to drain and the last request is answered, or
    /// `drain.timeout` has passed.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(self, index: usize, socket: Socket) -> io::Result<JoinHandle<Result<(), Cause>>> {
        thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
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

    async fn serve(self, socket: Socket) -> Result<(), Cause> {
        let forward = proxy::forward(Arc::clone(&self.upstream));
        let rules = self.rules;
        let served = socket.serve(self.options, self.drain.clone(), move |peer| {
            let forward = forward.clone();
            proxy::renewing(rules.clone(), move |rules| {
                let names = peer.names.as_deref().unwrap_or_default();
                proxy::stack(rules, rules.peer(peer.addr, peer.local, names, peer.uid), forward.clone())
            })
        });
        tokio::select! {
            served = served => Ok(served?),
            () = self.upstream.close_idle() => Ok(()),
            () = self.heart.beat() => Ok(()),
            () = drain_is_over(self.drain, self.drain_timeout) => {
                tracing::warn!("drain.timeout has passed; what was still in flight is cut off");
                Ok(())
            }
        }
    }
}

async fn drain_is_over(mut drain: watch::Receiver<bool>, timeout: Duration) {
    // An error means that whoever drains is gone, which ends the worker as well.
    let _ = drain.wait_for(|draining| *draining).await;
    sleep(timeout).await;
}
