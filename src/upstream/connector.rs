//! Opens connections to the origin: DNS, TCP with happy eyeballs, the egress proxy if there is one, TLS, HTTP.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use hyper::body::Body;
use hyper::client::conn::http1;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tower::Service;

use super::Times;
use super::circuit::{Attempt, Circuit};
use super::egress::{TunnelError, tunnel};
use super::http2;
use super::pool::Slot;
use super::progress::Watch;
use crate::config::{self, HttpVersion};
use crate::error::Cause;
use crate::hushed::Hushed;
use crate::joined::Joined;
use crate::metrics::Connections;
use crate::readable::Readable;

const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";

const NO_HTTP2: &str = "the API does not pick HTTP/2 (ALPN), which upstream.http_version asks for; \
                        \"auto\" and \"1.1\" take what it speaks";

/// What is held of an HTTP/1.1 connection, in each direction: its head, or the part of a body that goes through.
const BUFFER: usize = 128 * 1024;

/// A connection that has just been opened.
pub(super) enum Opened<B> {
    Http1(Slot<B>),
    Http2(http2::Connection),
}

pub(super) struct Connector {
    pub(super) circuit: Circuit,
    pub(super) connections: Arc<Connections>,
    tcp: HttpConnector,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// Whom TCP connects to: the origin, or the egress proxy.
    first: Uri,
    /// The egress proxy, and where it is to lead.
    egress: Option<(config::Egress, config::Origin)>,
    http_version: HttpVersion,
    times: Times,
    keep_header_case: bool,
}

