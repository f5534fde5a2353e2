//! Sockets and the accept loop.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use socket2::{Domain, Protocol, SockAddr, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep};
use tower::Service;

use super::{Options, Peer, connection};
use crate::config::{Address, SocketMode};
use crate::error::Cause;

/// Connections that the kernel holds until they are accepted; it caps this at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// How long accepting rests when the process or the machine is out of file descriptors or memory.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// How long the log says nothing more of that.
const EXHAUSTED_SILENCE: Duration = Duration::from_secs(10);

/// A bound, listening socket that no runtime knows yet.
#[derive(Debug)]
pub enum Socket {
    /// A TCP socket.
    Tcp(std::net::TcpListener),
    /// A Unix socket.
    Unix(std::os::unix::net::UnixListener),
}

impl Socket {
    /// Where it listens, with the port that was really taken.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn address(&self) -> io::Result<Address> {
        match self {
            Socket::Tcp(socket) => socket.local_addr().map(Address::Tcp),
            Socket::Unix(socket) => {
                let addr = socket.local_addr()?;
                Ok(Address::Unix(addr.as_pathname().map(Path::to_owned).unwrap_or_default()))
            }
        }
    }
}

/// Binds `count` sockets to `address`: TCP sockets of their own, or copies of one Unix socket.
///
/// # Errors
/// When the address is in use, not this machine's, or not permitted.
pub fn bind(address: &Address, mode: SocketMode, count: usize) -> io::Result<Vec<Socket>> {
    match address {
        Address::Tcp(addr) => bind_tcp(*addr, count),
        Address::Unix(path) => bind_unix(path, mode, count),
    }
}

/// The first socket is bound without SO_REUSEPORT, so that a port in use is an error and not a silent half share
/// of somebody else's connections; it joins the group before the others come.
fn bind_tcp(addr: SocketAddr, count: usize) -> io::Result<Vec<Socket>> {
    let mut sockets: Vec<Socket> = Vec::with_capacity(count);
    let mut addr = addr;
    for index in 0..count {
        let socket = socket2::Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(index > 0)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::from(addr))?;
        socket.set_reuse_port(true)?;
        socket.listen(BACKLOG)?;
        let socket = std::net::TcpListener::from(socket);
        addr = socket.local_addr()?;
        sockets.push(Socket::Tcp(socket));
    }
    Ok(sockets)
}

fn bind_unix(path: &PathBuf, mode: SocketMode, count: usize) -> io::Result<Vec<Socket>> {
    remove_dead_socket(path)?;
    let socket = std::os::unix::net::UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode.0))?;
    socket.set_nonblocking(true)?;
    let mut sockets = Vec::with_capacity(count);
    for _ in 1..count {
        sockets.push(Socket::Unix(socket.try_clone()?));
    }
    sockets.push(Socket::Unix(socket));
    Ok(sockets)
}

/// Removes the socket file that a killed process left, and nothing else.
fn remove_dead_socket(path: &Path) -> io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if !is_socket {
        return Ok(());
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

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
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Cause>,
    {
        let listener = Listener::new(self)?;
        // Each connection holds a receiver; the last one that ends closes the channel.
        let (worker_drain, connections) = watch::channel(false);
        let serve = |accepted: Accepted, permit: OwnedSemaphorePermit| match accepted {
            Accepted::Tcp(stream, addr) => {
                let service = make_service(Peer { addr: Some(addr) });
                spawn(stream, options.clone(), service, connections.clone(), permit);
            }
            Accepted::Unix(stream) => {
                spawn(
                    stream,
                    options.clone(),
                    make_service(Peer { addr: None }),
                    connections.clone(),
                    permit,
                );
            }
        };
        let mut told: Option<Instant> = None;
        loop {
            // The permit comes second: a worker that held one while nobody calls it would keep it from the others.
            let next = async {
                let accepted = listener.accept().await;
                (accepted, Arc::clone(&options.connections).acquire_owned().await)
            };
            let (accepted, permit) = tokio::select! {
                next = next => next,
                _ = drain.wait_for(|draining| *draining) => break,
            };
            // The semaphore is never closed.
            let Ok(permit) = permit else { break };
            match accepted {
                Ok(accepted) => serve(accepted, permit),
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
        while let Ok(permit) = Arc::clone(&options.connections).try_acquire_owned() {
            match listener.accept_waiting().await {
                Some(accepted) => serve(accepted, permit),
                None => break,
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
    permit: OwnedSemaphorePermit,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Cause>,
{
    tokio::spawn(async move {
        connection::serve(io, &options, service, drain).await;
        drop(permit);
    });
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

enum Accepted {
    Tcp(tokio::net::TcpStream, SocketAddr),
    Unix(tokio::net::UnixStream),
}

impl Listener {
    fn new(socket: Socket) -> io::Result<Self> {
        match socket {
            Socket::Tcp(socket) => TcpListener::from_std(socket).map(Listener::Tcp),
            Socket::Unix(socket) => UnixListener::from_std(socket).map(Listener::Unix),
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
            Listener::Unix(listener) => listener.accept().await.map(|(stream, _)| Accepted::Unix(stream)),
        }
    }

    /// The next connection that the kernel already holds.
    async fn accept_waiting(&self) -> Option<Accepted> {
        tokio::select! {
            biased;
            accepted = self.accept() => accepted.ok(),
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
mod tests {
    use super::*;

    fn any_port() -> Address {
        Address::Tcp(([127, 0, 0, 1], 0).into())
    }

    #[test]
    fn workers_share_a_port_and_a_second_instance_does_not() {
        let sockets = bind(&any_port(), SocketMode(0o600), 3).unwrap();
        let address = sockets[0].address().unwrap();
        assert!(sockets.iter().all(|socket| socket.address().unwrap() == address));
        let error = bind(&address, SocketMode(0o600), 3).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_dead_unix_socket_is_replaced_and_a_living_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let address = Address::Unix(directory.path().join("s"));
        let living = bind(&address, SocketMode(0o600), 2).unwrap();
        assert_eq!(bind(&address, SocketMode(0o600), 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(living);
        bind(&address, SocketMode(0o600), 1).unwrap();
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("precious");
        std::fs::write(&path, "x").unwrap();
        assert!(bind(&Address::Unix(path.clone()), SocketMode(0o600), 1).is_err());
        assert_eq!(std::fs::read_to_string(path).unwrap(), "x");
    }
}
