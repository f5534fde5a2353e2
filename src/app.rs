//! Wiring only: a configuration becomes parts, and the parts a running proxy.

use std::io;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};

use crate::config::{Address, Config};
use crate::downstream::{self, bind};
use crate::error::Cause;
use crate::proxy::Shared;
use crate::token::{self, Endpoint};
use crate::worker::Worker;

/// A running proxy. Its workers have threads of their own; what renews tokens and certificates runs on the runtime that
/// started it.
pub struct App {
    address: Address,
    shared: Arc<Shared>,
    drain: watch::Sender<bool>,
    workers: JoinSet<Result<(), Cause>>,
    refresh: JoinHandle<()>,
    /// Follows the files of listen.tls.
    renewal: Option<JoinHandle<()>>,
}

/// Why a proxy does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address} (listen.address)")]
    Listen {
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
        source: Cause,
    },
    /// A thread cannot be started.
    #[error("cannot start a worker")]
    Thread(#[source] io::Error),
}

impl StartError {
    /// What to do about it, where that is known.
    pub fn mend(&self) -> Option<&'static str> {
        let StartError::Listen { source, .. } = self else { return None };
        match source.kind() {
            io::ErrorKind::AddrInUse => Some(
                "end the process that listens there (ss -ltnp shows it), or write another listen.address",
            ),
            io::ErrorKind::AddrNotAvailable => Some("write an address of this machine in listen.address"),
            io::ErrorKind::PermissionDenied => Some(
                "a port below 1024 needs CAP_NET_BIND_SERVICE, a Unix socket a directory that may be written to",
            ),
            _ => None,
        }
    }
}

impl App {
    /// Starts the proxy that `config` describes. It listens when this returns; the first token is still on its way.
    ///
    /// # Errors
    /// When the address is taken, or a part of the configuration cannot be used.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let part = |section| move |source| StartError::Part { section, source };
        let listen = &config.listen;
        let tls = listen.tls.as_ref().map(downstream::channel).transpose().map_err(part("listen.tls"))?;
        let (certificates, acceptors) = tls.unzip();
        let options = downstream::Options::new(listen, acceptors);
        let endpoint = Endpoint::new(&config.token).map_err(part("token"))?;
        let (publisher, tokens) = token::channel(config.token.wait);
        let shared = Arc::new(Shared::new(config));
        let (drain, draining) = watch::channel(false);
        let workers = (0..listen.workers.get())
            .map(|_| {
                Worker::new(config, options.clone(), Arc::clone(&shared), tokens.clone(), draining.clone())
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(part("upstream"))?;

        let cannot_listen = |source| StartError::Listen { address: listen.address.clone(), source };
        let sockets = bind(&listen.address, listen.socket_mode, workers.len()).map_err(cannot_listen)?;
        let address = sockets[0].address().map_err(cannot_listen)?;

        let fallback_life = config.token.fallback_life;
        let refresh = tokio::spawn(async move {
            let watch = endpoint.watch();
            token::refresh(|| endpoint.fetch(), || endpoint.changed(&watch), publisher, fallback_life).await;
        });
        let renewal = listen.tls.clone().zip(certificates);
        let renewal = renewal.map(|(tls, publisher)| tokio::spawn(downstream::follow(tls, publisher)));
        let mut threads = JoinSet::new();
        for (index, (worker, socket)) in workers.into_iter().zip(sockets).enumerate() {
            let thread = worker.start(index, socket).map_err(StartError::Thread)?;
            threads.spawn(join(thread));
        }
        Ok(App { address, shared, drain, workers: threads, refresh, renewal })
    }

    /// Where it listens, with the port that was really taken.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Ends when a worker or the token task has ended by itself, which none should.
    pub async fn failed(&mut self) -> Cause {
        let worker = tokio::select! {
            worker = self.workers.join_next() => worker,
            ended = &mut self.refresh => {
                return ended.err().map_or_else(|| "the token task ended".into(), Cause::from);
            }
        };
        match worker {
            Some(Ok(Err(error))) => error,
            Some(Err(error)) => error.into(),
            Some(Ok(Ok(()))) | None => "a worker ended".into(),
        }
    }

    /// Stops accepting, lets requests in flight finish for up to `drain.timeout`, and returns when all is done.
    pub async fn shut_down(mut self) {
        if let Address::Unix(path) = &self.address {
            // Now, not in the end: by then it may be the socket of a successor. If it cannot be removed, the next start
            // replaces it.
            let _ = std::fs::remove_file(path);
        }
        self.drain.send_replace(true);
        self.shared.drain();
        while self.workers.join_next().await.is_some() {}
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.drain.send_replace(true);
        self.refresh.abort();
        if let Some(renewal) = &self.renewal {
            renewal.abort();
        }
    }
}

async fn join(thread: std::thread::JoinHandle<Result<(), Cause>>) -> Result<(), Cause> {
    match spawn_blocking(move || thread.join()).await? {
        Ok(ended) => ended,
        Err(_) => Err("a worker panicked".into()),
    }
}
