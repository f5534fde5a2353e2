//! The way to a server, step by step: DNS, TCP, the egress proxy if there is one, TLS. All together
//! have the time limit that they have in `run`.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{timeout, timeout_at};

use super::tls::{self, Broken, Shown};
use crate::config::{Egress, HttpUrl, Identity, Origin, Token, Upstream};
use crate::error::BoxError;
use crate::upstream::{
    ConnectDeadline, ConnectStep, DialError, LookupError, open_tunnel, resolve_host,
};

/// How long a name lookup may take, whatever the configuration says: one that is too slow for `run`
/// is told from one that never ends. glibc asks three name servers twice, and waits 5 s for each.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(30);

/// How much longer than the first address the others have to answer: `run` does not wait for them.
const OTHERS_TIMEOUT: Duration = Duration::from_secs(1);

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
    /// The time limit of a connection, from the name lookup to TLS.
    pub(super) connect: Limit,
    /// The time limit of a response.
    pub(super) response: Limit,
    /// A variable of the environment that names a proxy, and is ignored.
    pub(super) ignored: Option<&'static str>,
}

/// A time limit of `run`, and the key that sets it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) time: Duration,
    pub(super) key: &'static str,
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} ({})",
            self.key,
            humantime::format_duration(self.time)
        )
    }
}

impl Way {
    /// The way to the token endpoint.
    ///
    /// # Errors
    /// When the client's certificate cannot be read.
    pub(super) fn to_token_endpoint(
        config: &Token,
        ignored: Option<&'static str>,
    ) -> Result<Self, BoxError> {
        let origin = config
            .endpoint
            .origin()
            .ok_or("token.endpoint has no host")?;
        let identity = config.credentials.identity()?;
        let (name, keys, ca_key) = (
            "token endpoint",
            "token.endpoint",
            "token.ca_file (or upstream.ca_file, for both)",
        );
        let (roots, egress) = (config.roots.clone(), config.egress.clone());
        let limit = Limit {
            time: config.timeout,
            key: "token.timeout",
        };
        let (connect, response) = (limit, limit);
        Ok(Way {
            name,
            origin,
            roots,
            identity,
            egress,
            keys,
            ca_key,
            connect,
            response,
            ignored,
        })
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
            connect: Limit {
                time: config.connect_timeout,
                key: "upstream.connect_timeout",
            },
            response: Limit {
                time: config.response_timeout,
                key: "upstream.response_timeout",
            },
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

    /// The deadline of a connection that is begun now.
    pub(super) fn deadline(&self) -> ConnectDeadline {
        ConnectDeadline::after(self.connect.time, self.connect.key)
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

/// What came of a name lookup.
pub(super) enum LookedUp {
    /// Its addresses, in time.
    Found(Vec<SocketAddr>),
    /// There are some, too late for `run`; or none after so long as is waited here.
    Slow,
    Failed(LookupError),
}

/// DNS, as the proxy does it: by the system's resolver.
pub(super) async fn find(way: &Way) -> LookedUp {
    let Origin { host, port, .. } = way.first().0;
    let began = Instant::now();
    let found = timeout(
        way.connect.time.max(LOOKUP_PATIENCE),
        resolve_host(host, *port),
    )
    .await;
    match found {
        Ok(Ok(addrs)) if began.elapsed() <= way.connect.time => LookedUp::Found(addrs),
        Ok(Ok(_)) | Err(_) => LookedUp::Slow,
        Ok(Err(error)) => LookedUp::Failed(error),
    }
}

/// What came of a connection to each address.
pub(super) struct Dialled {
    /// The first that was opened, and how long that took.
    pub(super) open: Option<(SocketAddr, TcpStream, Duration)>,
    pub(super) failed: Vec<(SocketAddr, io::Error)>,
}

/// TCP: a connection to each of `addrs`, all at once, so that dead ones do not add up.
pub(super) async fn dial(addrs: Vec<SocketAddr>, deadline: &ConnectDeadline) -> Dialled {
    let began = Instant::now();
    let mut silent = addrs.clone();
    let mut attempts = JoinSet::new();
    for addr in addrs {
        attempts.spawn(async move { (addr, TcpStream::connect(addr).await) });
    }
    let mut dialled = Dialled {
        open: None,
        failed: Vec::new(),
    };
    let mut until = tokio::time::Instant::now() + deadline.remaining();
    while let Ok(Some(attempt)) = timeout_at(until, attempts.join_next()).await {
        let Ok((addr, attempt)) = attempt else {
            continue;
        };
        silent.retain(|other| *other != addr);
        match attempt {
            Ok(stream) if dialled.open.is_none() => {
                dialled.open = Some((addr, stream, began.elapsed()));
                until = until.min(tokio::time::Instant::now() + OTHERS_TIMEOUT);
            }
            Ok(_) => {}
            Err(error) => dialled.failed.push((addr, error)),
        }
    }
    let waited = began.elapsed().as_millis();
    let no_answer = || {
        io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {waited} ms"),
        )
    };
    dialled
        .failed
        .extend(silent.into_iter().map(|addr| (addr, no_answer())));
    dialled
}

/// CONNECT on `tcp`, a connection to `egress`.
pub(super) async fn connect_tunnel(
    way: &Way,
    egress: &Egress,
    tcp: &mut TcpStream,
    deadline: &ConnectDeadline,
) -> Result<(), DialError> {
    let Origin { host, port, .. } = &way.origin;
    let opened = open_tunnel(tcp, egress, &way.origin);
    Ok(deadline
        .limit(ConnectStep::Tunnel, format!("{host}:{port}"), opened)
        .await??)
}

/// TLS on `tcp`, with the roots of the configuration.
pub(super) async fn secure(
    way: &Way,
    tcp: TcpStream,
    deadline: &ConnectDeadline,
) -> Result<(Stream, Shown), Broken> {
    let handshake = deadline
        .limit(ConnectStep::Tls, &way.origin.host, tls::handshake(way, tcp))
        .await;
    handshake
        .unwrap_or_else(|late| Err(Broken::late(io::Error::new(io::ErrorKind::TimedOut, late))))
}

/// One more connection to an address that has been tried.
pub(super) async fn open(way: &Way, addr: SocketAddr) -> Result<Stream, BoxError> {
    let deadline = way.deadline();
    let mut tcp = deadline
        .limit(ConnectStep::Tcp, addr, TcpStream::connect(addr))
        .await??;
    if let Some(egress) = &way.egress {
        connect_tunnel(way, egress, &mut tcp, &deadline).await?;
    }
    if !way.origin.tls {
        return Ok(Box::new(tcp));
    }
    let (stream, _) = secure(way, tcp, &deadline)
        .await
        .map_err(|broken| broken.error)?;
    Ok(stream)
}
