//! The callers' side: listeners, TLS and HTTP connections, for whatever service they are given.

mod connection;
mod first_bytes;
mod listener;
mod socket;
mod tls;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tower::Service;

pub use self::socket::{Socket, bind};
pub use self::tls::acceptor;

use crate::config::Listen;
use crate::error::Cause;

/// A service that answers the requests of a connection, and never fails: a failure is an answer as well.
pub trait Serve<B>:
    Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send + 'static>
    + Clone
    + Send
    + 'static
{
}

impl<S, B> Serve<B> for S where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + 'static
{
}

/// The body of an answer.
pub trait AnswerBody: Body<Data: Send, Error: Into<Cause>> + Send + 'static {}

impl<B> AnswerBody for B where B: Body<Data: Send, Error: Into<Cause>> + Send + 'static {}

/// What bytes come and go over.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<IO> Stream for IO where IO: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

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
    /// How long a TLS handshake may take, and the first bytes of a connection.
    pub handshake_timeout: Duration,
    /// Concurrent HTTP/2 streams on one connection.
    pub h2_streams: u32,
    /// Permits for open connections, one for the whole process.
    pub connections: Arc<Semaphore>,
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
            connections: Arc::new(Semaphore::new(listen.max_connections.get() as usize)),
        })
    }
}
