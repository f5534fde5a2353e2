//! Dialer of outgoing connections: name lookup, TCP with happy eyeballs (RFC 8305) and the egress
//! proxy, under one deadline.
//!
//! hyper-util's connector divides its timeout among the addresses of a family and tries them one
//! after the other, so an address behind a dead one waits for seconds. reqwest uses that connector
//! and accepts no other.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::select_all;
use parking_lot::Mutex;
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::connect_deadline::{ConnectDeadline, ConnectStep, DeadlineExceeded};
use super::egress_proxy::{TunnelError, open_tunnel};
use super::peer::{Peer, TcpError};
use crate::config::{Egress, Origin};

/// Delay before the next address is tried as well (RFC 8305 section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Addresses of a host that are tried; more are a mistake in its DNS.
const MAX_ADDRESSES: usize = 16;

/// Concurrent TCP handshakes of one connection. Each takes a socket of the connection limit.
pub(super) const MAX_ATTEMPTS: u32 = 2;

/// Time after which a second lookup starts beside the first. glibc asks the second name server
/// after 5 s.
const LOOKUP_DELAY: Duration = Duration::from_secs(6);

/// Concurrent lookups of one dialer. Each holds a thread and a socket, and cannot be cancelled.
const MAX_LOOKUPS: usize = 4;

/// The error of a name lookup.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the name lookup failed: {text}")]
pub(crate) struct LookupError {
    /// The message of the system.
    pub(crate) text: String,
    /// Whether the name servers did not respond, so that the name may exist.
    pub(crate) is_temporary: bool,
}

impl LookupError {
    fn new(error: &io::Error) -> Self {
        let text = error.to_string();
        let text = text
            .trim_start_matches("failed to lookup address information: ")
            .to_owned();
        // The messages of glibc and musl for EAI_AGAIN: the standard library keeps the message of
        // the error, not its number.
        let is_temporary =
            ["Temporary failure in name resolution", "Try again"].contains(&text.as_str());
        LookupError { text, is_temporary }
    }
}

/// The error of dialing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error(transparent)]
    Timeout(#[from] DeadlineExceeded),
    #[error("{peer}: {error}")]
    Lookup { peer: String, error: LookupError },
    #[error(transparent)]
    Tcp(#[from] TcpError),
    #[error(transparent)]
    Tunnel(#[from] TunnelError),
}

/// A new connection.
#[derive(Debug)]
pub(crate) struct Dialed {
    pub(crate) tcp: TcpStream,
    /// The address that TCP leads to: with an egress proxy, its own.
    pub(crate) addr: SocketAddr,
}

/// Looks up the addresses of a host, in the order of the system's resolver.
///
/// # Errors
/// When the host has no address.
pub(crate) async fn resolve_host(host: &str, port: u16) -> Result<Vec<SocketAddr>, LookupError> {
    let found = lookup_host((host, port))
        .await
        .map_err(|error| LookupError::new(&error))?;
    let found: Vec<_> = interleave(found.collect())
        .into_iter()
        .take(MAX_ADDRESSES)
        .collect();
    if found.is_empty() {
        let error = io::Error::other("the name has no address");
        return Err(LookupError::new(&error));
    }
    Ok(found)
}

/// Alternates the families of `addrs` (RFC 8305 section 4): if one family is broken, the second
/// attempt uses the other.
fn interleave(addrs: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v4 = addrs.first().is_some_and(SocketAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) = addrs
        .into_iter()
        .partition(|addr| addr.is_ipv4() == first_is_v4);
    let mut mixed = Vec::with_capacity(first.len() + second.len());
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return mixed;
        }
        mixed.extend(pair.into_iter().flatten());
    }
}

/// A running TCP handshake.
struct TcpAttempt {
    addr: SocketAddr,
    connecting: Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>,
}

/// Connects to the first of `addrs` that accepts. Tries the next address when an attempt fails, and
/// when the newest has run for [`ATTEMPT_DELAY`]. If [`MAX_ATTEMPTS`] run by then, the oldest is
/// cancelled. Its address is tried again after all others, and each round waits twice as long as
/// the one before, so a slow address or a lost packet gets enough time. Has no deadline of its own.
async fn connect_any(addrs: &[SocketAddr]) -> Result<Dialed, Vec<(SocketAddr, io::Error)>> {
    let mut untried: VecDeque<_> = addrs.iter().copied().collect();
    let mut attempts: VecDeque<TcpAttempt> = VecDeque::new();
    let mut failed = Vec::new();
    let mut delay = ATTEMPT_DELAY;
    let mut left_in_round = addrs.len();
    loop {
        if let Some(addr) = untried.pop_front() {
            if attempts.len() >= MAX_ATTEMPTS as usize
                && let Some(oldest) = attempts.pop_front()
            {
                untried.push_back(oldest.addr);
            }
            if left_in_round == 0 {
                delay = delay.saturating_mul(2);
                left_in_round = addrs.len() - failed.len();
            }
            left_in_round = left_in_round.saturating_sub(1);
            attempts.push_back(TcpAttempt {
                addr,
                connecting: Box::pin(TcpStream::connect(addr)),
            });
        }
        if attempts.is_empty() {
            return Err(failed);
        }
        tokio::select! {
            (addr, ended) = next_ended(&mut attempts) => match ended {
                Ok(tcp) => {
                    tcp.set_nodelay(true).map_err(|error| vec![(addr, error)])?;
                    return Ok(Dialed { tcp, addr });
                }
                Err(error) => failed.push((addr, error)),
            },
            () = sleep(delay), if !untried.is_empty() => {}
        }
    }
}

