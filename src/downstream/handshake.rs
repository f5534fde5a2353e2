//! TLS handshake of a caller, under its deadline.

use std::io;
use std::pin::pin;

use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::connection::{TooLate, too_late};
use super::detect::{Rewound, first_byte};
use super::linger::{BAD_REQUEST, close};
use super::refusals::{Reporter, tls_refusal};
use super::{DownstreamIo, ServerOptions};
use crate::metrics::ConnectionRefusal;

/// The stream that a handshake has made.
pub(super) type Secured<IO> = Box<TlsStream<Rewound<IO>>>;

/// Completes the handshake over `io`; `None` if it failed, which is reported.
pub(super) async fn handshake<IO: DownstreamIo>(
    io: IO,
    tls: TlsAcceptor,
    options: &ServerOptions,
    drain: watch::Receiver<bool>,
    reporter: Reporter<'_>,
) -> Option<Secured<IO>> {
    let limit = options.timeouts.borrow().handshake;
    let mut late = pin!(too_late(limit, drain));
    let begun = tokio::select! {
        begun = first_byte(io) => begun,
        late = &mut late => return give_up(late, ConnectionRefusal::NoRequest, reporter),
    };
    // A balancer that looks whether the port is open sends nothing.
    let Ok((Some(first), io)) = begun else {
        return None;
    };
    if first.is_ascii_alphabetic() {
        reporter.report(ConnectionRefusal::HttpOnTlsPort);
        close(io, BAD_REQUEST, true).await;
        return None;
    }
    let accepted = tokio::select! {
        accepted = tls.accept(io) => accepted,
        late = &mut late => return give_up(late, ConnectionRefusal::TlsHandshakeTimeout, reporter),
    };
    let report = |error: &io::Error| {
        reporter.report(tls_refusal(error).unwrap_or(ConnectionRefusal::TlsHandshakeFailed));
    };
    accepted.inspect_err(report).map(Box::new).ok()
}

/// Reports `reason`, unless the connection ends because the worker drains.
fn give_up<T>(late: TooLate, reason: ConnectionRefusal, reporter: Reporter<'_>) -> Option<T> {
    if late == TooLate::TimedOut {
        reporter.report(reason);
    }
    None
}
