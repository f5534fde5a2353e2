//! Opens connections to the origin: what [`Dialer`] does, TLS, HTTP.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Body;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::Times;
use super::circuit_breaker::{Attempt, CircuitBreaker};
use super::connect_deadline::{ConnectDeadline, ConnectStep};
use super::connection_limit::{ConnectionLimit, ConnectionPermit};
use super::dial::Dialer;
use super::http2;
use super::pool::Slot;
use super::progress::Watch;
use crate::config::{self, HttpVersion};
use crate::error::BoxError;
use crate::metrics::ConnectionMetrics;
use crate::rt::readiness::Readable;
use crate::rt::tcp::CoalescingTcp;
use crate::rt::wake_filter::WakeFilter;

const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";

const NO_HTTP2: &str = "the API does not pick HTTP/2 (ALPN), which upstream.http_version asks for; \
                        \"auto\" and \"1.1\" take what it speaks";

/// What is held of an HTTP/1.1 connection, in each direction: its head, or the part of a body that
/// goes through.
const BUFFER: usize = 128 * 1024;

/// A connection that has just been opened.
pub(super) enum Opened<B> {
    Http1(Slot<B>),
    Http2(http2::Connection),
}

pub(super) struct Connector {
    pub(super) circuit: CircuitBreaker,
    pub(super) connections: Arc<ConnectionMetrics>,
    pub(super) limit: ConnectionLimit,
    dialer: Dialer,
    host: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    http_version: HttpVersion,
    times: Times,
    keep_header_case: bool,
}

impl Connector {
    pub(super) fn new(
        config: &config::Upstream,
        times: Times,
        connections: Arc<ConnectionMetrics>,
        limit: ConnectionLimit,
    ) -> Result<Self, BoxError> {
        let origin = &config.origin;
        let tls = match origin.tls {
            true => {
                let name = ServerName::try_from(origin.host.clone())?;
                Some((TlsConnector::from(Arc::new(client_config(config)?)), name))
            }
            false => None,
        };
        Ok(Connector {
            circuit: CircuitBreaker::new(config.circuit_breaker, Arc::clone(&connections)),
            connections,
            limit,
            dialer: Dialer::new(origin.clone(), config.egress.clone()),
            host: origin.host.clone(),
            tls,
            http_version: config.http_version,
            times,
            keep_header_case: config.keep_header_case,
        })
    }

    /// Whether an HTTP/2 connection may come of it.
    pub(super) fn may_speak_http2(&self) -> bool {
        match self.http_version {
            HttpVersion::Http1 => false,
            HttpVersion::Http2 => true,
            HttpVersion::Auto => self.tls.is_some(),
        }
    }

