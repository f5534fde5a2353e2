//! What is known of one request, gathered from step to step, and its line in the access log.

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

use super::authenticate::Known;
use super::body::Answer;
use super::request_id;
use super::spans::Traced;
use crate::error::{BoxError, Error, ErrorReason};
use crate::gbg;
use crate::metrics::{Outcome, ResponseSource};
use crate::rt::clock;

/// How much of a path is logged; GBG's are shorter than 100 bytes.
const MAX_LOGGED_PATH_BYTES: usize = 1024;

/// The number that GBG gives a request.
const GBG_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What is known of one request. Neither query, nor field, nor body: they hold personal data.
#[derive(Debug)]
pub(super) struct Record {
    began: Instant,
    /// Where it came from, for its line in the log.
    peer: Option<Arc<str>>,
    id: HeaderValue,
    method: Method,
    uri: Uri,
    caller: OnceLock<Arc<Known>>,
    trace: Option<Mutex<Traced>>,
    /// Bytes of the bodies, received and sent.
    bytes: [AtomicU64; 2],
    fate: Mutex<Fate>,
}

/// How the request fares.
#[derive(Debug, Default)]
struct Fate {
    /// How often it was sent to the API.
    times: u32,
    generation: Option<u64>,
    at: Option<Instant>,
    /// From then to the head of the answer, or to the failure.
    took: Option<Duration>,
    /// `None` until there is an answer: a request that was cut off before has none.
    status: Option<StatusCode>,
    is_ours: bool,
    reason: Option<&'static ErrorReason>,
    gbg_id: Option<HeaderValue>,
    /// Whether the caller got all of the answer, as far as it is ours to see.
    ended: bool,
    broken: Option<String>,
}

impl Record {
    pub(super) fn new<B>(
        peer: Option<Arc<str>>,
        id: HeaderValue,
        trace: Option<Traced>,
        req: &Request<B>,
    ) -> Self {
        Record {
            began: clock::now(),
            peer,
            id,
            method: req.method().clone(),
            uri: req.uri().clone(),
            caller: OnceLock::new(),
            trace: trace.map(Mutex::new),
            bytes: Default::default(),
            fate: Mutex::default(),
        }
    }

    /// Notes who the caller is, once.
    pub(super) fn note_caller(&self, caller: Arc<Known>) {
        // Nothing notes it twice.
        let _ = self.caller.set(caller);
    }

    /// The number of the request.
    pub(super) fn id(&self) -> &HeaderValue {
        &self.id
    }

    pub(super) fn caller(&self) -> Option<&Arc<Known>> {
        self.caller.get()
    }

    /// Notes that the request waited for a token since `began`.
    pub(super) fn note_wait(&self, began: Instant) {
        self.with_trace(|trace| trace.note_wait(began.into_std()));
    }

    /// Notes that the request goes to the API, with our bearer of `generation` or the caller's own,
    /// and puts on its `headers` which trace it belongs to.
    pub(super) fn note_sent(&self, generation: Option<u64>, headers: &mut HeaderMap) {
        self.with_trace(|trace| trace.note_sent(headers));
        let mut fate = self.fate();
        fate.times += 1;
        fate.generation = generation;
        fate.at.get_or_insert_with(clock::now);
    }

    /// Notes that the API has answered, or failed to.
    pub(super) fn note_answered<B>(&self, answered: &Result<Response<B>, Error>) {
        let told = answered
            .as_ref()
            .map(Response::status)
            .map_err(|error| error.reason().name);
        self.with_trace(|trace| trace.note_answered(told));
        let mut fate = self.fate();
        fate.took = fate.at.map(|at| clock::now().duration_since(at));
    }

    /// Notes the head of the answer; `is_ours` if no API made it.
    fn note_head<B: Body>(&self, res: &Response<B>, is_ours: bool) {
        let mut fate = self.fate();
        // Nobody asks for the body of an answer to HEAD.
        fate.ended = res.body().is_end_stream() || self.method == Method::HEAD;
        fate.status = Some(res.status());
        fate.is_ours = is_ours;
        fate.reason = res.extensions().get::<&'static ErrorReason>().copied();
        fate.gbg_id = res.headers().get(GBG_ID).cloned();
    }

    fn fate(&self) -> MutexGuard<'_, Fate> {
        self.fate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_trace<R>(&self, act: impl FnOnce(&mut Traced) -> R) -> Option<R> {
        let trace = self.trace.as_ref()?;
        Some(act(&mut trace
            .lock()
            .unwrap_or_else(PoisonError::into_inner)))
    }

