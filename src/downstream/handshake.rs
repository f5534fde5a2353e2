//! TLS handshake of a caller, under its deadline.

use std::io;
use std::pin::pin;

use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::detect::{RewoundIo, read_first_byte};
use super::io::DownstreamIo;
use super::linger::{USE_HTTPS, close_lingering};
use super::options::ServerOptions;
use super::refusals::{RefusalReporter, tls_refusal};
use super::start_deadline::{StartExpired, start_expired};
use crate::metrics::ConnectionRefusal;

pub(super) type TlsIo<IO> = Box<TlsStream<RewoundIo<IO>>>;

/// Completes the handshake over `io`. Reports a failure, and returns `None`.
pub(super) async fn accept_tls<IO: DownstreamIo>(
    io: IO,
    tls: TlsAcceptor,
    options: &ServerOptions,
    drain: watch::Receiver<bool>,
    reporter: RefusalReporter<'_>,
) -> Option<TlsIo<IO>> {
    let limit = options.timeouts.borrow().handshake;
    let mut expired = pin!(start_expired(limit, drain));
    let first = tokio::select! {
        first = read_first_byte(io) => first,
        expired = &mut expired => {
            report_expired(expired, ConnectionRefusal::NoRequest, reporter);
            return None;
        }
    };
    // A load balancer that probes the port sends nothing.
    let Ok((Some(first), io)) = first else {
        return None;
    };
    if first.is_ascii_alphabetic() {
        reporter.report(ConnectionRefusal::HttpOnTlsPort);
        close_lingering(io, USE_HTTPS, true).await;
        return None;
    }
    let accepted = tokio::select! {
        accepted = tls.accept(io) => accepted,
        expired = &mut expired => {
            report_expired(expired, ConnectionRefusal::TlsHandshakeTimeout, reporter);
            return None;
        }
    };
    let report = |error: &io::Error| {
        reporter.report(tls_refusal(error).unwrap_or(ConnectionRefusal::TlsHandshakeFailed));
    };
    accepted.inspect_err(report).map(Box::new).ok()
}

/// Reports `reason`, unless the connection ends because the worker drains.
fn report_expired(expired: StartExpired, reason: ConnectionRefusal, reporter: RefusalReporter<'_>) {
    if expired == StartExpired::TimedOut {
        reporter.report(reason);
    }
}
