//! The outermost step: names the request, and writes its line in the access log when the answer has ended.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{Either, Full};
use hyper::body::Body;
use tower::layer::{Layer, layer_fn};
use tower::service_fn;

use super::body::ProxyBody;
use super::{Step, request_id};
use crate::error::{Cause, Reason};

/// Who sends the requests of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The address; `None` for a Unix socket.
    pub addr: Option<SocketAddr>,
}

/// Observes every request of `caller`.
pub(super) fn layer<S, In, Out>(
    access_log: bool,
    caller: Caller,
) -> impl Layer<S, Service = impl Step<In, ProxyBody<Out>, Infallible> + use<S, In, Out>> + Clone
where
    S: Step<In, Either<Out, Full<Bytes>>, Infallible>,
    In: Send + 'static,
    Out: Body<Data = Bytes, Error: Into<Cause>> + Unpin + Send + 'static,
{
    layer_fn(move |mut inner: S| {
        service_fn(move |mut req: Request<In>| {
            let id = request_id::settle(req.headers_mut());
            let mut record = access_log.then(|| Box::new(Record::new(caller, id.clone(), &req)));
            inner.call(req).map(move |answered| {
                let Ok(mut res) = answered;
                if let Some(record) = &mut record {
                    record.note_head(&res);
                }
                res.headers_mut().insert(request_id::FIELD, id);
                Ok(res.map(|body| ProxyBody::new(body, record)))
            })
        })
    })
}

/// What is known of one request. Neither query, nor field, nor body: they hold personal data.
#[derive(Debug)]
pub(super) struct Record {
    began: Instant,
    caller: Caller,
    id: HeaderValue,
    method: Method,
    uri: Uri,
    /// `None` until there is an answer: a request that was cut off before has none.
    status: Option<StatusCode>,
    reason: Option<&'static Reason>,
    gbg_id: Option<HeaderValue>,
    bytes: u64,
    /// Whether the caller got all of the answer, as far as it is ours to see.
    ended: bool,
    broken: Option<String>,
}

impl Record {
    fn new<B>(caller: Caller, id: HeaderValue, req: &Request<B>) -> Self {
        Record {
            began: Instant::now(),
            caller,
            id,
            method: req.method().clone(),
            uri: req.uri().clone(),
            status: None,
            reason: None,
            gbg_id: None,
            bytes: 0,
            ended: false,
            broken: None,
        }
    }

    fn note_head<B: Body>(&mut self, res: &Response<B>) {
        // Nobody asks for the body of an answer to HEAD.
        self.ended = res.body().is_end_stream() || self.method == Method::HEAD;
        self.status = Some(res.status());
        self.reason = res.extensions().get::<&'static Reason>().copied();
        self.gbg_id = res.headers().get("x-request-id").cloned();
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

impl Drop for Record {
    fn drop(&mut self) {
        let peer = self.caller.addr.map(tracing::field::display);
        let outcome = match (self.status, &self.broken) {
            _ if self.ended => None,
            (Some(_), Some(_)) => Some("the answer broke off"),
            // Told apart by the line that says that a drain is over.
            _ => Some("cut off"),
        };
        tracing::info!(
            target: "access",
            request_id = request_id::text(&self.id),
            peer,
            method = self.method.as_str(),
            path = self.uri.path(),
            status = self.status.map(|status| status.as_u16()),
            source = self.status.map(|_| if self.reason.is_some() { "proxy" } else { "gbg" }),
            reason = self.reason.map(|reason| reason.name),
            outcome,
            error = self.broken.as_deref(),
            bytes = self.bytes,
            milliseconds = (self.began.elapsed().as_micros() as f64) / 1e3,
            gbg_request_id = self.gbg_id.as_ref().and_then(|id| id.to_str().ok()),
            "request"
        );
    }
}
