//! The accept loop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep};

use super::socket::BACKLOG;
use super::{AnswerBody, Options, Peer, Serve, Socket, Stream, connection};

/// How long accepting rests when the process or the machine is out of file descriptors or memory.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// How long the log says nothing more of that.
const EXHAUSTED_SILENCE: Duration = Duration::from_secs(10);

impl Socket {
    /// Accepts connections and serves each in a task of its own with the service that `make_service` gives for its
    /// peer, until `drain` turns true; then accepts what the kernel already holds, and returns when the last
    /// connection has ended.
    ///
    /// # Errors
    /// When the runtime cannot take the socket; never because of a connection.
    pub async fn serve<M, S, B>(
        self,
        options: Options,
        mut drain: watch::Receiver<bool>,
        make_service: M,
    ) -> io::Result<()>
    where
        M: Fn(Peer) -> S,
        S: Serve<B>,
        B: AnswerBody,
    {
        let listener = Listener::new(self)?;
        // Each connection holds a receiver; the last one that ends closes the channel.
        let (worker_drain, connections) = watch::channel(false);
        let serve = |accepted: Accepted, permit: Option<OwnedSemaphorePermit>| match accepted {
            Accepted::Tcp(stream, addr) => {
                let service = make_service(Peer { addr: Some(addr) });
                spawn(stream, options.clone(), service, connections.clone(), permit);
            }
            #[cfg(unix)]
            Accepted::Unix(stream) => {
                let service = make_service(Peer { addr: None });
                spawn(stream, options.clone(), service, connections.clone(), permit);
            }
        };
        let mut told: Option<Instant> = None;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = drain.wait_for(|draining| *draining) => break,
            };
            match accepted {
                Ok(accepted) => {
                    // The permit comes second: a worker that held one while nobody calls it would keep it from the
                    // others. Whoever was accepted is served, also when the drain comes first.
                    let permit = tokio::select! {
                        permit = Arc::clone(&options.connections).acquire_owned() => permit.ok(),
                        _ = drain.wait_for(|draining| *draining) => None,
                    };
                    serve(accepted, permit);
                }
                Err(error) if is_exhaustion(&error) => {
                    if told.is_none_or(|told| told.elapsed() > EXHAUSTED_SILENCE) {
                        tracing::error!(
                            %error,
                            "cannot accept connections for now; raise LimitNOFILE or lower listen.max_connections"
                        );
                        told = Some(Instant::now());
                    }
                    sleep(EXHAUSTED_PAUSE).await;
                }
                // The connection died in the backlog.
                Err(error) => tracing::debug!(%error, "a connection was lost before it was accepted"),
            }
        }
        // Once around the runtime: it does not know yet what came since it last asked the kernel.
        tokio::task::yield_now().await;
        // No more than the backlog holds: callers that keep coming do not keep the listener open.
        for _ in 0..BACKLOG {
            match listener.accept_waiting().await {
                // Without a permit rather than reset.
                Some(Ok(accepted)) => {
                    serve(accepted, Arc::clone(&options.connections).try_acquire_owned().ok())
                }
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
    options: Options,
    service: S,
    drain: watch::Receiver<bool>,
    permit: Option<OwnedSemaphorePermit>,
) where
    IO: Stream,
    S: Serve<B>,
    B: AnswerBody,
{
    tokio::spawn(async move {
        connection::serve(io, &options, service, drain).await;
        drop(permit);
    });
}

enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener),
}

enum Accepted {
    Tcp(tokio::net::TcpStream, SocketAddr),
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
}

impl Listener {
    fn new(socket: Socket) -> io::Result<Self> {
        match socket {
            Socket::Tcp(socket) => TcpListener::from_std(socket).map(Listener::Tcp),
            #[cfg(unix)]
            Socket::Unix(socket) => tokio::net::UnixListener::from_std(socket).map(Listener::Unix),
        }
    }

    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, addr) = listener.accept().await?;
                // Answers go out at once; Nagle would hold the last segment back for the caller's ACK.
                stream.set_nodelay(true)?;
                Ok(Accepted::Tcp(stream, addr))
            }
            #[cfg(unix)]
            Listener::Unix(listener) => listener.accept().await.map(|(stream, _)| Accepted::Unix(stream)),
        }
    }

    /// The next connection that the kernel already holds.
    async fn accept_waiting(&self) -> Option<io::Result<Accepted>> {
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
