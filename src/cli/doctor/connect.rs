//! Connection to a target in single steps, without output: TCP, CONNECT to the egress proxy, TLS.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use super::target::Target;
use super::tls::{self, PeerCertificate, TlsError};
use crate::cli::http::BoxTransport;
use crate::config::Egress;
use crate::error::BoxError;
use crate::upstream::{ConnectDeadline, ConnectStep, DialError, TcpError, open_tunnel};

/// The further time for the other addresses once one is connected; `run` does not wait for them.
const OTHER_ADDRESSES_TIMEOUT: Duration = Duration::from_secs(1);

/// The result of dialing every address.
#[derive(Default)]
pub(super) struct DialOutcome {
    /// The first connection that was opened.
    pub(super) connected: Option<Connected>,
    pub(super) failed: Vec<(SocketAddr, io::Error)>,
}

pub(super) struct Connected {
    pub(super) addr: SocketAddr,
    pub(super) tcp: TcpStream,
    pub(super) after: Duration,
}

/// Dials all of `addrs` at once, so that the timeouts of dead ones do not add up.
pub(super) async fn dial(addrs: Vec<SocketAddr>, deadline: &ConnectDeadline) -> DialOutcome {
    let began = Instant::now();
    let mut pending = addrs.clone();
    let mut attempts = JoinSet::new();
    for addr in addrs {
        attempts.spawn(async move { (addr, TcpStream::connect(addr).await) });
    }
    let mut outcome = DialOutcome::default();
    let mut until = tokio::time::Instant::now() + deadline.remaining();
    while let Ok(Some(attempt)) = timeout_at(until, attempts.join_next()).await {
        let Ok((addr, attempt)) = attempt else {
            continue;
        };
        pending.retain(|other| *other != addr);
        match attempt {
            Ok(tcp) if outcome.connected.is_none() => {
                outcome.connected = Some(Connected {
                    addr,
                    tcp,
                    after: began.elapsed(),
                });
                until = until.min(tokio::time::Instant::now() + OTHER_ADDRESSES_TIMEOUT);
            }
            Ok(_) => {}
            Err(error) => outcome.failed.push((addr, error)),
        }
    }
    let waited = began.elapsed().as_millis();
    outcome.failed.extend(pending.into_iter().map(|addr| {
        let text = format!("no response within {waited} ms");
        (addr, io::Error::new(io::ErrorKind::TimedOut, text))
    }));
    outcome
}

/// Opens a tunnel by CONNECT on `tcp`, a connection to `egress`.
pub(super) async fn connect_tunnel(
    target: &Target,
    egress: &Egress,
    tcp: &mut TcpStream,
    deadline: &ConnectDeadline,
) -> Result<(), DialError> {
    Ok(open_tunnel(tcp, egress, &target.origin, deadline).await??)
}

/// Performs the TLS handshake on `tcp`.
pub(super) async fn connect_tls(
    target: &Target,
    tcp: TcpStream,
    addr: SocketAddr,
    deadline: &ConnectDeadline,
) -> Result<(BoxTransport, PeerCertificate), TlsError> {
    let addrs = [addr];
    let handshake = tls::handshake(target, tcp);
    deadline
        .limit(ConnectStep::Tls, target.peer_at(&addrs), handshake)
        .await
        .unwrap_or_else(|late| Err(TlsError::timed_out(late)))
}

/// Opens another connection to `addr`, which has been connected before.
pub(super) async fn reconnect(target: &Target, addr: SocketAddr) -> Result<BoxTransport, BoxError> {
    let deadline = target.deadline();
    let addrs = [addr];
    let peer = target.first_hop_peer();
    let connected = deadline
        .limit(ConnectStep::Tcp, peer.at(&addrs), TcpStream::connect(addr))
        .await?;
    let mut tcp = connected.map_err(|error| TcpError::new(peer, &[(addr, error)]))?;
    if let Some(egress) = &target.egress {
        connect_tunnel(target, egress, &mut tcp, &deadline).await?;
    }
    if !target.origin.tls {
        return Ok(Box::new(tcp));
    }
    let connected = connect_tls(target, tcp, addr, &deadline).await;
    let (transport, _) = connected.map_err(|failed| failed.error)?;
    Ok(transport)
}
