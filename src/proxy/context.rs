//! Context of a request: the facts that its steps find and later steps read.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::{Frame, SizeHint};
use hyper::body::Body;
use tokio::time::Instant;

use super::authenticate::caller::Caller;
use super::limit::permit::RequestPermit;
use super::request_id;
use super::route::Route;
use super::spans::RequestTrace;
use crate::error::{Error, ErrorReason};
use crate::gbg;
use crate::metrics::{AccountMetrics, Outcome, ResponseSource};
use crate::rt::clock;

/// The id that GBG gives a request.
const GBG_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Context of one request. Query, fields and body are personal data: of these it holds the query,
/// in `uri`, which is never logged.
#[derive(Debug)]
pub(super) struct RequestContext {
    started: Instant,
    /// Address of the caller for the access log.
    pub(super) peer: Option<Arc<str>>,
    id: HeaderValue,
    pub(super) method: Method,
    pub(super) uri: Uri,
    route: Route,
    caller: OnceLock<Arc<Caller>>,
    trace: Option<Mutex<RequestTrace>>,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    state: Mutex<ResponseState>,
}

/// The failure that a response of the proxy reports, for the access log and the metrics.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) reason: &'static ErrorReason,
    /// Safe to show to a caller, and to log.
    pub(super) detail: Arc<str>,
}

/// Progress of the response.
#[derive(Debug, Default)]
pub(super) struct ResponseState {
    /// Number of times that the request was sent to the API.
    attempts: u32,
    /// Generation of the token that was sent last.
    pub(super) generation: Option<u64>,
    first_sent: Option<Instant>,
    /// Time from the first attempt to the head of the response, or to the failure.
    upstream_time: Option<Duration>,
    /// `None` until there is a response.
    pub(super) status: Option<StatusCode>,
    is_from_proxy: bool,
    /// The failure that the response reports.
    pub(super) failure: Option<Failure>,
    pub(super) gbg_request_id: Option<HeaderValue>,
    /// Whether the whole response has been handed to the connection.
    pub(super) is_complete: bool,
    /// The error that cut the response off.
    pub(super) broken: Option<String>,
    /// Released when the response ends.
    permit: Option<RequestPermit>,
}

impl ResponseState {
    /// The error that cut the response off, or that it reports.
    pub(super) fn error(&self) -> Option<&str> {
        let reported = || self.failure.as_ref().map(|failure| &*failure.detail);
        self.broken.as_deref().or_else(reported)
    }
}

