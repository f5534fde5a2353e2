//! The way to a server, step by step: DNS, TCP, the egress proxy if there is one, TLS. Each step has a deadline of its
//! own.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::tls::{self, Broken, Shown};
use crate::config::{Egress, HttpUrl, Identity, Origin, Token, Upstream};
use crate::error::Cause;
use crate::upstream::{TunnelError, tunnel};

const STEP_TIMEOUT: Duration = Duration::from_secs(5);

/// More addresses than any service publishes: a bound for what is opened at once.
const MOST_ADDRESSES: usize = 16;

/// One of the two servers that the proxy speaks to, and where the configuration tells of it.
pub(super) struct Way {
    pub(super) name: &'static str,
    pub(super) origin: Origin,
    pub(super) roots: Vec<CertificateDer<'static>>,
    /// The certificate that the proxy shows it over any connection.
    pub(super) identity: Option<Identity>,
    /// The egress proxy that DNS and TCP lead to, if there is one.
    pub(super) egress: Option<Egress>,
    /// The keys that name the server.
    pub(super) keys: &'static str,
    /// The key for roots of one's own.
    pub(super) ca_key: &'static str,
    /// A variable of the environment that names a proxy, and is ignored.
    pub(super) ignored: Option<&'static str>,
}

impl Way {
    /// The way to the token endpoint.
    ///
    /// # Errors
    /// When the client's certificate cannot be read.
    pub(super) fn to_token_endpoint(config: &Token, ignored: Option<&'static str>) -> Result<Self, Cause> {
        let root = HttpUrl::try_from(config.endpoint.url().join("/")?.to_string())?;
        let origin = Origin::of(&root).ok_or("token.endpoint has no origin")?;
        let identity = config.credentials.identity()?;
        let (name, keys, ca_key) =
            ("token endpoint", "token.endpoint", "token.ca_file (or upstream.ca_file, for both)");
        let (roots, egress) = (config.roots.clone(), config.egress.clone());
        Ok(Way { name, origin, roots, identity, egress, keys, ca_key, ignored })
    }

    /// The way to the API.
    pub(super) fn to_api(config: &Upstream, ignored: Option<&'static str>) -> Self {
        let (name, keys) = ("API", "upstream.region or upstream.base_url");
        Way {
            name,
            origin: config.origin.clone(),
            roots: config.roots.clone(),
            identity: config.identity.clone(),
            egress: config.egress.clone(),
            keys,
            ca_key: "upstream.ca_file",
            ignored,
        }
    }

    /// Whom DNS and TCP lead to, and the keys that name it.
    pub(super) fn first(&self) -> (&Origin, &'static str) {
        match &self.egress {
            Some(egress) => (&egress.origin, "upstream.egress_proxy"),
            None => (&self.origin, self.keys),
        }
    }

    /// Whether TCP stays on this machine, where no firewall and no proxy is on the way.
    pub(super) fn is_local(&self) -> bool {
        HttpUrl::try_from(self.first().0.to_string()).is_ok_and(|url| url.is_loopback())
    }
}

/// What HTTP is spoken over.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

pub(super) type Stream = Box<dyn Io>;

/// DNS: the addresses of the host, at least one. As the proxy does it: by the system's resolver.
pub(super) async fn look_up(origin: &Origin) -> io::Result<Vec<SocketAddr>> {
    let found = timeout(STEP_TIMEOUT, lookup_host((origin.host.as_str(), origin.port)));
    let found: Vec<_> = found.await.map_err(|_| too_late())??.take(MOST_ADDRESSES).collect();
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(found)
}

/// What came of a connection to each address.
pub(super) struct Dialled {
    /// The first of those that were opened.
    pub(super) open: Option<(SocketAddr, TcpStream)>,
    pub(super) failed: Vec<(SocketAddr, io::Error)>,
}

/// TCP: a connection to each of `addrs`, all at once, so that dead ones do not add up.
pub(super) async fn dial(addrs: Vec<SocketAddr>) -> Dialled {
    let attempts: Vec<_> = addrs.into_iter().map(|addr| (addr, tokio::spawn(dial_one(addr)))).collect();
    let mut dialled = Dialled { open: None, failed: Vec::new() };
    for (addr, attempt) in attempts {
        match attempt.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(stream) if dialled.open.is_none() => dialled.open = Some((addr, stream)),
            Ok(_) => {}
            Err(error) => dialled.failed.push((addr, error)),
        }
    }
    dialled
}

async fn dial_one(addr: SocketAddr) -> io::Result<TcpStream> {
    timeout(STEP_TIMEOUT, TcpStream::connect(addr)).await.unwrap_or_else(|_| Err(too_late()))
}

/// CONNECT on `tcp`, a connection to `egress`.
pub(super) async fn lead_on(way: &Way, egress: &Egress, tcp: &mut TcpStream) -> Result<(), TunnelError> {
    let opened = timeout(STEP_TIMEOUT, tunnel(tcp, egress, &way.origin)).await;
    opened.unwrap_or_else(|_| Err(too_late().into()))
}

/// TLS on `tcp`, with the roots of the configuration.
pub(super) async fn secure(way: &Way, tcp: TcpStream) -> Result<(Stream, Shown), Broken> {
    timeout(STEP_TIMEOUT, tls::handshake(way, tcp)).await.unwrap_or_else(|_| Err(Broken::late(too_late())))
}

/// One more connection to an address that has been tried.
pub(super) async fn open(way: &Way, addr: SocketAddr) -> Result<Stream, Cause> {
    let mut tcp = dial_one(addr).await?;
    if let Some(egress) = &way.egress {
        lead_on(way, egress, &mut tcp).await?;
    }
    if !way.origin.tls {
        return Ok(Box::new(tcp));
    }
    let (stream, _) = secure(way, tcp).await.map_err(|broken| broken.error)?;
    Ok(stream)
}

fn too_late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", STEP_TIMEOUT.as_secs()))
}
