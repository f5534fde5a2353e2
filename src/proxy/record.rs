//! What is known of one request, gathered from step to step, and its line in the access log.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::{Frame, SizeHint};
use hyper::body::Body;

use super::caller::Known;
use super::request_id;
use crate::error::Reason;

/// What is known of one request. Neither query, nor field, nor body: they hold personal data.
#[derive(Debug)]
pub(super) struct Record {
    began: Instant,
    peer: Option<SocketAddr>,
    id: HeaderValue,
    method: Method,
    uri: Uri,
    caller: OnceLock<Arc<Known>>,
    /// Bytes of the request's body that were read.
    received: AtomicU64,
    sent: Mutex<Sent>,
}

/// How the request fared with the API.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    times: u32,
    generation: Option<u64>,
    at: Option<Instant>,
    /// From then to the head of the answer, or to the failure.
    took: Option<Duration>,
}

impl Record {
    pub(super) fn new<B>(peer: Option<SocketAddr>, id: HeaderValue, req: &Request<B>) -> Self {
        Record {
            began: Instant::now(),
            peer,
            id,
            method: req.method().clone(),
            uri: req.uri().clone(),
            caller: OnceLock::new(),
            received: AtomicU64::new(0),
            sent: Mutex::default(),
        }
    }

    /// Notes who the caller is, once.
    pub(super) fn note_caller(&self, caller: Arc<Known>) {
        // Nothing notes it twice.
        let _ = self.caller.set(caller);
    }

    pub(super) fn caller(&self) -> Option<&Arc<Known>> {
        self.caller.get()
    }

    /// Notes that the request goes to the API, with our bearer of `generation` or the caller's own.
    pub(super) fn note_sent(&self, generation: Option<u64>) {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.times += 1;
        sent.generation = generation;
        sent.at.get_or_insert_with(Instant::now);
    }

    /// Notes that the API has answered, or failed to.
    pub(super) fn note_answered(&self) {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.took = sent.at.map(|at| at.elapsed());
    }
}

/// The line of a request in the access log, written when it is dropped: at the end of the answer, or of the connection.
#[derive(Debug)]
pub(super) struct Line {
    record: Arc<Record>,
    /// `None` until there is an answer: a request that was cut off before has none.
    status: Option<StatusCode>,
    reason: Option<&'static Reason>,
    gbg_id: Option<HeaderValue>,
    /// Whether no API made the answer.
    is_ours: bool,
    bytes: u64,
    /// Whether the caller got all of the answer, as far as it is ours to see.
    ended: bool,
    broken: Option<String>,
}

impl Line {
    pub(super) fn new(record: Arc<Record>) -> Self {
        Line {
            record,
            status: None,
            reason: None,
            gbg_id: None,
            is_ours: false,
            bytes: 0,
            ended: false,
            broken: None,
        }
    }

    /// Notes the head of the answer; `is_ours` if no API made it.
    pub(super) fn note_head<B: Body>(&mut self, res: &Response<B>, is_ours: bool) {
        // Nobody asks for the body of an answer to HEAD.
        self.ended = res.body().is_end_stream() || self.record.method == Method::HEAD;
        self.status = Some(res.status());
        self.reason = res.extensions().get::<&'static Reason>().copied();
        self.gbg_id = res.headers().get("x-request-id").cloned();
        self.is_ours = is_ours;
    }

    /// Counts bytes of the answer's body.
    pub(super) fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Notes that the answer's body has come to its end.
    pub(super) fn note_ended(&mut self) {
        self.ended = true;
    }

    /// Notes that the answer's body broke off.
    pub(super) fn note_broken(&mut self, error: &(dyn std::error::Error + 'static)) {
        self.broken = Some(crate::error::chain(error));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let record = &*self.record;
        let sent = *record.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = match (self.status, &self.broken) {
            _ if self.ended => None,
            (Some(_), Some(_)) => Some("the answer broke off"),
            // Told apart by the line that says that a drain is over.
            _ => Some("cut off"),
        };
        tracing::info!(
            target: "access",
            request_id = request_id::text(&record.id),
            caller = record.caller().and_then(|caller| caller.name()),
            peer = record.peer.map(tracing::field::display),
            method = record.method.as_str(),
            path = record.uri.path(),
            status = self.status.map(|status| status.as_u16()),
            source = self.status.map(|_| if self.is_ours { "proxy" } else { "gbg" }),
            reason = self.reason.map(|reason| reason.name),
            outcome,
            error = self.broken.as_deref(),
            bytes_in = record.received.load(Relaxed),
            bytes_out = self.bytes,
            milliseconds = milliseconds(record.began.elapsed()),
            upstream_milliseconds = sent.took.map(milliseconds),
            generation = sent.generation,
            // Present only where it happened: a line a request is long enough.
            repeated = (sent.times > 1).then_some(true),
            gbg_request_id = self.gbg_id.as_ref().and_then(|id| id.to_str().ok()),
            "request"
        );
    }
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_micros() as f64) / 1e3
}

/// A request's body, counted, with the record of its request: what lets each step note what it knows.
#[derive(Debug)]
pub struct Observed<B> {
    inner: B,
    record: Arc<Record>,
}

impl<B> Observed<B> {
    pub(super) fn new(inner: B, record: Arc<Record>) -> Self {
        Observed { inner, record }
    }

    pub(super) fn record(&self) -> &Arc<Record> {
        &self.record
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Observed<B> {
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
            self.record.received.fetch_add(data.len() as u64, Relaxed);
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

/// A request with a record, for steps that are tested alone.
#[cfg(test)]
pub(super) fn observed<B>(req: Request<B>) -> Request<Observed<B>> {
    let record = Arc::new(Record::new(None, HeaderValue::from_static("1"), &req));
    req.map(|body| Observed::new(body, record))
}
