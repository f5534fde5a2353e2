//! Outgoing connections: name lookup, TCP with happy eyeballs (RFC 8305), the egress proxy, under
//! one deadline.
//!
//! hyper-util's connector divides its timeout among the addresses of a family and tries them one
//! after the other: behind a dead address the next one waits for seconds. reqwest has the same
//! connector and takes no other.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::connect_deadline::{ConnectDeadline, ConnectStep, DeadlineExceeded};
use super::egress_proxy::{TunnelError, open_tunnel};
use crate::config::{Egress, Origin};

/// How long an address is tried alone before the next is tried as well (RFC 8305 section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Addresses of a host that are tried; a name with more of them is somebody's mistake.
const MAX_ADDRESSES: usize = 16;

/// TCP handshakes of one connection that run at once: each takes a socket
/// ([`ConnectionLimit`](super::ConnectionLimit)).
pub(super) const MAX_ATTEMPTS: u32 = 2;

/// How long a lookup runs before another is started beside it. glibc asks the second name server
/// after 5 s.
const LOOKUP_DELAY: Duration = Duration::from_secs(6);

/// The lookups of one dialer that run at once at most: each holds a thread and a socket, and none
/// can be cancelled.
const MAX_LOOKUPS: usize = 4;

/// Why a host name has no address.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the name lookup of {host} failed: {text}")]
pub(crate) struct LookupError {
    host: String,
    /// As the system words it.
    pub(crate) text: String,
    /// Whether the name servers could not be asked, so that the name may exist.
    pub(crate) is_temporary: bool,
}

impl LookupError {
    fn new(host: &str, error: &io::Error) -> Self {
        let text = error.to_string();
        let text = text
            .trim_start_matches("failed to lookup address information: ")
            .to_owned();
        // EAI_AGAIN as glibc and musl word it: the standard library keeps the text of the error and
        // not its number.
        let is_temporary =
            ["Temporary failure in name resolution", "Try again"].contains(&text.as_str());
        LookupError {
            host: host.to_owned(),
            text,
            is_temporary,
        }
    }
}

/// Why no address of a host took a connection.
#[derive(Debug)]
pub(crate) struct TcpError(Vec<(SocketAddr, io::Error)>);

impl fmt::Display for TcpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no TCP connection")?;
        let mut separator = ": ";
        for (addr, error) in &self.0 {
            write!(f, "{separator}{addr}: {error}")?;
            separator = "; ";
        }
        Ok(())
    }
}

impl std::error::Error for TcpError {}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// It took too long.
    #[error(transparent)]
    Timeout(#[from] DeadlineExceeded),
    /// The host has no address.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// No address took it.
    #[error(transparent)]
    Tcp(#[from] TcpError),
    /// The egress proxy is in the way.
    #[error(transparent)]
    Tunnel(#[from] TunnelError),
}

/// The addresses of a host, in the order of the system's resolver.
///
/// # Errors
/// When it has none.
pub(crate) async fn resolve_host(host: &str, port: u16) -> Result<Vec<SocketAddr>, LookupError> {
    let found = lookup_host((host, port))
        .await
        .map_err(|error| LookupError::new(host, &error))?;
    let found: Vec<_> = interleave(found.collect())
        .into_iter()
        .take(MAX_ADDRESSES)
        .collect();
    match found.is_empty() {
        true => Err(LookupError::new(
            host,
            &io::Error::other("the name has no address"),
        )),
        false => Ok(found),
    }
}

/// `addrs` with the families by turns (RFC 8305 section 4): where one is broken, the second attempt
/// is of the other.
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

/// A TCP handshake that has not ended.
struct Attempt {
    addr: SocketAddr,
    connecting: Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>,
}

impl Attempt {
    fn start(addr: SocketAddr) -> Self {
        Attempt {
            addr,
            connecting: Box::pin(TcpStream::connect(addr)),
        }
    }
}

/// A connection to whichever of `addrs` takes one first. The next address is tried when an attempt
/// has failed, and when the newest one has not ended for [`ATTEMPT_DELAY`]. Where [`MAX_ATTEMPTS`]
/// run by then, the oldest makes room. Its address is tried again after all others, and each round
/// waits twice as long as the one before: an address that is slow, or that lost a packet, still
/// gets the time that it needs. Has no deadline of its own.
async fn connect(addrs: &[SocketAddr]) -> Result<TcpStream, TcpError> {
    let mut untried: VecDeque<_> = addrs.iter().copied().collect();
    let mut attempts: VecDeque<Attempt> = VecDeque::new();
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
            attempts.push_back(Attempt::start(addr));
        }
        if attempts.is_empty() {
            return Err(TcpError(failed));
        }
        tokio::select! {
            (addr, ended) = next_ended(&mut attempts) => match ended {
                Ok(tcp) => {
                    tcp.set_nodelay(true).map_err(|error| TcpError(vec![(addr, error)]))?;
                    return Ok(tcp);
                }
                Err(error) => failed.push((addr, error)),
            },
            () = sleep(delay), if !untried.is_empty() => {}
        }
    }
}

