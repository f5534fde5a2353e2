//! The callers' side: listeners, TLS and HTTP connections, for whatever service they are given.

mod connection;
mod first_bytes;
mod listener;
mod tls;

use std::net::SocketAddr;
use std::time::Duration;

pub use self::listener::{Socket, bind};
pub use self::tls::acceptor;

use crate::config::Listen;

/// Whoever is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its address; `None` for a Unix socket.
    pub addr: Option<SocketAddr>,
}

/// What a worker needs to know to serve its connections.
#[derive(Clone)]
pub struct Options {
    /// The TLS side of the listener, if it has one.
    pub tls: Option<tokio_rustls::TlsAcceptor>,
    /// How long a TLS handshake, and the first bytes of a connection, may take.
    pub handshake_timeout: Duration,
    /// Concurrent HTTP/2 streams on one connection.
    pub h2_streams: u32,
    /// Permits for open connections, one for the whole process.
    pub connections: std::sync::Arc<tokio::sync::Semaphore>,
}

impl Options {
    /// The options that `listen` describes.
    ///
    /// # Errors
    /// When certificate and key do not fit together.
    pub fn new(listen: &Listen) -> Result<Self, rustls::Error> {
        Ok(Options {
            tls: listen.tls.as_ref().map(acceptor).transpose()?,
            handshake_timeout: listen.handshake_timeout,
            h2_streams: listen.h2_streams,
            connections: std::sync::Arc::new(tokio::sync::Semaphore::new(
                listen.max_connections.get() as usize
            )),
        })
    }
}
