//! Report of the steps that connect to a target: DNS, TCP, CONNECT to the egress proxy, TLS.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use tokio::net::TcpStream;

use super::advice::connection as advice;
use super::connect::{self, Connected};
use super::report::{Report, timed};
use super::target::Target;
use crate::cli::error::CommandError;
use crate::cli::http::BoxTransport;
use crate::config::{Egress, Origin};
use crate::error::chain;
use crate::upstream::{ConnectDeadline, ConnectStep, DialError, TcpError, resolve_host};

/// A slower lookup has waited for a name server that does not respond.
const SLOW_LOOKUP: Duration = Duration::from_secs(1);

const CONNECT_STEP: &str = "egress proxy: CONNECT";

/// A connection to a target, and the address that it leads to.
pub(super) struct TargetConnection {
    pub(super) addr: SocketAddr,
    pub(super) transport: BoxTransport,
}

/// Connects to `target`, and reports each step.
pub(super) async fn connect(
    target: &Target,
    report: &mut Report,
) -> Result<Option<TargetConnection>, CommandError> {
    let [dns, tcp, tls] = ["DNS", "TCP", "TLS"].map(|step| format!("{}: {step}", target.name));
    let deadline = target.deadline();
    let Some(addrs) = resolve(&dns, target, &deadline, report).await? else {
        report.skip(&tcp, "there is no address")?;
        report.skip(&tls, "there is no connection")?;
        return Ok(None);
    };
    let Some((mut dialed, deadline)) = dial(&tcp, target, addrs, deadline, report).await? else {
        report.skip(&tls, "there is no connection")?;
        return Ok(None);
    };
    if let Some(egress) = &target.egress
        && !connect_tunnel(target, egress, &mut dialed.tcp, &deadline, report).await?
    {
        report.skip(&tls, "there is no tunnel")?;
        return Ok(None);
    }
    let addr = dialed.addr;
    let transport: Option<BoxTransport> = if target.origin.tls {
        connect_tls(&tls, target, dialed, &deadline, report).await?
    } else {
        report.skip(&tls, "plain http://, not encrypted")?;
        Some(Box::new(dialed.tcp))
    };
    Ok(transport.map(|transport| TargetConnection { addr, transport }))
}

async fn resolve(
    step: &str,
    target: &Target,
    deadline: &ConnectDeadline,
    report: &mut Report,
) -> Result<Option<Vec<SocketAddr>>, CommandError> {
    let Origin { host, port, .. } = target.first_hop();
    let peer = target.first_hop_peer();
    let lookup = deadline.limit(ConnectStep::Lookup, peer, resolve_host(host, *port));
    let (found, took) = timed(lookup).await;
    let (what, advice) = match found {
        Ok(Ok(addrs)) => {
            report_addresses(step, target, took, &addrs, report)?;
            return Ok(Some(addrs));
        }
        Ok(Err(error)) if error.is_temporary => {
            (format!("{peer}: {error}"), advice::no_name_server(target))
        }
        Ok(Err(error)) => (format!("{peer}: {error}"), advice::no_address(target)),
        Err(late) => (late.to_string(), advice::slow_lookup(target)),
    };
    report.fail(step, took, &what, &advice)?;
    Ok(None)
}

fn report_addresses(
    step: &str,
    target: &Target,
    took: Duration,
    addrs: &[SocketAddr],
    report: &mut Report,
) -> Result<(), CommandError> {
    let host = &target.first_hop().host;
    let owner = if target.egress.is_some() {
        "the egress proxy "
    } else {
        ""
    };
    let found = if host.parse::<IpAddr>().is_ok() {
        "an IP address".to_owned()
    } else {
        let ips: Vec<_> = addrs.iter().map(|addr| addr.ip().to_string()).collect();
        ips.join(", ")
    };
    report.pass(step, took, &format!("{owner}{host} is {found}"))?;
    if took >= SLOW_LOOKUP {
        report.note(advice::SLOW_LOOKUP_NOTE)?;
    }
    Ok(())
}

/// Returns the connection, and the deadline of the steps on it.
async fn dial(
    step: &str,
    target: &Target,
    addrs: Vec<SocketAddr>,
    deadline: ConnectDeadline,
    report: &mut Report,
) -> Result<Option<(Connected, ConnectDeadline)>, CommandError> {
    let (outcome, took) = timed(connect::dial(addrs, &deadline)).await;
    let peer = target.first_hop_peer();
    let failed = &outcome.failed;
    let Some(connected) = outcome.connected else {
        let what = TcpError::new(peer, failed).to_string();
        let advice = advice::no_connection(target, failed);
        report.fail(step, took, &what, &advice)?;
        return Ok(None);
    };
    let what = format!("connected to {}", peer.at(&[connected.addr]));
    report.pass(step, connected.after, &what)?;
    if !failed.is_empty() {
        report.note(&TcpError::new(peer, failed).to_string())?;
    }
    // `run` does not wait for the other addresses.
    let deadline = deadline.extended(took.saturating_sub(connected.after));
    Ok(Some((connected, deadline)))
}

/// Returns false if no tunnel was opened.
async fn connect_tunnel(
    target: &Target,
    egress: &Egress,
    tcp: &mut TcpStream,
    deadline: &ConnectDeadline,
    report: &mut Report,
) -> Result<bool, CommandError> {
    let tunnel = connect::connect_tunnel(target, egress, tcp, deadline);
    let (tunnel, took) = timed(tunnel).await;
    match tunnel {
        Ok(()) => {
            let tunnel = target.peer().through(&egress.origin);
            report.pass(CONNECT_STEP, took, &format!("tunnel to {tunnel}"))?;
            Ok(true)
        }
        Err(error) => {
            let advice = match &error {
                DialError::Tunnel(error) => advice::no_tunnel(target, &error.failure),
                _ => advice::slow_tunnel(target),
            };
            report.fail(CONNECT_STEP, took, &chain(&error), &advice)?;
            Ok(false)
        }
    }
}

async fn connect_tls(
    step: &str,
    target: &Target,
    Connected { tcp, addr, .. }: Connected,
    deadline: &ConnectDeadline,
    report: &mut Report,
) -> Result<Option<BoxTransport>, CommandError> {
    let addrs = [addr];
    let peer = target.peer_at(&addrs);
    let connecting = connect::connect_tls(target, tcp, addr, deadline);
    let (connected, took) = timed(connecting).await;
    let now = SystemTime::now();
    match connected {
        Ok((transport, certificate)) => {
            let (what, note) = advice::describe_certificate(&certificate, now);
            report.pass(step, took, &format!("{peer}: {what}"))?;
            note.iter().try_for_each(|note| report.note(note))?;
            Ok(Some(transport))
        }
        Err(failed) => {
            let issuer = failed.certificate.as_ref();
            let issuer = issuer.map(|certificate| format!("issued by {:?}: ", certificate.issuer));
            let error = chain(failed.error.as_ref());
            let what = format!("{peer}: {}{error}", issuer.unwrap_or_default());
            let advice = advice::no_tls(target, failed.kind, failed.certificate.as_ref(), now);
            report.fail(step, took, &what, &advice)?;
            Ok(None)
        }
    }
}
