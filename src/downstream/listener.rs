//! Accept loop of a listener.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::yield_now;
use tokio::time::sleep;

use super::connection;
use super::connection_use::ConnectionUse;
use super::eviction::{ConnectionAdmission, EvictingLimit};
use super::io::DownstreamIo;
use super::options::ServerOptions;
use super::peer::PeerInfo;
use super::service::{CallerService, ServiceBody};
use super::socket::{BACKLOG, Socket};
use crate::metrics::ConnectionRefusal;
use crate::rt::tcp::CoalescingTcp;
use crate::telemetry::throttle::LogThrottle;

/// Pause of accepting while the process or the machine is out of file descriptors or memory.
const EXHAUSTION_PAUSE: Duration = Duration::from_millis(100);

/// Connections that are accepted before their tasks run, on a listener with an [`EvictingLimit`].
/// Half of the smallest limit, so that two turns cannot evict active connections for new ones, and
/// more than one, so that the backlog drains fast.
const ADMISSIONS_PER_TURN: usize = 4;

impl Socket {
    /// Accepts connections until `drain` turns true, and serves each in a task of its own.
    /// `make_service` runs after the handshake. Then accepts the kernel's backlog, and returns when
    /// the last connection has ended.
    ///
    /// # Errors
    /// When the runtime cannot register the socket; never because of a connection.
    pub(crate) async fn serve<M, S, B>(
        self,
        options: ServerOptions,
        mut drain: watch::Receiver<bool>,
        make_service: M,
    ) -> io::Result<()>
    where
        M: Fn(PeerInfo) -> S + Clone + Send + 'static,
        S: CallerService<B>,
        B: ServiceBody,
    {
        let listener = Listener::new(self)?;
        let options = Arc::new(options);
        // Each connection holds a receiver; the last one to end closes the channel.
        let (worker_drain, connections) = watch::channel(false);
        let serve = |(stream, peer): (Accepted, PeerInfo), permit: Option<OwnedSemaphorePermit>| {
            let (options, make_service) = (Arc::clone(&options), make_service.clone());
            let drain = connections.clone();
            match stream {
                Accepted::Tcp(stream) => spawn(stream, peer, options, make_service, drain, permit),
                #[cfg(unix)]
                Accepted::Unix(stream) => spawn(stream, peer, options, make_service, drain, permit),
            }
        };
        let exhaustion = LogThrottle::default();
        let mut admitted = 0_usize;
        let mut has_evicted = false;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = drain.wait_for(|draining| *draining) => break,
            };
            match accepted {
                Ok(accepted) => {
                    has_evicted = false;
                    // After accepting: a worker without connections would hold a permit that others
                    // need. An accepted connection is served even if the drain comes first.
                    let permit = tokio::select! {
                        permit = Arc::clone(&options.connection_permits).acquire_owned() => permit.ok(),
                        _ = drain.wait_for(|draining| *draining) => None,
                    };
                    serve(accepted, permit);
                    admitted = admitted.wrapping_add(1);
                    if options.evicting_limit.is_some()
                        && admitted.is_multiple_of(ADMISSIONS_PER_TURN)
                    {
                        // Their tasks run before others can evict them, and serve requests that
                        // have arrived.
                        yield_now().await;
                    }
                }
                Err(error) if is_exhaustion(&error) => {
                    if exhaustion.is_due() {
                        tracing::error!(
                            %error,
                            "cannot accept connections for now; raise LimitNOFILE or lower listen.max_connections"
                        );
                    }
                    // Once between two pauses: if the whole machine is out of files, evicting more
                    // does not help.
                    has_evicted = !has_evicted && evict_for_files(&options);
                    if has_evicted {
                        // Its task runs, and closes the connection.
                        yield_now().await;
                    } else {
                        sleep(EXHAUSTION_PAUSE).await;
                    }
                }
                // The connection died in the backlog.
                Err(error) => {
                    tracing::debug!(%error, "a connection was lost before it was accepted")
                }
            }
        }
        // Let the runtime poll the kernel for connections that have arrived since.
        yield_now().await;
        // Bounded by the backlog: new callers cannot keep the listener open.
        for _ in 0..BACKLOG {
            match listener.accept_queued().await {
                // Without a permit rather than with a reset.
                Some(Ok(accepted)) => serve(
                    accepted,
                    Arc::clone(&options.connection_permits)
                        .try_acquire_owned()
                        .ok(),
                ),
                Some(Err(error)) if !is_exhaustion(&error) => {}
                Some(Err(_)) | None => break,
            }
        }
        drop(listener);
        drop(connections);
        worker_drain.send_replace(true);
        worker_drain.closed().await;
        Ok(())
    }
}