impl Connector {
    pub(super) fn new(
        config: &config::Upstream,
        times: Times,
        connections: Arc<Connections>,
    ) -> Result<Self, Cause> {
        let origin = &config.origin;
        let tls = match origin.tls {
            true => {
                let name = ServerName::try_from(origin.host.clone())?;
                Some((TlsConnector::from(Arc::new(client_config(config)?)), name))
            }
            false => None,
        };
        let egress = config.egress.clone().map(|egress| (egress, origin.clone()));
        let first = egress.as_ref().map_or(origin, |(egress, _)| &egress.origin).to_string().parse()?;
        Ok(Connector {
            circuit: Circuit::new(config.circuit, Arc::clone(&connections)),
            connections,
            tcp: dialling(HttpConnector::new(), times.connect),
            tls,
            first,
            egress,
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

    /// Opens one connection and starts its task; the circuit has given leave to it.
    pub(super) async fn open<B>(&self, attempt: Attempt) -> Result<Opened<B>, Cause>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Cause>,
    {
        let opened = self.try_open().await;
        if let Err(cause) = &opened {
            self.circuit.note_failed(attempt, cause);
        }
        opened
    }

    /// As [`Self::open`], without leave: that it fails is no reason to refuse any request.
    pub(super) async fn try_open<B>(&self) -> Result<Opened<B>, Cause>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Cause>,
    {
        let opened = timeout(self.times.connect, self.open_whole()).await.unwrap_or_else(|_| {
            Err(match self.egress {
                Some(_) => "it took longer than upstream.connect_timeout, by way of the egress proxy".into(),
                None => "it took longer than upstream.connect_timeout".into(),
            })
        });
        if opened.is_ok() {
            self.circuit.note_opened();
        }
        opened
    }

    async fn open_whole<B>(&self) -> Result<Opened<B>, Cause>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Cause>,
    {
        let stream = self.reach().await?;
        match &self.tls {
            Some((tls, name)) => {
                let stream = tls.connect(name.clone(), stream).await?;
                let picked = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
                self.handshake(stream, picked).await
            }
            None => self.handshake(stream, self.http_version == HttpVersion::Http2).await,
        }
    }

    /// A TCP connection that leads to the origin, be it through the egress proxy.
    async fn reach(&self) -> Result<Joined, Cause> {
        let opened = self.tcp.clone().call(self.first.clone()).await;
        let Some((egress, origin)) = &self.egress else { return Ok(Joined(opened?.into_inner())) };
        let mut tcp = opened.map_err(|error| TunnelError::Unreachable(error.into()))?.into_inner();
        tunnel(&mut tcp, egress, origin).await?;
        Ok(Joined(tcp))
    }

    async fn handshake<IO, B>(&self, io: IO, is_http2: bool) -> Result<Opened<B>, Cause>
    where
        IO: AsyncRead + AsyncWrite + Readable + Unpin + Send + 'static,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Cause>,
    {
        match (is_http2, self.http_version) {
            (true, _) => {
                http2::Connection::open(io, &self.times, self.connections.open()).await.map(Opened::Http2)
            }
            (false, HttpVersion::Http2) => Err(NO_HTTP2.into()),
            (false, _) => self.http1(io).await.map(Opened::Http1),
        }
    }

    async fn http1<IO, B>(&self, io: IO) -> Result<Slot<B>, Cause>
    where
        IO: AsyncRead + AsyncWrite + Readable + Unpin + Send + 'static,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Cause>,
    {
        let watch = Watch::default();
        // hyper hands the spelling on with the answer, as one of its extensions.
        let (sender, connection) = http1::Builder::new()
            .preserve_header_case(self.keep_header_case)
            .max_buf_size(BUFFER)
            .handshake(TokioIo::new(watch.listen(io)))
            .await?;
        let open = self.connections.open();
        tokio::spawn(async move {
            let _open = open;
            // Whoever waits for an answer on it is told as well.
            if let Err(error) = Hushed::new(connection).await {
                tracing::debug!(%error, "an upstream connection ended early");
            }
        });
        Ok(Slot::new(sender, watch, self.times.retirement()))
    }
}

/// `tcp` as connections are dialled with it: it tries each address of a name, and both families nearly at once.
fn dialling<R>(mut tcp: HttpConnector<R>, limit: Duration) -> HttpConnector<R> {
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    // Shared between the addresses of the host, so that a dead one does not use up the whole time.
    tcp.set_connect_timeout(Some(limit));
    tcp
}

fn client_config(config: &config::Upstream) -> Result<ClientConfig, Cause> {
    let mut roots = RootCertStore::empty();
    for root in &config.roots {
        roots.add(root.clone())?;
    }
    let tls = ClientConfig::builder().with_root_certificates(roots);
    let mut tls = match &config.identity {
        Some(identity) => tls.with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())?,
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
    use std::io;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

    use http_body_util::Empty;
    use tokio::net::{TcpListener, TcpSocket, TcpStream};
    use tokio::time::Instant;

    use super::*;
    use crate::upstream::times::tests::configured;

    const LIMIT: Duration = Duration::from_secs(2);

    #[tokio::test]
    async fn what_was_tried_without_leave_and_failed_opens_no_circuit() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let config = configured(&format!("upstream.base_url=http://{closed}"));
        let connector = Connector::new(&config, Times::new(&config), Arc::default()).unwrap();
        for _ in 0..10 {
            assert!(connector.try_open::<Empty<Bytes>>().await.is_err());
        }
        assert!(!connector.circuit.is_open());
        while !connector.circuit.is_open() {
            let attempt = connector.circuit.admit().unwrap();
            assert!(connector.open::<Empty<Bytes>>(attempt).await.is_err());
        }
    }

    /// A connection to a name that has `hosts`, at `port`.
    async fn dial(hosts: &[IpAddr], port: u16) -> io::Result<SocketAddr> {
        let addrs: Vec<_> = hosts.iter().map(|&host| SocketAddr::new(host, port)).collect();
        let resolver = tower::service_fn(move |_| {
            let addrs = addrs.clone();
            async move { Ok::<_, io::Error>(addrs.into_iter()) }
        });
        let mut tcp = dialling(HttpConnector::new_with_resolver(resolver), LIMIT);
        let uri = format!("https://a.example:{port}").parse().unwrap();
        let opened = timeout(LIMIT, tcp.call(uri)).await.expect("it took longer than it may");
        opened.map_err(io::Error::other)?.into_inner().peer_addr()
    }

    #[tokio::test]
    async fn all_addresses_are_tried_within_the_time() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let live = listener.local_addr().unwrap();
        let [here, dead] = [live.ip(), IpAddr::from(Ipv4Addr::new(127, 0, 0, 2))];
        let v6 = IpAddr::from(Ipv6Addr::LOCALHOST);
        for hosts in [&[dead, here][..], &[v6, here], &[v6, dead, here], &[here, v6]] {
            assert_eq!(dial(hosts, live.port()).await.unwrap(), live, "{hosts:?}");
        }
        assert!(dial(&[dead, v6], live.port()).await.is_err());
    }

    #[tokio::test]
    async fn an_address_that_is_silent_leaves_time_for_the_next() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let live = listener.local_addr().unwrap();
        // A listener whose queue is full is as silent as a host that is down.
        let silent = SocketAddr::new(Ipv4Addr::new(127, 0, 0, 2).into(), live.port());
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(silent).unwrap();
        let _silent = socket.listen(0).unwrap();
        let mut queue = Vec::new();
        while let Ok(Ok(waiting)) = timeout(LIMIT / 8, TcpStream::connect(silent)).await {
            queue.push(waiting);
            assert!(queue.len() < 64, "the queue is never full");
        }
        let began = Instant::now();
        assert_eq!(dial(&[silent.ip(), live.ip()], live.port()).await.unwrap(), live);
        assert!(began.elapsed() >= LIMIT / 4, "the silent one was not tried");
    }
}
