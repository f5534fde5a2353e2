//! Sockets: bound once for each worker, and never beside another process.

use std::io;
use std::net::SocketAddr;
#[cfg(unix)]
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use socket2::{Domain, Protocol, SockAddr, Type};

use crate::config::{Address, SocketMode};

/// Connections that the kernel holds until they are accepted; it caps this at `net.core.somaxconn`.
pub(super) const BACKLOG: i32 = 4096;

/// A bound, listening socket that no runtime knows yet.
#[derive(Debug)]
pub enum Socket {
    /// A TCP socket.
    Tcp(std::net::TcpListener),
    /// A Unix socket.
    #[cfg(unix)]
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
            #[cfg(unix)]
            Socket::Unix(socket) => {
                let addr = socket.local_addr()?;
                Ok(Address::Unix(
                    addr.as_pathname().map(Path::to_owned).unwrap_or_default(),
                ))
            }
        }
    }

    /// Whether connections can be accepted from it.
    #[cfg(unix)]
    pub fn listens(&self) -> bool {
        match self {
            Socket::Tcp(socket) => socket2::SockRef::from(socket).is_listener(),
            Socket::Unix(socket) => socket2::SockRef::from(socket).is_listener(),
        }
        .unwrap_or(false)
    }

    fn copy(&self) -> io::Result<Self> {
        match self {
            Socket::Tcp(socket) => socket.try_clone().map(Socket::Tcp),
            #[cfg(unix)]
            Socket::Unix(socket) => socket.try_clone().map(Socket::Unix),
        }
    }
}

/// `count` sockets of one that somebody else has bound: copies, from which workers accept by turns.
///
/// # Errors
/// When the system has no more of them.
pub fn share(socket: Socket, count: usize) -> io::Result<Vec<Socket>> {
    // All copies have it in common.
    match &socket {
        Socket::Tcp(socket) => socket.set_nonblocking(true)?,
        #[cfg(unix)]
        Socket::Unix(socket) => socket.set_nonblocking(true)?,
    }
    let mut sockets = (1..count)
        .map(|_| socket.copy())
        .collect::<io::Result<Vec<_>>>()?;
    sockets.push(socket);
    Ok(sockets)
}

/// Binds `count` sockets to `address`: TCP sockets of their own, or copies of one Unix socket.
///
/// # Errors
/// When the address is in use, not this machine's, or not permitted.
pub fn bind(address: &Address, mode: SocketMode, count: usize) -> io::Result<Vec<Socket>> {
    match address {
        Address::Tcp(addr) => bind_tcp(*addr, count),
        #[cfg(unix)]
        Address::Unix(path) => bind_unix(path, mode, count),
        #[cfg(not(unix))]
        Address::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// The first socket listens before it gets SO_REUSEPORT, so that a port in use is an error and not
/// a silent half share of somebody else's connections; the others then join it.
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
    remove_dead_socket(path)?;
    let socket = std::os::unix::net::UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode.0))?;
    share(Socket::Unix(socket), count)
}

/// Removes the socket file that a killed process left, and nothing else.
#[cfg(unix)]
fn remove_dead_socket(path: &Path) -> io::Result<()> {
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
    fn workers_share_a_port_and_a_second_instance_does_not() {
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
    fn a_dead_unix_socket_is_replaced_and_a_living_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let address = Address::Unix(directory.path().join("s"));
        let living = bind(&address, SocketMode(0o600), 2).unwrap();
        assert_eq!(
            bind(&address, SocketMode(0o600), 1).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
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
