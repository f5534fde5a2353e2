//! The accept loop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::yield_now;
use tokio::time::sleep;

use super::eviction::{Admission, ConnectionUse, EvictingLimit};
use super::socket::BACKLOG;
use super::{
    CallerService, DownstreamIo, PeerInfo, ServerOptions, ServiceBody, Socket, connection,
};
use crate::metrics::ConnectionRefusal;
use crate::rt::tcp::CoalescingTcp;
use crate::telemetry::throttle::LogThrottle;

/// How long accepting rests when the process or the machine is out of file descriptors or memory.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Connections that are accepted before those that have been accepted get their turn, where a new
/// one may evict another: half of those that may always be open, so that no two turns evict what is
/// being answered for what has just come, and more than one, so that the backlog is worked off
/// fast.
const ADMISSIONS_PER_TURN: usize = 4;

impl Socket {
    /// Accepts connections and serves each in a task of its own, with the service that
    /// `make_service` gives for its peer once a handshake has told who that is, until `drain` turns
    /// true; then accepts what the kernel already holds, and returns when the last connection has
    /// ended.
    ///
    /// # Errors
    /// When the runtime cannot take the socket; never because of a connection.
    pub async fn serve<M, S, B>(
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
        // Each connection holds a receiver; the last one that ends closes the channel.
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
                    // The permit comes second: a worker that held one while nobody calls it would
                    // keep it from the others. Whoever was accepted is served, also when the drain
                    // comes first.
                    let permit = tokio::select! {
                        permit = Arc::clone(&options.connection_permits).acquire_owned() => permit.ok(),
                        _ = drain.wait_for(|draining| *draining) => None,
                    };
                    serve(accepted, permit);
                    admitted = admitted.wrapping_add(1);
                    if options.evicting_limit.is_some()
                        && admitted.is_multiple_of(ADMISSIONS_PER_TURN)
                    {
                        // Their tasks run before others can evict them: a request that has come is
                        // answered.
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
                    // Once between two pauses: where files are short for the whole machine, one
                    // more is of no use.
                    has_evicted = !has_evicted && evict_for_files(&options);
                    if has_evicted {
                        // Its task runs, and closes it.
                        yield_now().await;
                    } else {
                        sleep(EXHAUSTED_PAUSE).await;
                    }
                }
                // The connection died in the backlog.
                Err(error) => {
                    tracing::debug!(%error, "a connection was lost before it was accepted")
                }
            }
        }
        // Once around the runtime: it does not know yet what came since it last asked the kernel.
        yield_now().await;
        // No more than the backlog holds: callers that keep coming do not keep the listener open.
        for _ in 0..BACKLOG {
            match listener.accept_waiting().await {
                // Without a permit rather than reset.
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
    // Until its task runs it is evicted as late as one that is being answered: its request may have
    // come.
    let unseen = usage.as_ref().map(ConnectionUse::begin_request);
    let task = tokio::spawn(async move {
        let _open = open;
        drop(unseen);
        connection::serve(io, peer, &options, make_service, drain).await;
        drop((permit, admission));
    });
    if let Some(usage) = usage {
        usage.set_task(task.abort_handle());
    }
}

/// Admits a connection with `peer`, and reports the one that is closed for it.
fn admit(limit: &Arc<EvictingLimit>, peer: &mut PeerInfo, options: &ServerOptions) -> Admission {
    let (admission, evicted) = limit.admit(peer);
    if let Some(evicted) = &evicted {
        options
            .refusal_log
            .reporter(evicted)
            .report(ConnectionRefusal::Evicted);
    }
    admission
}

/// Evicts a connection so that a new one finds a file; false if there is none, or none may be
/// evicted here.
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
    /// With its address, where connections have none but that.
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
                // Answers go out at once; Nagle would hold the last segment back for the caller's
                // ACK.
                stream.set_nodelay(true)?;
                // The system is asked only where it knows more than we do.
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

    /// The next connection that the kernel already holds.
    async fn accept_waiting(&self) -> Option<io::Result<(Accepted, PeerInfo)>> {
        tokio::select! {
            biased;
            accepted = self.accept() => Some(accepted),
            () = std::future::ready(()) => None,
        }
    }
}

/// EMFILE, ENFILE, ENOBUFS, ENOMEM: accepting again at once would fail again, and burn a core.
fn is_exhaustion(error: &io::Error) -> bool {
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    const ENOBUFS: i32 = 105;
    matches!(error.raw_os_error(), Some(EMFILE | ENFILE | ENOBUFS))
        || error.kind() == io::ErrorKind::OutOfMemory
}

#[cfg(test)]
mod tests;
