//! The reported steps that connect to a target: DNS, TCP, CONNECT to the egress proxy, TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use tokio::net::TcpStream;

use super::advice::connection as advice;
use super::connect::{self, LookupFailure};
use super::report::Report;
use super::target::Target;
use crate::cli::error::CommandError;
use crate::cli::http::BoxTransport;
use crate::config::{Egress, Origin};
use crate::error::chain;
use crate::upstream::{ConnectDeadline, DialError};

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
    let Some(addrs) = resolve(&dns, target, report).await? else {
        report.skip(&tcp, "there is no address")?;
        report.skip(&tls, "there is no connection")?;
        return Ok(None);
    };
    let Some(mut dialed) = dial(&tcp, target, addrs, deadline, report).await? else {
        report.skip(&tls, "there is no connection")?;
        return Ok(None);
    };
    if let Some(egress) = &target.egress
        && !connect_tunnel(target, egress, &mut dialed, report).await?
    {
        report.skip(&tls, "there is no tunnel")?;
        return Ok(None);
    }
    let addr = dialed.addr;
    let transport: Option<BoxTransport> = if target.origin.tls {
        connect_tls(&tls, target, dialed, report).await?
    } else {
        report.skip(&tls, "plain http://, not encrypted")?;
        Some(Box::new(dialed.tcp))
    };
    Ok(transport.map(|transport| TargetConnection { addr, transport }))
}

async fn resolve(
    step: &str,
    target: &Target,
    report: &mut Report,
) -> Result<Option<Vec<SocketAddr>>, CommandError> {
    let host = &target.first_hop().host;
    let began = Instant::now();
    let resolved = connect::resolve(target).await;
    let took = began.elapsed();
    let addrs = match resolved {
        Ok(addrs) => addrs,
        Err(failure) => {
            let (reason, advice) = match failure {
                LookupFailure::Failed(error) if error.is_temporary => {
                    (error.text, advice::no_name_server(target))
                }
                LookupFailure::Failed(error) => (error.text, advice::no_address(target)),
                LookupFailure::Slow => (
                    format!("no result within {}", target.connect),
                    advice::slow_lookup(target),
                ),
            };
            report.fail(step, took, &format!("{host}: {reason}"), &advice)?;
            return Ok(None);
        }
    };
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
    Ok(Some(addrs))
}

/// A TCP connection, and the deadline of what follows on it.
struct Dialed {
    addr: SocketAddr,
    tcp: TcpStream,
    deadline: ConnectDeadline,
}

async fn dial(
    step: &str,
    target: &Target,
    addrs: Vec<SocketAddr>,
    deadline: ConnectDeadline,
    report: &mut Report,
) -> Result<Option<Dialed>, CommandError> {
    let began = Instant::now();
    let outcome = connect::dial(addrs, &deadline).await;
    let took = began.elapsed();
    let describe = |(addr, error): &(SocketAddr, io::Error)| format!("{addr}: {error}");
    let failed: Vec<_> = outcome.failed.iter().map(describe).collect();
    let Some(connected) = outcome.connected else {
        let kinds: Vec<_> = outcome
            .failed
            .iter()
            .map(|(_, error)| error.kind())
            .collect();
        let advice = advice::no_connection(target, &kinds);
        report.fail(step, took, &failed.join("; "), &advice)?;
        return Ok(None);
    };
    let what = format!("connected to {}", connected.addr);
    report.pass(step, connected.after, &what)?;
    failed.iter().try_for_each(|failed| report.note(failed))?;
    Ok(Some(Dialed {
        addr: connected.addr,
        tcp: connected.tcp,
        // `run` does not wait for the other addresses.
        deadline: deadline.extended(took.saturating_sub(connected.after)),
    }))
}

/// Returns false if no tunnel was opened.
async fn connect_tunnel(
    target: &Target,
    egress: &Egress,
    dialed: &mut Dialed,
    report: &mut Report,
) -> Result<bool, CommandError> {
    let began = Instant::now();
    let tunnel = connect::connect_tunnel(target, egress, &mut dialed.tcp, &dialed.deadline).await;
    let took = began.elapsed();
    match tunnel {
        Ok(()) => {
            let Origin { host, port, .. } = &target.origin;
            report.pass(CONNECT_STEP, took, &format!("tunnel to {host}:{port}"))?;
            Ok(true)
        }
        Err(error) => {
            let advice = match &error {
                DialError::Tunnel(error) => advice::no_tunnel(target, error),
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
    dialed: Dialed,
    report: &mut Report,
) -> Result<Option<BoxTransport>, CommandError> {
    let began = Instant::now();
    let connected = connect::connect_tls(target, dialed.tcp, &dialed.deadline).await;
    let took = began.elapsed();
    let now = SystemTime::now();
    match connected {
        Ok((transport, certificate)) => {
            let (what, note) = advice::describe_certificate(&certificate, now);
            report.pass(step, took, &what)?;
            note.iter().try_for_each(|note| report.note(note))?;
            Ok(Some(transport))
        }
        Err(failed) => {
            let issuer = failed.certificate.as_ref();
            let issuer = issuer.map(|certificate| format!("issued by {:?}: ", certificate.issuer));
            let error = chain(failed.error.as_ref());
            let what = format!("{}{error}", issuer.unwrap_or_default());
            let advice = advice::no_tls(target, failed.kind, failed.certificate.as_ref(), now);
            report.fail(step, took, &what, &advice)?;
            Ok(None)
        }
    }
}
