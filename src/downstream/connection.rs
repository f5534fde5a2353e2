//! One downstream connection, from its first byte to its last.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::timeout;
use tower::Service;

use super::{Options, first_bytes};
use crate::error::Cause;

/// Serves `io` until it ends. When `drain` turns true, the request in flight is the last one.
pub(super) async fn serve<IO, S, B>(io: IO, options: &Options, service: S, drain: watch::Receiver<bool>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Cause>,
{
    let service = TowerToHyperService::new(service);
    let Some(tls) = &options.tls else {
        match timeout(options.handshake_timeout, first_bytes::is_http2(io)).await {
            Ok(Ok((true, io))) => serve_http2(io, options, service, drain).await,
            Ok(Ok((false, io))) => serve_http1(io, service, drain).await,
            Ok(Err(error)) => tracing::debug!(%error, "a connection broke before its first request"),
            Err(_) => tracing::debug!("a connection sent no request in time"),
        }
        return;
    };
    match timeout(options.handshake_timeout, tls.accept(io)).await {
        Ok(Ok(io)) if io.get_ref().1.alpn_protocol() == Some(b"h2") => {
            serve_http2(io, options, service, drain).await;
        }
        Ok(Ok(io)) => serve_http1(io, service, drain).await,
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

async fn serve_http1<IO, S, B>(io: IO, service: TowerToHyperService<S>, drain: watch::Receiver<bool>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Cause>,
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
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Cause>,
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
        tracing::debug!(error = &error as &dyn std::error::Error, "a connection ended early");
    }
}
