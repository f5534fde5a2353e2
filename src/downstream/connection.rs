//! One downstream connection, from its first byte to its last.

use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::watch;
use tokio::time::sleep;

use super::first_bytes::{Rewound, is_http2};
use super::{AnswerBody, Options, Serve, Stream};

/// How long a connection without a request may still bring one while the worker drains.
const DRAIN_GRACE: Duration = Duration::from_millis(500);

/// Serves `io` until it ends. When `drain` turns true, the request in flight is the last one.
pub(super) async fn serve<IO, S, B>(io: IO, options: &Options, service: S, drain: watch::Receiver<bool>)
where
    IO: Stream,
    S: Serve<B>,
    B: AnswerBody,
{
    let service = TowerToHyperService::new(service);
    let Some(tls) = &options.tls else {
        if let Some((is_http2, io)) = first_bytes(io, options, &drain).await {
            match is_http2 {
                true => serve_http2(io, options, service, drain).await,
                false => serve_http1(io, service, drain).await,
            }
        }
        return;
    };
    let accepted = tokio::select! {
        accepted = tls.accept(io) => accepted,
        () = too_late(options.handshake_timeout, drain.clone()) => {
            tracing::debug!("a TLS handshake took too long");
            return;
        }
    };
    match accepted {
        Ok(io) if io.get_ref().1.alpn_protocol() == Some(b"h2") => {
            serve_http2(io, options, service, drain).await;
        }
        // Waits for the first bytes here as well: hyper, told to drain, closes a connection that has brought none.
        Ok(io) => {
            if let Some((_, io)) = first_bytes(io, options, &drain).await {
                serve_http1(io, service, drain).await;
            }
        }
        Err(error) => tracing::debug!(%error, "a TLS handshake failed"),
    }
}

/// Whether the first bytes of `io` are those of HTTP/2; `None` if they do not come in time.
async fn first_bytes<IO: Stream>(
    io: IO,
    options: &Options,
    drain: &watch::Receiver<bool>,
) -> Option<(bool, Rewound<IO>)> {
    let told = tokio::select! {
        told = is_http2(io) => told,
        () = too_late(options.handshake_timeout, drain.clone()) => {
            tracing::debug!("a connection sent no request in time");
            return None;
        }
    };
    told.inspect_err(|error| tracing::debug!(%error, "a connection broke before its first request")).ok()
}

/// Ends when a connection should have begun by now: after `limit`, and soon after `drain` has turned true.
async fn too_late(limit: Duration, mut drain: watch::Receiver<bool>) {
    let drained = async {
        // An error means that the worker is gone, which drains as well.
        let _ = drain.wait_for(|draining| *draining).await;
        sleep(DRAIN_GRACE).await;
    };
    tokio::select! {
        () = sleep(limit) => {}
        () = drained => {}
    }
}

async fn serve_http1<IO, S, B>(io: IO, service: TowerToHyperService<S>, drain: watch::Receiver<bool>)
where
    IO: Stream,
    S: Serve<B>,
    B: AnswerBody,
{
    // No header timeout of hyper's: it costs a timer a request, and runs on while a connection is idle.
    let connection =
        http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(io), service);
    until_drained(pin!(connection), drain, |connection| connection.graceful_shutdown()).await;
}

async fn serve_http2<IO, S, B>(
    io: IO,
    options: &Options,
    service: TowerToHyperService<S>,
    drain: watch::Receiver<bool>,
) where
    IO: Stream,
    S: Serve<B>,
    B: AnswerBody,
{
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(options.h2_streams)
        .serve_connection(TokioIo::new(io), service);
    until_drained(pin!(connection), drain, |connection| connection.graceful_shutdown()).await;
}

/// Drives `connection` to its end, telling it once, by `shut_down`, when `drain` turns true.
async fn until_drained<C>(
    mut connection: Pin<&mut C>,
    mut drain: watch::Receiver<bool>,
    shut_down: impl FnOnce(Pin<&mut C>),
) where
    C: Future<Output = hyper::Result<()>>,
{
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => Some(ended),
        // An error means that the worker is gone, which drains as well.
        _ = drain.wait_for(|draining| *draining) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            shut_down(connection.as_mut());
            connection.await
        }
    };
    if let Err(error) = ended {
        // A caller that hangs up, or one that speaks no HTTP; hyper has answered the latter.
        // Without its causes: they may quote what the caller sent.
        tracing::debug!(%error, "a connection ended early");
    }
}