/// Waits until one of `attempts`, which are not empty, ends, and removes it.
async fn next_ended(attempts: &mut VecDeque<TcpAttempt>) -> (SocketAddr, io::Result<TcpStream>) {
    let connecting = attempts.iter_mut().map(|attempt| &mut attempt.connecting);
    let (ended, index, _) = select_all(connecting).await;
    let addr = attempts[index].addr;
    attempts.remove(index);
    (addr, ended)
}

type LookupResult = Result<Vec<SocketAddr>, LookupError>;
type LookupFuture = Pin<Box<dyn Future<Output = LookupResult> + Send>>;
type Resolver = dyn Fn(String, u16) -> LookupFuture + Send + Sync;

/// Opens TCP connections to one origin, directly or through the egress proxy.
pub(crate) struct Dialer {
    origin: Origin,
    egress: Option<Egress>,
    resolver: Box<Resolver>,
    lookups: Mutex<Lookups>,
}

/// The running lookups.
#[derive(Default)]
struct Lookups {
    shared: Option<SharedLookup>,
    /// Cloned by each running lookup.
    running: Arc<()>,
}

/// A lookup for all connections that need an address now: a slow resolver holds one thread instead
/// of one for each connection, and its result serves the next attempt if the first gave up. A
/// second lookup runs beside one that hangs; the first result serves all.
struct SharedLookup {
    result: watch::Receiver<Option<LookupResult>>,
    /// Dropped with the last lookup task.
    sender: Weak<watch::Sender<Option<LookupResult>>>,
    /// Start of the newest task.
    started_at: Instant,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl Dialer {
    /// Creates a dialer to `origin`, through `egress` if set.
    pub(crate) fn new(origin: Origin, egress: Option<Egress>) -> Self {
        let resolver = |host: String, port| {
            Box::pin(async move { resolve_host(&host, port).await }) as LookupFuture
        };
        Dialer {
            origin,
            egress,
            resolver: Box::new(resolver),
            lookups: Mutex::default(),
        }
    }

    #[cfg(test)]
    pub(crate) fn with_resolver(
        self,
        resolver: impl Fn(String, u16) -> LookupFuture + Send + Sync + 'static,
    ) -> Self {
        Dialer {
            resolver: Box::new(resolver),
            ..self
        }
    }

    /// Names the origin of a connection to `addrs`.
    pub(crate) fn peer<'a>(&'a self, addrs: &'a [SocketAddr]) -> Peer<'a> {
        let peer = Peer::new(&self.origin);
        match &self.egress {
            Some(egress) => peer.through(&egress.origin),
            None => peer.at(addrs),
        }
    }

    /// Opens a connection to the origin.
    ///
    /// # Errors
    /// When none opens before `deadline`.
    pub(crate) async fn dial(&self, deadline: &ConnectDeadline) -> Result<Dialed, DialError> {
        let Some(egress) = &self.egress else {
            return self
                .connect(&self.origin, Peer::new(&self.origin), deadline)
                .await;
        };
        let peer = Peer::egress_proxy(&egress.origin);
        let mut dialed = self.connect(&egress.origin, peer, deadline).await?;
        open_tunnel(&mut dialed.tcp, egress, &self.origin, deadline).await??;
        Ok(dialed)
    }

    async fn connect(
        &self,
        to: &Origin,
        peer: Peer<'_>,
        deadline: &ConnectDeadline,
    ) -> Result<Dialed, DialError> {
        let addrs = match to.host.parse::<IpAddr>() {
            Ok(addr) => vec![SocketAddr::new(addr, to.port)],
            Err(_) => deadline
                .limit(ConnectStep::Lookup, peer, self.resolve_host(to))
                .await?
                .map_err(|error| DialError::Lookup {
                    peer: peer.to_string(),
                    error,
                })?,
        };
        let connected = deadline
            .limit(ConnectStep::Tcp, peer.at(&addrs), connect_any(&addrs))
            .await?;
        connected.map_err(|failed| TcpError::new(peer, &failed).into())
    }

    async fn resolve_host(&self, to: &Origin) -> LookupResult {
        let mut lookup = self.running_lookup(to);
        match lookup.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(found)) => found.clone(),
            _ => Err(LookupError::new(&io::Error::other(
                "the lookup was aborted",
            ))),
        }
    }

    fn running_lookup(&self, to: &Origin) -> watch::Receiver<Option<LookupResult>> {
        let mut lookups = self.lookups.lock();
        let is_full = Arc::strong_count(&lookups.running) > MAX_LOOKUPS;
        let shared = lookups
            .shared
            .as_ref()
            .filter(|shared| shared.result.borrow().is_none());
        let shared = shared.and_then(|shared| Some((shared, shared.sender.upgrade()?)));
        let (found, sender) = match shared {
            Some((shared, _)) if is_full || shared.started_at.elapsed() < LOOKUP_DELAY => {
                return shared.result.clone();
            }
            Some((shared, sender)) => (shared.result.clone(), sender),
            // Not full: a lookup has just ended.
            None => {
                let (sender, found) = watch::channel(None);
                (found, Arc::new(sender))
            }
        };
        lookups.shared = Some(SharedLookup {
            result: found.clone(),
            sender: Arc::downgrade(&sender),
            started_at: Instant::now(),
        });
        let running = Arc::clone(&lookups.running);
        let lookup = (self.resolver)(to.host.clone(), to.port);
        tokio::spawn(async move {
            let _running = running;
            let result = lookup.await;
            sender.send_if_modified(|found| {
                let is_first = found.is_none();
                if is_first {
                    *found = Some(result);
                }
                is_first
            });
        });
        found
    }
}

#[cfg(test)]
mod tests;
