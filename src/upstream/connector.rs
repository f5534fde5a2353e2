//! Opens connections to the origin: dials, then TLS and HTTP.

use std::sync::Arc;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::body::OutgoingBody;
use super::circuit_breaker::{CircuitBreaker, ConnectAttempt};
use super::connect_deadline::{ConnectDeadline, ConnectStep};
use super::connection_limit::{ConnectionLimit, ConnectionPermit};
use super::dial::{Dialed, Dialer};
use super::http1::pool::PooledConnection;
use super::http2::connection::Http2Connection;
use super::io::UpstreamIo;
use super::peer::{Peer, PeerError};
use super::timeouts::UpstreamTimeouts;
use super::watchdog::Watchdog;
use crate::config::{self, HttpVersion};
use crate::error::BoxError;
use crate::metrics::AccountMetrics;
use crate::rt::readiness::Readable;
use crate::rt::tcp::CoalescingTcp;
use crate::rt::wake_filter::WakeFilter;

const ALPN_HTTP1: &[u8] = b"http/1.1";
const ALPN_HTTP2: &[u8] = b"h2";

const HTTP2_NOT_PICKED: &str = "it did not select HTTP/2 (ALPN), which upstream.http_version requires; \
                                \"auto\" and \"1.1\" also allow HTTP/1.1";

/// Buffer of an HTTP/1.1 connection for each direction. It holds a head, or a part of a body.
const MAX_BUFFER_BYTES: usize = 128 * 1024;

/// A connection that has just opened.
pub(super) enum NewConnection<B> {
    Http1(PooledConnection<B>),
    Http2(Http2Connection),
}

pub(super) struct Connector {
    pub(super) circuit_breaker: CircuitBreaker,
    /// Counts the connections; names the account in the log.
    pub(super) account: Arc<AccountMetrics>,
    pub(super) limit: ConnectionLimit,
    dialer: Dialer,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    http_version: HttpVersion,
    timeouts: UpstreamTimeouts,
    keep_header_case: bool,
}

impl Connector {
    pub(super) fn new(
        config: &config::Upstream,
        timeouts: UpstreamTimeouts,
        account: Arc<AccountMetrics>,
        limit: ConnectionLimit,
    ) -> Result<Self, BoxError> {
        let origin = &config.origin;
        let tls = if origin.tls {
            let name = ServerName::try_from(origin.host.clone())?;
            Some((TlsConnector::from(Arc::new(client_config(config)?)), name))
        } else {
            None
        };
        Ok(Connector {
            circuit_breaker: CircuitBreaker::new(config.circuit_breaker, Arc::clone(&account)),
            account,
            limit,
            dialer: Dialer::new(origin.clone(), config.egress.clone()),
            tls,
            http_version: config.http_version,
            timeouts,
            keep_header_case: config.keep_header_case,
        })
    }

    /// Whether a new connection can be HTTP/2.
    pub(super) fn allows_http2(&self) -> bool {
        match self.http_version {
            HttpVersion::Http1 => false,
            HttpVersion::Http2 => true,
            HttpVersion::Auto => self.tls.is_some(),
        }
    }