    /// Opens one connection with `permit` and starts its task; the circuit has given leave to it.
    pub(super) async fn open<B>(
        &self,
        attempt: Attempt,
        permit: ConnectionPermit,
    ) -> Result<Opened<B>, BoxError>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let opened = self.open_within(permit).await;
        if let Err(cause) = &opened {
            self.circuit.note_failed(attempt, cause);
        }
        opened
    }

    /// The same, if the circuit gives leave now.
    pub(super) async fn open_with<B>(&self, permit: ConnectionPermit) -> Result<Opened<B>, BoxError>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        self.open(self.circuit.admit()?, permit).await
    }

    /// The same with a permit that is to be had at once, while the circuit is open. The permit
    /// comes first: a leave without one is spent, and no attempt is made. Where attempts that hang
    /// hold all permits, the API is the cause, and not the limit.
    pub(super) async fn open_at_once<B>(&self) -> Result<Opened<B>, BoxError>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        match self.limit.try_acquire() {
            Ok(permit) => self.open_with(permit).await,
            Err(reached) => Err(self
                .circuit
                .refused()
                .map_or_else(|| reached.into(), Into::into)),
        }
    }

    /// As [`Self::open`], without leave: that it fails is no reason to refuse any request.
    pub(super) async fn try_open<B>(&self) -> Result<Opened<B>, BoxError>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        if self.limit.is_exhausted() {
            self.limit.log_exhausted();
        }
        self.open_within(self.limit.try_acquire()?).await
    }

    async fn open_within<B>(&self, permit: ConnectionPermit) -> Result<Opened<B>, BoxError>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let opened = self.open_whole(permit).await;
        if opened.is_ok() {
            self.circuit.note_opened();
        }
        opened
    }

    async fn open_whole<B>(&self, mut permit: ConnectionPermit) -> Result<Opened<B>, BoxError>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let deadline = ConnectDeadline::after(self.times.connect, "upstream.connect_timeout");
        let stream = CoalescingTcp(self.dialer.dial(&deadline).await?);
        permit.settle();
        match &self.tls {
            Some((tls, name)) => {
                let handshake = tls.connect(name.clone(), stream);
                let stream = deadline
                    .limit(ConnectStep::Tls, &self.host, handshake)
                    .await??;
                let picked = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
                let handshake = self.handshake(stream, picked, permit);
                deadline
                    .limit(ConnectStep::Http2, &self.host, handshake)
                    .await?
            }
            None => {
                let handshake =
                    self.handshake(stream, self.http_version == HttpVersion::Http2, permit);
                deadline
                    .limit(ConnectStep::Http2, &self.host, handshake)
                    .await?
            }
        }
    }

    async fn handshake<IO, B>(
        &self,
        io: IO,
        is_http2: bool,
        permit: ConnectionPermit,
    ) -> Result<Opened<B>, BoxError>
    where
        IO: AsyncRead + AsyncWrite + Readable + Unpin + Send + 'static,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        match (is_http2, self.http_version) {
            (true, _) => {
                let counted = self.connections.open();
                let open = || (counted, permit.opened());
                http2::Connection::open(io, &self.times, open)
                    .await
                    .map(Opened::Http2)
            }
            (false, HttpVersion::Http2) => Err(NO_HTTP2.into()),
            (false, _) => self.http1(io, permit).await.map(Opened::Http1),
        }
    }

    async fn http1<IO, B>(&self, io: IO, permit: ConnectionPermit) -> Result<Slot<B>, BoxError>
    where
        IO: AsyncRead + AsyncWrite + Readable + Unpin + Send + 'static,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let watch = Watch::default();
        // hyper hands the spelling on with the answer, as one of its extensions.
        let (sender, connection) = http1::Builder::new()
            .preserve_header_case(self.keep_header_case)
            .max_buf_size(BUFFER)
            // A proxy removes white space before the colon of a response (RFC 9112 section 5.1); it
            // does not refuse it.
            .allow_spaces_after_header_name_in_responses(true)
            .handshake(TokioIo::new(watch.listen(io)))
            .await?;
        let open = (self.connections.open(), permit.opened());
        tokio::spawn(async move {
            let _open = open;
            // Whoever waits for an answer on it is told as well.
            if let Err(error) = WakeFilter::new(connection).await {
                tracing::debug!(%error, "an upstream connection ended early");
            }
        });
        Ok(Slot::new(sender, watch, self.times.retirement()))
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
        HttpVersion::Http1 => &[HTTP1][..],
        HttpVersion::Http2 => &[HTTP2],
        HttpVersion::Auto => &[HTTP2, HTTP1],
    };
    tls.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
    Ok(tls)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::Empty;
    use tokio::net::TcpListener;
    use tokio::time::advance;

    use super::*;
    use crate::upstream::timeouts::tests::configured;

    #[tokio::test(start_paused = true)]
    async fn no_leave_is_spent_where_attempts_that_hang_hold_all_permits() {
        let config = configured("upstream.base_url=http://127.0.0.1:1");
        let limit = ConnectionLimit::new(Some(2));
        let connector =
            Connector::new(&config, Times::new(&config), Arc::default(), limit.clone()).unwrap();
        let circuit = &connector.circuit;
        while !circuit.is_open() {
            circuit.note_failed(circuit.admit().unwrap(), &"dead".into());
        }
        let _hanging = limit.try_acquire().unwrap();
        advance(Duration::from_secs(1)).await;
        for _ in 0..2 {
            let error = connector.open_at_once::<Empty<Bytes>>().await.err();
            assert_eq!(
                error.map(|cause| cause.to_string()).as_deref(),
                Some("connections to the API fail at the moment; the last attempt said: dead")
            );
        }
        assert!(circuit.admit().is_ok(), "the leave is spent");
    }

    #[tokio::test]
    async fn what_was_tried_without_leave_and_failed_opens_no_circuit() {
        let closed = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let config = configured(&format!("upstream.base_url=http://{closed}"));
        let connector = Connector::new(
            &config,
            Times::new(&config),
            Arc::default(),
            ConnectionLimit::default(),
        )
        .unwrap();
        for _ in 0..10 {
            assert!(connector.try_open::<Empty<Bytes>>().await.is_err());
        }
        assert!(!connector.circuit.is_open());
        while !connector.circuit.is_open() {
            let attempt = connector.circuit.admit().unwrap();
            let permit = connector.limit.try_acquire().unwrap();
            assert!(
                connector
                    .open::<Empty<Bytes>>(attempt, permit)
                    .await
                    .is_err()
            );
        }
    }
}
