//! Outermost step: creates the context of a request; counts, logs and traces the request when its
//! response has ended.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::Request;
use http_body::{Frame, SizeHint};
use http_body_util::{Either, Full};
use hyper::body::Body;
use tower::layer::{Layer, layer_fn};
use tower::service_fn;

use super::context::{RequestContext, ResponseState, WithContext};
use super::route::Route;
use super::spans::Tracer;
use super::step::Step;
use super::{headers, request_id};
use crate::config::{Config, PathTemplate};
use crate::error::BoxError;
use crate::metrics::{Outcome, RequestMetrics};
use crate::trace::SpanExporter;

/// Longest part of a path that is logged. GBG's paths are shorter than 100 bytes; log lines wait in
/// a queue whose length counts lines.
const MAX_LOGGED_PATH_BYTES: usize = 1024;

/// A response body: the API's, or one of the proxy's own.
pub type ResponseBody<B> = Either<B, Full<Bytes>>;

/// Counts, logs and traces finished requests.
#[derive(Debug)]
pub struct AccessLog {
    is_enabled: bool,
    /// Further paths on which the caller's own bearer passes.
    caller_bearer: Vec<PathTemplate>,
    tracer: Tracer,
    /// Counts requests that end before they get an account.
    without_account: Arc<RequestMetrics>,
}

impl AccessLog {
    pub(super) fn new(
        config: &Config,
        exporter: Option<Arc<SpanExporter>>,
        without_account: Arc<RequestMetrics>,
    ) -> Self {
        AccessLog {
            is_enabled: config.log.access,
            caller_bearer: config.forward.caller_bearer.clone(),
            tracer: Tracer::new(config, exporter),
            without_account,
        }
    }

    fn context<B>(&self, req: &Request<B>, peer: Option<Arc<str>>) -> RequestContext {
        RequestContext::new(
            req,
            request_id::choose(req.headers()),
            peer,
            Route::new(req, &self.caller_bearer),
            self.tracer.trace(req.headers()),
        )
    }
}

/// Observes every request of a connection from `addr`.
pub fn layer<S, In, Out>(
    log: Arc<AccessLog>,
    addr: Option<SocketAddr>,
) -> impl Layer<S, Service = impl Step<In, ObservedBody<Out>, Infallible> + use<S, In, Out>> + Clone
where
    S: Step<WithContext<In>, ResponseBody<Out>, Infallible>,
    In: Send + 'static,
    Out: Body<Data = Bytes, Error: Into<BoxError>> + Unpin + Send + 'static,
{
    layer_fn(move |mut inner: S| {
        let log = Arc::clone(&log);
        // Formatted once for all requests of the connection.
        let peer = addr
            .filter(|_| log.is_enabled)
            .map(|addr| Arc::<str>::from(addr.to_string()));
        service_fn(move |req: Request<In>| {
            let context = Arc::new(log.context(&req, peer.clone()));
            let guard = CompletionGuard {
                context: Arc::clone(&context),
                log: Arc::clone(&log),
            };
            inner
                .call(req.map(|body| WithContext::new(body, context)))
                .map(move |result| {
                    let Ok(mut res) = result;
                    let is_from_proxy = matches!(res.body(), Either::Right(_));
                    guard.context.record_head(&res, is_from_proxy);
                    let id = guard.context.id().clone();
                    res.headers_mut().insert(request_id::FIELD, id);
                    Ok(res.map(|inner| ObservedBody { inner, guard }))
                })
        })
    })
}

/// Guard of a request: when it is dropped, at the end of the response or of the connection, the
/// request is counted, logged and traced.
#[derive(Debug)]
struct CompletionGuard {
    context: Arc<RequestContext>,
    log: Arc<AccessLog>,
}

impl Drop for CompletionGuard {
    fn drop(&mut self) {
        self.context.release_permit();
        let state = self.context.state();
        let outcome = self.context.outcome(&state);
        let account = self.context.account();
        let requests = account.map_or(&self.log.without_account, |account| &account.requests);
        requests.record(&outcome);
        if self.log.is_enabled {
            write_line(&self.context, &state, &outcome);
        }
        self.context.with_trace(|trace| {
            let caller = self.context.caller().and_then(|caller| caller.name());
            trace.export(
                &self.log.tracer,
                &self.context.method,
                caller,
                &outcome,
                state.broken.is_some(),
            );
        });
    }
}

fn write_line(context: &RequestContext, state: &ResponseState, outcome: &Outcome<'_>) {
    let incomplete = match (state.status, &state.broken) {
        _ if state.is_complete => None,
        (Some(_), Some(_)) => Some("the response broke off"),
        // A line about the end of the drain distinguishes these from callers that went away.
        _ => Some("cut off"),
    };
    let [bytes_in, bytes_out] = outcome.bytes;
    tracing::info!(
        target: "access",
        request_id = outcome.id,
        caller = context.caller().and_then(|caller| caller.name()),
        account = outcome.account,
        peer = context.peer.as_deref().map(tracing::field::display),
        method = context.method.as_str(),
        path = truncated(context.uri.path()),
        status = state.status.map(|status| status.as_u16()),
        source = state.status.map(|_| outcome.source.name()),
        reason = outcome.reason,
        outcome = incomplete,
        error = state.error(),
        bytes_in,
        bytes_out,
        duration_ms = milliseconds(outcome.duration),
        upstream_ms = outcome.upstream.map(milliseconds),
        generation = state.generation,
        trace_id = context.with_trace(|trace| tracing::field::display(trace.id())),
        // Only where it happened: every field is a cost of every request.
        retried = (outcome.repeats > 0).then_some(true),
        gbg_request_id = outcome.gbg_id.and_then(|id| id.to_str().ok()),
        "request"
    );
}

/// Milliseconds, to the microsecond.
fn milliseconds(time: Duration) -> f64 {
    // 64 bits convert to a float without a call.
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    micros as f64 / 1e3
}

fn truncated(path: &str) -> &str {
    let end = (0..=MAX_LOGGED_PATH_BYTES.min(path.len()))
        .rev()
        .find(|&at| path.is_char_boundary(at));
    &path[..end.unwrap_or(0)]
}

/// A response body on its way to the caller, observed to its end.
#[derive(Debug)]
pub struct ObservedBody<B> {
    inner: ResponseBody<B>,
    guard: CompletionGuard,
}

impl<B> Body for ObservedBody<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let ObservedBody { inner, guard } = &mut *self;
        let context = &guard.context;
        let frame = ready!(Pin::new(&mut *inner).poll_frame(cx));
        let frame = frame.map(|frame| frame.map(headers::clean_trailers));
        match &frame {
            Some(Ok(frame)) => {
                context.add_bytes_out(frame.data_ref().map_or(0, Bytes::len));
                // The server stops polling when all of a known length has come, and over HTTP/2 the
                // end of the stream may arrive later than its last data.
                if inner.is_end_stream() || inner.size_hint().exact() == Some(0) {
                    context.record_complete();
                }
            }
            Some(Err(error)) => context.end_body(Some(error.as_ref())),
            None => context.end_body(None),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
