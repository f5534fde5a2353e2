//! Start of the proxy: accounts, workers, listener and admin server.

use std::sync::Arc;
use std::thread;

use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};

use super::accounts::{PreparedAccount, account_configs};
use super::admin_server::start_admin;
use super::expiry::record_ends;
use super::running::{App, CallerListener, Workers};
use super::start_error::StartError;
use super::worker::{Worker, WorkerHandle};
use crate::config::{Address, Config};
use crate::downstream::{self, ServerOptions, ServerTls, Socket, bind, share};
use crate::error::BoxError;
use crate::metrics::Metrics;
use crate::proxy::SharedState;
use crate::trace::SpanExporter;

impl App {
    /// Starts the proxy that `config` describes. It listens when this returns; the first token is
    /// still being fetched.
    ///
    /// # Errors
    /// When an address is in use, or a part of `config` cannot be used.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        Self::start_on(config, None).await
    }

    /// Starts the proxy on the `inherited` socket instead of `listen.address`, if there is one.
    ///
    /// # Errors
    /// As those of [`App::start`].
    pub async fn start_on(config: &Config, inherited: Option<Socket>) -> Result<Self, StartError> {
        let metrics = Arc::new(Metrics::new(config.listen.workers.get()));
        let (certificates, acceptors) = prepare_tls(config)?.unzip();
        let refused = Arc::clone(&metrics.refused);
        let options = ServerOptions::new(&config.listen, acceptors, refused);
        let accounts =
            account_configs(config).try_map(|account| PreparedAccount::new(account, &metrics))?;
        let exporter = start_exporter(config).await?;
        let shared = SharedState::new(config, &metrics, exporter.clone());
        let (drain, draining) = watch::channel(false);
        let workers = metrics.workers().iter().map(|metrics| {
            let (options, metrics) = (options.clone(), Arc::clone(metrics));
            Worker::new(
                config,
                options,
                &shared,
                &accounts,
                metrics,
                draining.clone(),
            )
        });
        let workers: Vec<_> = workers
            .collect::<Result<_, _>>()
            .map_err(StartError::section("upstream"))?;
        let handles: Vec<_> = workers.iter().map(Worker::handle).collect();

        let is_bound = inherited.is_none();
        let (sockets, address) = bind_listener(config, inherited, workers.len())?;
        let probes = handles.iter().map(WorkerHandle::probe).collect();
        record_ends(config, &metrics);
        let admin = start_admin(config, &address, &metrics, &accounts, probes)?;
        let expiries = &metrics.expiries;
        let tls_reload = config.listen.tls.clone().zip(certificates);
        Ok(App {
            accounts: accounts.map(PreparedAccount::start),
            listener: CallerListener {
                address,
                is_bound,
                tls_reload: tls_reload.map(|(tls, publisher)| {
                    let expiries = Arc::clone(expiries);
                    tokio::spawn(downstream::reload_tls_on_change(tls, publisher, expiries))
                }),
            },
            workers: Workers {
                handles,
                threads: start_threads(workers, sockets)?,
                drain,
            },
            admin,
            shared,
            metrics,
            exporter,
            drain: config.drain.clone(),
        })
    }
}

type TlsChannel = (watch::Sender<ServerTls>, watch::Receiver<ServerTls>);

fn prepare_tls(config: &Config) -> Result<Option<TlsChannel>, StartError> {
    let tls = config.listen.tls.as_ref();
    tls.map(downstream::tls_channel)
        .transpose()
        .map_err(StartError::section("listen.tls"))
}

async fn start_exporter(config: &Config) -> Result<Option<Arc<SpanExporter>>, StartError> {
    let Some(exported) = config.trace.exported.clone() else {
        return Ok(None);
    };
    // Starting the exporter waits for the thread of its client.
    let started = spawn_blocking(move || SpanExporter::start(&exported)).await;
    started
        .unwrap_or_else(|panicked| Err(panicked.into()))
        .map(|exporter| Some(Arc::new(exporter)))
        .map_err(StartError::section("trace"))
}

/// The listening sockets, one for each worker, and their address with the actual port.
fn bind_listener(
    config: &Config,
    inherited: Option<Socket>,
    workers: usize,
) -> Result<(Vec<Socket>, Address), StartError> {
    let listen = &config.listen;
    let bound = match inherited {
        Some(socket) => share(socket, workers),
        None => bind(&listen.address, listen.socket_mode, workers),
    };
    bound
        .and_then(|sockets| {
            let address = sockets[0].address()?;
            Ok((sockets, address))
        })
        .map_err(StartError::listener("listen.address", &listen.address))
}

fn start_threads(
    workers: Vec<Worker>,
    sockets: Vec<Socket>,
) -> Result<JoinSet<Result<(), BoxError>>, StartError> {
    let mut threads = JoinSet::new();
    for (index, (worker, socket)) in workers.into_iter().zip(sockets).enumerate() {
        let thread = worker.start(index, socket).map_err(StartError::Thread)?;
        threads.spawn(join(thread));
    }
    Ok(threads)
}

async fn join(thread: thread::JoinHandle<Result<(), BoxError>>) -> Result<(), BoxError> {
    match spawn_blocking(move || thread.join()).await? {
        Ok(ended) => ended,
        Err(_) => Err("a worker panicked".into()),
    }
}