/// Waits for one of `attempts` to end, and removes it from them.
async fn next_ended(attempts: &mut VecDeque<Attempt>) -> (SocketAddr, io::Result<TcpStream>) {
    poll_fn(|cx| {
        for index in 0..attempts.len() {
            let Some(attempt) = attempts.get_mut(index) else {
                break;
            };
            if let Poll::Ready(ended) = attempt.connecting.as_mut().poll(cx) {
                let addr = attempt.addr;
                attempts.remove(index);
                return Poll::Ready((addr, ended));
            }
        }
        Poll::Pending
    })
    .await
}

type Addresses = Result<Vec<SocketAddr>, LookupError>;
type Lookup = Pin<Box<dyn Future<Output = Addresses> + Send>>;
type Resolve = dyn Fn(String, u16) -> Lookup + Send + Sync;

/// Opens TCP connections that lead to one origin, directly or through the egress proxy.
pub(crate) struct Dialer {
    origin: Origin,
    egress: Option<Egress>,
    resolve: Box<Resolve>,
    lookups: Mutex<Lookups>,
}

/// The lookups that run.
#[derive(Default)]
struct Lookups {
    shared: Option<SharedLookup>,
    /// Each lookup that runs has a clone.
    running: Arc<()>,
}

/// The lookup that all wait for who need an address now: a slow resolver holds one thread and not
/// one for each connection, and serves the next attempt where the first gave up. One that hangs
/// gets another beside it; the first result is for all.
struct SharedLookup {
    found: watch::Receiver<Option<Addresses>>,
    /// Gone with the last task that looks up.
    sender: Weak<watch::Sender<Option<Addresses>>>,
    /// When the last of its tasks was started.
    started: Instant,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl Dialer {
    /// Leads to `origin`, through `egress` if there is one.
    pub(crate) fn new(origin: Origin, egress: Option<Egress>) -> Self {
        let resolve =
            |host: String, port| Box::pin(async move { resolve_host(&host, port).await }) as Lookup;
        Dialer {
            origin,
            egress,
            resolve: Box::new(resolve),
            lookups: Mutex::default(),
        }
    }

    /// One that asks `resolve` in place of the system's resolver.
    #[cfg(test)]
    pub(crate) fn with_resolver(
        self,
        resolve: impl Fn(String, u16) -> Lookup + Send + Sync + 'static,
    ) -> Self {
        Dialer {
            resolve: Box::new(resolve),
            ..self
        }
    }

    /// A connection that leads to the origin.
    ///
    /// # Errors
    /// When there is none before `deadline`.
    pub(crate) async fn dial(&self, deadline: &ConnectDeadline) -> Result<TcpStream, DialError> {
        let Some(egress) = &self.egress else {
            return self.connect(&self.origin, deadline).await;
        };
        let mut tcp = match self.connect(&egress.origin, deadline).await {
            Err(DialError::Lookup(error)) => {
                return Err(TunnelError::Unreachable(error.into()).into());
            }
            Err(DialError::Tcp(error)) => return Err(TunnelError::Unreachable(error.into()).into()),
            other => other?,
        };
        let Origin { host, port, .. } = &self.origin;
        let opened = open_tunnel(&mut tcp, egress, &self.origin);
        deadline
            .limit(ConnectStep::Tunnel, format!("{host}:{port}"), opened)
            .await??;
        Ok(tcp)
    }

    async fn connect(
        &self,
        to: &Origin,
        deadline: &ConnectDeadline,
    ) -> Result<TcpStream, DialError> {
        let Origin { host, port, .. } = to;
        let addrs = match host.parse::<IpAddr>() {
            Ok(addr) => vec![SocketAddr::new(addr, *port)],
            Err(_) => {
                deadline
                    .limit(ConnectStep::Lookup, host, self.resolve_host(to))
                    .await??
            }
        };
        let peer = format!("{host}:{port}");
        Ok(deadline
            .limit(ConnectStep::Tcp, peer, connect(&addrs))
            .await??)
    }

    async fn resolve_host(&self, to: &Origin) -> Addresses {
        let mut lookup = self.running_lookup(to);
        match lookup.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(found)) => found.clone(),
            _ => Err(LookupError::new(
                &to.host,
                &io::Error::other("the lookup was given up"),
            )),
        }
    }

    fn running_lookup(&self, to: &Origin) -> watch::Receiver<Option<Addresses>> {
        let mut lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = Arc::strong_count(&lookups.running) > MAX_LOOKUPS;
        let shared = lookups
            .shared
            .as_ref()
            .filter(|shared| shared.found.borrow().is_none());
        let shared = shared.and_then(|shared| Some((shared, shared.sender.upgrade()?)));
        let (found, sender) = match shared {
            Some((shared, _)) if is_full || shared.started.elapsed() < LOOKUP_DELAY => {
                return shared.found.clone();
            }
            Some((shared, sender)) => (shared.found.clone(), sender),
            // Not full: one has just ended.
            None => {
                let (sender, found) = watch::channel(None);
                (found, Arc::new(sender))
            }
        };
        lookups.shared = Some(SharedLookup {
            found: found.clone(),
            sender: Arc::downgrade(&sender),
            started: Instant::now(),
        });
        let running = Arc::clone(&lookups.running);
        let lookup = (self.resolve)(to.host.clone(), to.port);
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
