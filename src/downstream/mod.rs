//! The callers' side: listeners, TLS and HTTP connections, for whatever service they are given.

mod activity;
mod certificate;
mod client_cert;
mod client_trust;
mod connection;
mod data_frames;
mod detect;
mod eviction;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod half_close;
mod handshake;
mod linger;
mod listener;
mod refusals;
mod request;
mod socket;
mod timeouts;
mod tls;
mod watched;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Body;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};
use tower::Service;

pub use self::certificate::CallerCertificate;
pub use self::connection::MAX_BUFFER_BYTES;
pub use self::eviction::{ActiveRequest, ConnectionUse, EvictingLimit};
pub use self::refusals::RefusalLog;
pub use self::request::{CallerBody, CallerBodyError};
pub use self::socket::{Socket, bind, share};
pub use self::tls::{ServerTls, reload_tls_on_change, tls_channel};

use crate::config::{HeaderCase, Listen};
use crate::error::BoxError;
use crate::metrics::{ConnectionMetrics, RefusedConnections};
use crate::rt::readiness::Readable;
use crate::rt::tcp::CoalescingTcp;

/// A service that answers the requests of a connection. It is always ready, and never fails: a
/// failure is an answer as well.
pub trait CallerService<B>:
    Service<Request<CallerBody>, Response = Response<B>, Error = Infallible, Future: Send + 'static>
    + Clone
    + Send
    + 'static
{
}

impl<S, B> CallerService<B> for S where
    S: Service<
            Request<CallerBody>,
            Response = Response<B>,
            Error = Infallible,
            Future: Send + 'static,
        > + Clone
        + Send
        + 'static
{
}

/// The body of an answer.
pub trait ServiceBody: Body<Data: Send, Error: Into<BoxError>> + Unpin + Send + 'static {}

impl<B> ServiceBody for B where B: Body<Data: Send, Error: Into<BoxError>> + Unpin + Send + 'static {}

/// What bytes come and go over.
trait DownstreamIo: AsyncRead + AsyncWrite + Readable + Unpin + Send + Sync + 'static {
    /// Makes the other side see that the connection broke when this is dropped, rather than that it
    /// ended.
    fn reset_on_drop(&self);
}

impl DownstreamIo for CoalescingTcp {
    fn reset_on_drop(&self) {
        // What fails here is a connection that is broken already.
        let _ = self.0.set_zero_linger();
    }
}

#[cfg(unix)]
impl DownstreamIo for tokio::net::UnixStream {
    /// A Unix socket has no such end.
    fn reset_on_drop(&self) {}
}

impl<IO: DownstreamIo> DownstreamIo for Box<tokio_rustls::server::TlsStream<IO>> {
    fn reset_on_drop(&self) {
        self.get_ref().0.reset_on_drop();
    }
}

#[cfg(any(test, fuzzing))]
impl DownstreamIo for tokio::io::DuplexStream {
    fn reset_on_drop(&self) {}
}

/// Whoever is at the other end of a connection.
#[derive(Clone, Debug, Default)]
pub struct PeerInfo {
    /// Its address; `None` for a Unix socket.
    pub addr: Option<SocketAddr>,
    /// The address of ours that it called; `None` for a Unix socket.
    pub local: Option<SocketAddr>,
    /// Whether it speaks TLS.
    pub is_tls: bool,
    /// Its certificate, which was verified; `None` if it showed none.
    pub certificate: Option<Arc<CallerCertificate>>,
    /// The user that its process ran as when it connected to a Unix socket.
    pub uid: Option<u32>,
    /// The use of its connection, on a listener with an [`EvictingLimit`].
    pub usage: Option<Arc<ConnectionUse>>,
}

/// How long the callers of a listener are waited for.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// A TLS handshake.
    pub handshake: Duration,
    /// The head of a request, from its first byte or from the connection's beginning.
    pub header: Duration,
    /// A connection without a request.
    pub keep_alive: Duration,
    /// Silence in the middle of a request, while it is the caller's turn to send or to take.
    pub body: Duration,
    /// The age from which a connection takes no further request, give or take a tenth.
    pub max_age: Duration,
}

impl Timeouts {
    /// Those that `listen` describes.
    pub fn new(listen: &Listen) -> Self {
        Timeouts {
            handshake: listen.handshake_timeout,
            header: listen.header_timeout,
            keep_alive: listen.keep_alive_timeout,
            body: listen.body_timeout,
            max_age: listen.max_age,
        }
    }

    /// These, for good.
    pub fn fixed(self) -> watch::Receiver<Self> {
        watch::channel(self).1
    }
}

/// What a worker needs to know to serve its connections.
#[derive(Clone)]
pub struct ServerOptions {
    /// The TLS side of the listener, if it has one: each connection is served with the newest.
    pub tls: Option<watch::Receiver<ServerTls>>,
    /// How long callers are waited for, at the moment.
    pub timeouts: watch::Receiver<Timeouts>,
    /// Concurrent HTTP/2 streams on one connection.
    pub max_h2_streams: u32,
    /// Whether the field names of HTTP/1 answers that have no spelling of their own begin with
    /// capitals.
    pub title_case_headers: bool,
    /// What is held of an HTTP/1 connection, in each direction: its head, or the part of a body
    /// that goes through.
    pub max_buffer_bytes: usize,
    /// Permits for open connections, one for the whole process.
    pub connection_permits: Arc<Semaphore>,
    /// Bound that closes an idle connection instead of keeping a new one waiting; `None` for the
    /// permits alone.
    pub evicting_limit: Option<Arc<EvictingLimit>>,
    /// Where connections are counted.
    pub connection_metrics: Arc<ConnectionMetrics>,
    /// Where refused connections are reported.
    pub refusal_log: Arc<RefusalLog>,
}

impl ServerOptions {
    /// The options that `listen` describes; `tls` is the receiver that [`tls_channel`] gives for its
    /// `listen.tls`.
    pub fn new(
        listen: &Listen,
        tls: Option<watch::Receiver<ServerTls>>,
        refused: Arc<RefusedConnections>,
    ) -> Self {
        ServerOptions {
            tls,
            timeouts: Timeouts::new(listen).fixed(),
            max_h2_streams: listen.h2_streams,
            title_case_headers: listen.header_case == HeaderCase::Preserve,
            max_buffer_bytes: MAX_BUFFER_BYTES,
            connection_permits: Arc::new(Semaphore::new(listen.max_connections.get() as usize)),
            evicting_limit: None,
            connection_metrics: Arc::default(),
            refusal_log: RefusalLog::new("callers", refused),
        }
    }
}