    /// Names the API in an error of an open connection.
    pub(super) fn peer(&self) -> Peer<'_> {
        self.dialer.peer(&[])
    }

    /// Opens a connection for an attempt that the circuit breaker has admitted, and starts its
    /// task.
    pub(super) async fn open<B: OutgoingBody>(
        &self,
        attempt: ConnectAttempt,
        permit: ConnectionPermit,
    ) -> Result<NewConnection<B>, BoxError> {
        let opened = self.connect_and_record(permit).await;
        if let Err(cause) = &opened {
            self.circuit_breaker.record_failure(attempt, cause);
        }
        opened
    }

    /// Opens a connection if the circuit breaker admits an attempt now.
    pub(super) async fn open_if_admitted<B: OutgoingBody>(
        &self,
        permit: ConnectionPermit,
    ) -> Result<NewConnection<B>, BoxError> {
        self.open(self.circuit_breaker.admit()?, permit).await
    }

    /// Opens a connection without waiting for a permit, while the circuit is open. Takes the permit
    /// before it asks for an attempt: an attempt without a permit would be wasted. If attempts that
    /// hang hold all permits, the error is that of the API, not of the limit.
    pub(super) async fn open_now<B: OutgoingBody>(&self) -> Result<NewConnection<B>, BoxError> {
        match self.limit.try_acquire() {
            Ok(permit) => self.open_if_admitted(permit).await,
            Err(reached) => {
                let refusal = self.circuit_breaker.refusal();
                Err(refusal.map_or_else(|| reached.into(), Into::into))
            }
        }
    }

    /// Opens a connection ahead of requests. Does not ask the circuit breaker, and its failure does
    /// not count.
    pub(super) async fn open_unconditionally<B: OutgoingBody>(
        &self,
    ) -> Result<NewConnection<B>, BoxError> {
        if self.limit.is_exhausted() {
            self.limit.log_exhausted();
        }
        self.connect_and_record(self.limit.try_acquire()?).await
    }

    async fn connect_and_record<B: OutgoingBody>(
        &self,
        permit: ConnectionPermit,
    ) -> Result<NewConnection<B>, BoxError> {
        let opened = self.connect(permit).await;
        if opened.is_ok() {
            self.circuit_breaker.record_opened();
        }
        opened
    }

    async fn connect<B: OutgoingBody>(
        &self,
        mut permit: ConnectionPermit,
    ) -> Result<NewConnection<B>, BoxError> {
        let deadline = ConnectDeadline::after(self.timeouts.connect, "upstream.connect_timeout");
        let Dialed { tcp, addr } = self.dialer.dial(&deadline).await?;
        permit.release_spare();
        let stream = CoalescingTcp(tcp);
        let addrs = [addr];
        let peer = self.dialer.peer(&addrs);
        let handshake = if let Some((tls, name)) = &self.tls {
            let handshake = tls.connect(name.clone(), stream);
            let stream = deadline.limit(ConnectStep::Tls, peer, handshake).await?;
            let stream = stream.map_err(|error| PeerError::new(peer, error))?;
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(ALPN_HTTP2);
            let handshake = self.http_handshake(stream, is_http2, permit);
            deadline.limit(ConnectStep::Http2, peer, handshake).await?
        } else {
            let is_http2 = self.http_version == HttpVersion::Http2;
            let handshake = self.http_handshake(stream, is_http2, permit);
            deadline.limit(ConnectStep::Http2, peer, handshake).await?
        };
        handshake.map_err(|error| PeerError::new(peer, error).into())
    }

    async fn http_handshake<IO, B>(
        &self,
        io: IO,
        is_http2: bool,
        permit: ConnectionPermit,
    ) -> Result<NewConnection<B>, BoxError>
    where
        IO: AsyncRead + AsyncWrite + Readable + Unpin + Send + 'static,
        B: OutgoingBody,
    {
        if is_http2 {
            let open = self.account.connections.open();
            let on_open = || (open, permit.into_open());
            let account = Arc::clone(&self.account);
            let connection = Http2Connection::open(io, &self.timeouts, account, on_open).await?;
            Ok(NewConnection::Http2(connection))
        } else if self.http_version == HttpVersion::Http2 {
            Err(HTTP2_NOT_PICKED.into())
        } else {
            self.http1_handshake(io, permit)
                .await
                .map(NewConnection::Http1)
        }
    }

    async fn http1_handshake<IO, B>(
        &self,
        io: IO,
        permit: ConnectionPermit,
    ) -> Result<PooledConnection<B>, BoxError>
    where
        IO: AsyncRead + AsyncWrite + Readable + Unpin + Send + 'static,
        B: OutgoingBody,
    {
        let watchdog = Watchdog::default();
        let io = TokioIo::new(UpstreamIo::new(io, &watchdog));
        let (sender, connection) = http1::Builder::new()
            // hyper puts the spelling into an extension of the response.
            .preserve_header_case(self.keep_header_case)
            .max_buf_size(MAX_BUFFER_BYTES)
            // A proxy has to remove white space before the colon of a response field (RFC 9112
            // section 5.1), not to reject it.
            .allow_spaces_after_header_name_in_responses(true)
            .handshake(io)
            .await?;
        let open = (self.account.connections.open(), permit.into_open());
        let account = Arc::clone(&self.account);
        tokio::spawn(async move {
            let _open = open;
            // The request on the connection gets the error as well.
            if let Err(error) = WakeFilter::new(connection).await {
                tracing::debug!(account = account.name(), %error, "an upstream connection ended early");
            }
        });
        Ok(PooledConnection {
            sender,
            watchdog,
            retirement: self.timeouts.idle.retirement(),
        })
    }
}