    fn outcome(&self, fate: &Fate) -> Outcome<'_> {
        Outcome {
            id: request_id::text(&self.id),
            caller: self.caller().map_or(0, |caller| caller.number()),
            endpoint: gbg::endpoint(self.uri.path()),
            status: fate.status.map_or(0, |status| status.as_u16()),
            source: match fate.status {
                None => ResponseSource::None,
                Some(_) if fate.is_ours => ResponseSource::Proxy,
                Some(_) => ResponseSource::Gbg,
            },
            reason: fate.reason.map(|reason| reason.name),
            duration: self.began.elapsed(),
            upstream: fate.took,
            bytes: self.bytes.each_ref().map(|bytes| bytes.load(Relaxed)),
            repeats: fate.times.saturating_sub(1),
        }
    }

    fn log(&self, fate: &Fate, outcome: &Outcome<'_>) {
        let end = match (fate.status, &fate.broken) {
            _ if fate.ended => None,
            (Some(_), Some(_)) => Some("the answer broke off"),
            // Told apart by the line that says that a drain is over.
            _ => Some("cut off"),
        };
        let [received, sent] = outcome.bytes;
        tracing::info!(
            target: "access",
            request_id = outcome.id,
            caller = self.caller().and_then(|caller| caller.name()),
            peer = self.peer.as_deref().map(tracing::field::display),
            method = self.method.as_str(),
            path = shortened(self.uri.path()),
            status = fate.status.map(|status| status.as_u16()),
            source = fate.status.map(|_| outcome.source.name()),
            reason = outcome.reason,
            outcome = end,
            error = fate.broken.as_deref(),
            bytes_in = received,
            bytes_out = sent,
            duration_ms = milliseconds(outcome.duration),
            upstream_ms = outcome.upstream.map(milliseconds),
            generation = fate.generation,
            trace_id = self.with_trace(|trace| tracing::field::display(trace.id())),
            // Present only where it happened: a line a request is long enough.
            retried = (outcome.repeats > 0).then_some(true),
            gbg_request_id = fate.gbg_id.as_ref().and_then(|id| id.to_str().ok()),
            "request"
        );
    }
}

/// To the microsecond.
fn milliseconds(time: Duration) -> f64 {
    // What has 64 bits is converted without a call.
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    micros as f64 / 1e3
}

/// A request, to its end: when this is dropped, at the end of the answer or of the connection, it
/// is counted and logged.
#[derive(Debug)]
pub(super) struct Watched {
    record: Arc<Record>,
    rules: Arc<super::Rules>,
}

impl Watched {
    pub(super) fn new(record: Arc<Record>, rules: Arc<super::Rules>) -> Self {
        Watched { record, rules }
    }

    /// Notes the head of the answer.
    pub(super) fn note_head<B>(&self, res: &Response<Answer<B>>)
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
    {
        self.record.note_head(res, res.body().is_ours());
    }

    /// Counts bytes of the answer's body.
    pub(super) fn add(&self, bytes: usize) {
        self.record.bytes[1].fetch_add(bytes as u64, Relaxed);
    }

    /// Notes that the answer's body has come to its end.
    pub(super) fn note_ended(&self) {
        self.record.fate().ended = true;
    }

    /// Notes that the answer's body broke off, be it after all of its length.
    pub(super) fn note_broken(&self, error: &(dyn std::error::Error + 'static)) {
        let mut fate = self.record.fate();
        fate.ended = false;
        fate.broken = Some(crate::error::chain(error));
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let fate = self.record.fate();
        let outcome = self.record.outcome(&fate);
        self.rules.metrics.requests.record(&outcome);
        if self.rules.access_log {
            self.record.log(&fate, &outcome);
        }
        self.record.with_trace(|trace| {
            let caller = self.record.caller().and_then(|caller| caller.name());
            trace.export(
                &self.rules.trace,
                &self.record.method,
                caller,
                &outcome,
                fate.broken.is_some(),
            );
        });
    }
}

/// A request's body, counted, with the record of its request: what lets each step note what it
/// knows.
#[derive(Debug)]
pub struct WithContext<B> {
    inner: B,
    record: Arc<Record>,
}

impl<B> WithContext<B> {
    pub(super) fn new(inner: B, record: Arc<Record>) -> Self {
        WithContext { inner, record }
    }

    pub(super) fn record(&self) -> &Arc<Record> {
        &self.record
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
            self.record.bytes[0].fetch_add(data.len() as u64, Relaxed);
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

/// The beginning of `path`: lines wait in a queue that counts them, whatever their length.
fn shortened(path: &str) -> &str {
    let end = (0..=MAX_LOGGED_PATH_BYTES.min(path.len()))
        .rev()
        .find(|&at| path.is_char_boundary(at));
    &path[..end.unwrap_or(0)]
}

/// A request with a record, for steps that are tested alone.
#[cfg(test)]
pub(super) fn observed<B>(req: Request<B>) -> Request<WithContext<B>> {
    let record = Arc::new(Record::new(None, HeaderValue::from_static("1"), None, &req));
    req.map(|body| WithContext::new(body, record))
}