impl RequestContext {
    pub(super) fn new<B>(
        req: &Request<B>,
        id: HeaderValue,
        peer: Option<Arc<str>>,
        route: Route,
        trace: Option<RequestTrace>,
    ) -> Self {
        RequestContext {
            started: clock::now(),
            peer,
            id,
            method: req.method().clone(),
            uri: req.uri().clone(),
            route,
            caller: OnceLock::new(),
            trace: trace.map(Mutex::new),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    pub(super) fn id(&self) -> &HeaderValue {
        &self.id
    }

    pub(super) fn route(&self) -> &Route {
        &self.route
    }

    /// `None` until the caller is authenticated.
    pub(super) fn caller(&self) -> Option<&Arc<Caller>> {
        self.caller.get()
    }

    /// `None` until the caller is authenticated.
    pub(super) fn account(&self) -> Option<&AccountMetrics> {
        self.caller.get().map(|caller| caller.account())
    }

    /// Sets the caller, and returns it. A request passes one step that does.
    pub(super) fn set_caller(&self, caller: Arc<Caller>) -> &Caller {
        self.caller.get_or_init(|| caller)
    }

    /// Keeps `permit` until the response ends.
    pub(super) fn hold_permit(&self, permit: RequestPermit) {
        self.state().permit = Some(permit);
    }

    /// Records that the request waited for a token since `start`.
    pub(super) fn record_token_wait(&self, start: Instant) {
        self.with_trace(|trace| trace.record_token_wait(start.into_std()));
    }

    /// Records an attempt with the token of `generation`, or with the caller's own, and sets the
    /// trace fields of `headers`.
    pub(super) fn record_attempt(&self, generation: Option<u64>, headers: &mut HeaderMap) {
        self.with_trace(|trace| trace.start_attempt(headers));
        let mut state = self.state();
        state.attempts += 1;
        state.generation = generation;
        state.first_sent.get_or_insert_with(clock::now);
    }

    /// Records that the last attempt carries the token of `generation` instead.
    pub(super) fn record_generation(&self, generation: u64) {
        self.state().generation = Some(generation);
    }

    /// Generation of the token that was sent last; `None` for the caller's own.
    pub(super) fn generation(&self) -> Option<u64> {
        self.state().generation
    }

    /// Records the result of the last attempt.
    pub(super) fn record_result<B>(&self, result: &Result<Response<B>, Error>) {
        let outcome = result
            .as_ref()
            .map(Response::status)
            .map_err(|error| error.reason().name);
        self.with_trace(|trace| trace.end_attempt(outcome));
        let mut state = self.state();
        state.upstream_time = state
            .first_sent
            .map(|sent| clock::now().duration_since(sent));
    }

    /// Records the head of the response that goes to the caller.
    pub(super) fn record_head<B: Body>(&self, res: &Response<B>, is_from_proxy: bool) {
        let mut state = self.state();
        // The body of a response to HEAD is never polled.
        state.is_complete = res.body().is_end_stream() || self.method == Method::HEAD;
        state.status = Some(res.status());
        state.is_from_proxy = is_from_proxy;
        state.failure = res.extensions().get().cloned();
        state.gbg_request_id = res.headers().get(GBG_REQUEST_ID).cloned();
    }

    pub(super) fn add_bytes_out(&self, count: usize) {
        self.bytes_out.fetch_add(count as u64, Relaxed);
    }

    /// Records that all of the response body has come.
    pub(super) fn record_complete(&self) {
        self.state().is_complete = true;
    }

    /// Records the end of the response body, and releases the permit. The body may break off with
    /// `error` after all of its length.
    pub(super) fn end_body(&self, error: Option<&(dyn std::error::Error + 'static)>) {
        let mut state = self.state();
        state.is_complete = error.is_none();
        state.broken = error.map(crate::error::chain);
        let permit = state.permit.take();
        // Not under the lock: a released permit admits another request.
        drop(state);
        drop(permit);
    }

    /// Releases the permit: the response has ended, even if its body is dropped later.
    pub(super) fn release_permit(&self) {
        let permit = self.state().permit.take();
        drop(permit);
    }

    pub(super) fn state(&self) -> MutexGuard<'_, ResponseState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn with_trace<R>(&self, act: impl FnOnce(&mut RequestTrace) -> R) -> Option<R> {
        let mut trace = self
            .trace
            .as_ref()?
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Some(act(&mut trace))
    }

    /// Whether the API rejected the proxy's token, on an endpoint that accepts it: to an unknown path it
    /// responds with 401 as well.
    fn is_token_rejection(&self, state: &ResponseState) -> bool {
        let is_rejection = matches!(
            state.status,
            Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
        );
        is_rejection
            && !state.is_from_proxy
            && state.generation.is_some()
            && gbg::takes_customer_token(self.route.endpoint)
    }

    /// The outcome of the request, for metrics, log and trace.
    pub(super) fn outcome<'a>(&'a self, state: &'a ResponseState) -> Outcome<'a> {
        Outcome {
            id: request_id::text(&self.id),
            caller: self.caller().map_or(0, |caller| caller.number()),
            account: self.account().map(AccountMetrics::name),
            endpoint: self.route.endpoint,
            status: state.status.map_or(0, |status| status.as_u16()),
            source: match state.status {
                None => ResponseSource::None,
                Some(_) if state.is_from_proxy => ResponseSource::Proxy,
                Some(_) => ResponseSource::Gbg,
            },
            reason: state.failure.as_ref().map(|failure| failure.reason.name),
            is_token_rejection: self.is_token_rejection(state),
            duration: self.started.elapsed(),
            upstream: state.upstream_time,
            bytes: [&self.bytes_in, &self.bytes_out].map(|bytes| bytes.load(Relaxed)),
            repeats: state.attempts.saturating_sub(1),
            gbg_id: state.gbg_request_id.as_ref(),
        }
    }
}

/// A request body with the context of its request: the one way in which steps share facts. It
/// counts the bytes that come from the caller.
#[derive(Debug)]
pub struct WithContext<B> {
    inner: B,
    context: Arc<RequestContext>,
}

impl<B> WithContext<B> {
    pub(super) fn new(inner: B, context: Arc<RequestContext>) -> Self {
        WithContext { inner, context }
    }

    pub(super) fn context(&self) -> &Arc<RequestContext> {
        &self.context
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for WithContext<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.context.bytes_in.fetch_add(data.len() as u64, Relaxed);
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

/// A request with a context, for tests of one step.
#[cfg(test)]
pub(super) fn with_context<B>(req: Request<B>) -> Request<WithContext<B>> {
    let route = Route::new(&req, &[]);
    let id = HeaderValue::from_static("1");
    let context = Arc::new(RequestContext::new(&req, id, None, route, None));
    req.map(|body| WithContext::new(body, context))
}