fn client_config(config: &config::Upstream) -> Result<ClientConfig, BoxError> {
    let mut roots = RootCertStore::empty();
    for root in &config.roots {
        roots.add(root.clone())?;
    }
    let tls = ClientConfig::builder().with_root_certificates(roots);
    let mut tls = match &config.identity {
        Some(identity) => {
            tls.with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())?
        }
        None => tls.with_no_client_auth(),
    };
    let offered = match config.http_version {
        HttpVersion::Http1 => &[ALPN_HTTP1][..],
        HttpVersion::Http2 => &[ALPN_HTTP2],
        HttpVersion::Auto => &[ALPN_HTTP2, ALPN_HTTP1],
    };
    tls.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
    Ok(tls)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http_body_util::Empty;
    use tokio::net::TcpListener;
    use tokio::time::advance;

    use super::*;
    use crate::upstream::timeouts::tests::load_config;

    type Opened = Result<NewConnection<Empty<Bytes>>, BoxError>;

    #[tokio::test(start_paused = true)]
    async fn no_attempt_is_spent_without_a_permit() {
        let config = load_config("upstream.base_url=http://127.0.0.1:1");
        let limit = ConnectionLimit::new(Some(2));
        let timeouts = UpstreamTimeouts::new(&config);
        let connector = Connector::new(&config, timeouts, Arc::default(), limit.clone()).unwrap();
        let circuit_breaker = &connector.circuit_breaker;
        while !circuit_breaker.is_open() {
            circuit_breaker.record_failure(circuit_breaker.admit().unwrap(), &"dead".into());
        }
        let _hanging = limit.try_acquire().unwrap();
        advance(Duration::from_secs(1)).await;
        for _ in 0..2 {
            let opened: Opened = connector.open_now().await;
            assert_eq!(
                opened.err().map(|cause| cause.to_string()).as_deref(),
                Some("connections to the API fail at the moment; the last attempt said: dead")
            );
        }
        assert!(circuit_breaker.admit().is_ok(), "the attempt is spent");
    }

    #[tokio::test]
    async fn failures_ahead_of_requests_open_no_circuit() {
        let closed = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let config = load_config(&format!("upstream.base_url=http://{closed}"));
        let connector = Connector::new(
            &config,
            UpstreamTimeouts::new(&config),
            Arc::default(),
            ConnectionLimit::default(),
        )
        .unwrap();
        for _ in 0..10 {
            let opened: Opened = connector.open_unconditionally().await;
            assert!(opened.is_err());
        }
        assert!(!connector.circuit_breaker.is_open());
        while !connector.circuit_breaker.is_open() {
            let attempt = connector.circuit_breaker.admit().unwrap();
            let permit = connector.limit.try_acquire().unwrap();
            let opened: Opened = connector.open(attempt, permit).await;
            assert!(opened.is_err());
        }
    }
}
