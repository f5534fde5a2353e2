//! Listening sockets: one for each worker, and never on an address of another process.

use std::io;
use std::net::SocketAddr;
#[cfg(unix)]
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use socket2::{Domain, Protocol, SockAddr, Type};

use crate::config::{Address, SocketMode};

/// Connections in the kernel's accept queue, which `net.core.somaxconn` caps.
pub(super) const BACKLOG: i32 = 4096;

/// A listening socket that is not registered with a runtime yet.
#[derive(Debug)]
pub enum Socket {
    /// A TCP listener.
    Tcp(std::net::TcpListener),
    /// A Unix socket listener.
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener),
}

impl Socket {
    /// The bound address, with the actual port.
    pub(crate) fn address(&self) -> io::Result<Address> {
        match self {
            Socket::Tcp(socket) => socket.local_addr().map(Address::Tcp),
            #[cfg(unix)]
            Socket::Unix(socket) => {
                let addr = socket.local_addr()?;
                Ok(Address::Unix(
                    addr.as_pathname().map(Path::to_owned).unwrap_or_default(),
                ))
            }
        }
    }

    #[cfg(unix)]
    pub(crate) fn is_listening(&self) -> bool {
        match self {
            Socket::Tcp(socket) => socket2::SockRef::from(socket).is_listener(),
            Socket::Unix(socket) => socket2::SockRef::from(socket).is_listener(),
        }
        .unwrap_or(false)
    }

    fn duplicate(&self) -> io::Result<Self> {
        match self {
            Socket::Tcp(socket) => socket.try_clone().map(Socket::Tcp),
            #[cfg(unix)]
            Socket::Unix(socket) => socket.try_clone().map(Socket::Unix),
        }
    }
}

/// Duplicates a socket that another process has bound, for `count` workers that accept by turns.
///
/// # Errors
/// When no file descriptor is left.
pub(crate) fn share(socket: Socket, count: usize) -> io::Result<Vec<Socket>> {
    // All duplicates share the flag.
    match &socket {
        Socket::Tcp(socket) => socket.set_nonblocking(true)?,
        #[cfg(unix)]
        Socket::Unix(socket) => socket.set_nonblocking(true)?,
    }
    let mut sockets = (1..count)
        .map(|_| socket.duplicate())
        .collect::<io::Result<Vec<_>>>()?;
    sockets.push(socket);
    Ok(sockets)
}

/// Binds `count` sockets to `address`: separate TCP sockets, or duplicates of one Unix socket.
///
/// # Errors
/// When the address is in use, not of this machine, or not permitted.
pub(crate) fn bind(address: &Address, mode: SocketMode, count: usize) -> io::Result<Vec<Socket>> {
    match address {
        Address::Tcp(addr) => bind_tcp(*addr, count),
        #[cfg(unix)]
        Address::Unix(path) => bind_unix(path, mode, count),
        #[cfg(not(unix))]
        Address::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// The first socket listens before it gets SO_REUSEPORT, so that a port in use is an error, not a
/// silent share of another process's connections. The others then join it.
fn bind_tcp(addr: SocketAddr, count: usize) -> io::Result<Vec<Socket>> {
    let mut sockets: Vec<Socket> = Vec::with_capacity(count);
    let mut addr = addr;
    for index in 0..count {
        let socket =
            socket2::Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(index > 0)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::from(addr))?;
        socket.listen(BACKLOG)?;
        socket.set_reuse_port(true)?;
        let socket = std::net::TcpListener::from(socket);
        addr = socket.local_addr()?;
        sockets.push(Socket::Tcp(socket));
    }
    Ok(sockets)
}

#[cfg(unix)]
fn bind_unix(path: &Path, mode: SocketMode, count: usize) -> io::Result<Vec<Socket>> {
    remove_stale_socket(path)?;
    let socket = std::os::unix::net::UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode.0))?;
    share(Socket::Unix(socket), count)
}

/// Removes the socket file of a killed process, and nothing else.
#[cfg(unix)]
fn remove_stale_socket(path: &Path) -> io::Result<()> {
    let is_socket =
        std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if !is_socket {
        return Ok(());
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any_port() -> Address {
        Address::Tcp(([127, 0, 0, 1], 0).into())
    }

    #[test]
    fn only_workers_share_a_port() {
        let sockets = bind(&any_port(), SocketMode(0o600), 3).unwrap();
        let address = sockets[0].address().unwrap();
        assert!(
            sockets
                .iter()
                .all(|socket| socket.address().unwrap() == address)
        );
        let error = bind(&address, SocketMode(0o600), 3).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn only_a_stale_unix_socket_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let address = Address::Unix(directory.path().join("s"));
        let live = bind(&address, SocketMode(0o600), 2).unwrap();
        assert_eq!(
            bind(&address, SocketMode(0o600), 1).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        drop(live);
        bind(&address, SocketMode(0o600), 1).unwrap();
    }

    #[test]
    fn a_regular_file_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("precious");
        std::fs::write(&path, "x").unwrap();
        assert!(bind(&Address::Unix(path.clone()), SocketMode(0o600), 1).is_err());
        assert_eq!(std::fs::read_to_string(path).unwrap(), "x");
    }
}
