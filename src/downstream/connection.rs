//! One caller's connection: the TLS handshake, then HTTP/1 or HTTP/2.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use super::activity::Activity;
use super::caller_certificate::CallerCertificate;
use super::detect::{RewoundIo, detect_http2};
use super::handshake::accept_tls;
use super::http1::serve_http1;
use super::http2::serve_http2;
use super::io::DownstreamIo;
use super::linger::{BAD_REQUEST, close_lingering};
use super::options::ServerOptions;
use super::peer::PeerInfo;
use super::refusals::{RefusalReporter, tls_refusal};
use super::service::{CallerService, ServiceBody};
use super::start_deadline::{StartExpired, start_expired};
use crate::metrics::ConnectionRefusal;

/// Serves `io` until it ends. `make_service` runs after the handshake, which completes `peer`. When
/// `drain` turns true, the request in flight is the last one.
pub(super) async fn serve<IO, S, B>(
    io: IO,
    mut peer: PeerInfo,
    options: &ServerOptions,
    make_service: impl FnOnce(PeerInfo) -> S,
    drain: watch::Receiver<bool>,
) where
    IO: DownstreamIo,
    S: CallerService<B>,
    B: ServiceBody,
{
    let reporter = options.refusal_log.reporter(&peer);
    let Some(newest) = &options.tls else {
        return serve_http(io, None, None, options, make_service(peer), drain, reporter).await;
    };
    let tls = newest.borrow().clone();
    let acceptor = tls.acceptor.clone();
    // Boxed: connections without TLS would have to hold this future as well.
    let handshake = Box::pin(accept_tls(io, acceptor, options, drain.clone(), reporter));
    let Some(io) = handshake.await else {
        return;
    };
    let session = io.get_ref().1;
    let is_http2 = session.alpn_protocol() == Some(b"h2");
    let certificate = CallerCertificate::from_session(session, &tls, newest).map(Arc::new);
    peer.server_names = Some(tls.names());
    drop(tls);
    peer.is_tls = true;
    peer.certificate = certificate.clone();
    serve_http(
        io,
        Some(is_http2),
        certificate,
        options,
        make_service(peer),
        drain,
        reporter,
    )
    .await;
}

/// Serves the HTTP version that ALPN has `negotiated`, or that the first bytes show.
async fn serve_http<IO, S, B>(
    io: IO,
    negotiated_http2: Option<bool>,
    certificate: Option<Arc<CallerCertificate>>,
    options: &ServerOptions,
    service: S,
    drain: watch::Receiver<bool>,
    reporter: RefusalReporter<'_>,
) where
    IO: DownstreamIo,
    S: CallerService<B>,
    B: ServiceBody,
{
    let start = Instant::now();
    // Also after ALPN: hyper closes a connection without bytes as soon as the worker drains.
    let Some((detected_http2, io)) = read_first_bytes(io, options, &drain, reporter).await else {
        return;
    };
    if negotiated_http2.is_none() && io.begins_with_tls() {
        reporter.report(ConnectionRefusal::TlsOnHttpPort);
        return close_lingering(io, BAD_REQUEST, true).await;
    }
    let is_http2 = negotiated_http2.unwrap_or(detected_http2);
    let activity = Arc::new(Activity::new(start, is_http2));
    if is_http2 {
        serve_http2(io, activity, certificate, options, service, drain, reporter).await;
    } else {
        serve_http1(io, activity, options, service, drain, reporter).await;
    }
}

/// Whether the first bytes of `io` are those of HTTP/2; `None` if they do not arrive in time.
async fn read_first_bytes<IO: DownstreamIo>(
    io: IO,
    options: &ServerOptions,
    drain: &watch::Receiver<bool>,
    reporter: RefusalReporter<'_>,
) -> Option<(bool, RewoundIo<IO>)> {
    let detected = tokio::select! {
        detected = detect_http2(io) => detected,
        expired = start_expired(options.timeouts.borrow().header, drain.clone()) => {
            if expired == StartExpired::TimedOut {
                reporter.report(ConnectionRefusal::NoRequest);
            }
            return None;
        }
    };
    // A TLS 1.3 caller can reject the listener's certificate after its side of the handshake.
    detected
        .inspect_err(|error| {
            if let Some(reason) = tls_refusal(error) {
                reporter.report(reason);
            }
        })
        .ok()
}