fn spawn<IO, S, B>(
    io: IO,
    mut peer: PeerInfo,
    options: Arc<ServerOptions>,
    make_service: impl FnOnce(PeerInfo) -> S + Send + 'static,
    drain: watch::Receiver<bool>,
    permit: Option<OwnedSemaphorePermit>,
) where
    IO: DownstreamIo,
    S: CallerService<B>,
    B: ServiceBody,
{
    let open = options.connection_metrics.open();
    let admission = options
        .evicting_limit
        .as_ref()
        .map(|limit| admit(limit, &mut peer, &options));
    let usage = peer.usage.clone();
    // Active until its task runs: its request may have arrived.
    let pending = usage.as_ref().map(ConnectionUse::begin_request);
    let task = tokio::spawn(async move {
        let _open = open;
        drop(pending);
        connection::serve(io, peer, &options, make_service, drain).await;
        drop((permit, admission));
    });
    if let Some(usage) = usage {
        usage.set_task(task.abort_handle());
    }
}

/// Admits a connection with `peer`, and reports the one that is evicted for it.
fn admit(
    limit: &Arc<EvictingLimit>,
    peer: &mut PeerInfo,
    options: &ServerOptions,
) -> ConnectionAdmission {
    let (admission, evicted) = limit.admit(peer);
    if let Some(evicted) = &evicted {
        options
            .refusal_log
            .reporter(evicted)
            .report(ConnectionRefusal::Evicted);
    }
    admission
}

/// Evicts a connection to free a file descriptor. Returns false if there is none, or no evicting
/// limit.
fn evict_for_files(options: &ServerOptions) -> bool {
    let evicted = options
        .evicting_limit
        .as_ref()
        .and_then(|limit| limit.evict_one());
    if let Some(evicted) = &evicted {
        options
            .refusal_log
            .reporter(evicted)
            .report(ConnectionRefusal::Evicted);
    }
    evicted.is_some()
}

enum Listener {
    /// With its address, unless that is a wildcard.
    Tcp(TcpListener, Option<SocketAddr>),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener),
}

enum Accepted {
    Tcp(CoalescingTcp),
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
}

impl Listener {
    fn new(socket: Socket) -> io::Result<Self> {
        match socket {
            Socket::Tcp(socket) => {
                let local = socket
                    .local_addr()
                    .ok()
                    .filter(|local| !local.ip().is_unspecified());
                TcpListener::from_std(socket).map(|listener| Listener::Tcp(listener, local))
            }
            #[cfg(unix)]
            Socket::Unix(socket) => tokio::net::UnixListener::from_std(socket).map(Listener::Unix),
        }
    }

    async fn accept(&self) -> io::Result<(Accepted, PeerInfo)> {
        match self {
            Listener::Tcp(listener, local) => {
                let (stream, addr) = listener.accept().await?;
                // Nagle's algorithm would delay the last segment of a response until the caller's
                // ACK.
                stream.set_nodelay(true)?;
                // A system call only for a wildcard address.
                let local = local.map_or_else(|| stream.local_addr(), Ok)?;
                Ok((
                    Accepted::Tcp(CoalescingTcp(stream)),
                    PeerInfo {
                        addr: Some(addr),
                        local: Some(local),
                        ..PeerInfo::default()
                    },
                ))
            }
            #[cfg(unix)]
            Listener::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred().ok().map(|process| process.uid());
                Ok((
                    Accepted::Unix(stream),
                    PeerInfo {
                        uid,
                        ..PeerInfo::default()
                    },
                ))
            }
        }
    }

    /// Accepts a connection from the kernel's backlog.
    async fn accept_queued(&self) -> Option<io::Result<(Accepted, PeerInfo)>> {
        tokio::select! {
            biased;
            accepted = self.accept() => Some(accepted),
            () = std::future::ready(()) => None,
        }
    }
}

/// Whether accepting again at once would fail again, and busy a core.
fn is_exhaustion(error: &io::Error) -> bool {
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    const ENOBUFS: i32 = 105;
    matches!(error.raw_os_error(), Some(EMFILE | ENFILE | ENOBUFS))
        || error.kind() == io::ErrorKind::OutOfMemory
}

#[cfg(test)]
mod tests;
