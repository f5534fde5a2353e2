//! Requests and responses of a connection, recorded as its activity: which are in flight, and whose
//! turn it is.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, Version};
use http_body::{Frame, SizeHint};
use hyper::body::{Body, Incoming};
use hyper::service::{Service, service_fn};

use super::activity::Activity;
use super::caller_body::CallerBody;
use super::service::{CallerService, ServiceBody};
use crate::error::BoxError;

/// Wraps `service` so that each request is recorded, from the complete head to the end of both
/// bodies.
pub(super) fn track_requests<S, B>(
    service: S,
    activity: Arc<Activity>,
) -> impl Service<Request<Incoming>, Response = Response<TrackedBody<B>>, Error = Infallible, Future: Send>
where
    S: CallerService<B>,
    B: ServiceBody,
{
    service_fn(move |req: Request<Incoming>| {
        let mut service = service.clone();
        let version = req.version();
        let guard = ResponseGuard::new(&activity, version);
        let req = req.map(|incoming| CallerBody::new(incoming, version, &activity));
        service.call(req).map(move |res| {
            guard.activity.begin_response();
            res.map(|mut res| {
                if version <= Version::HTTP_11 && guard.activity.is_too_old() {
                    // hyper closes the connection after this response.
                    res.headers_mut()
                        .insert(CONNECTION, HeaderValue::from_static("close"));
                }
                let has_length =
                    res.body().size_hint().exact().is_some() || res.body().is_end_stream();
                if version == Version::HTTP_10 && !has_length {
                    // Only the end of the connection ends the response, so hyper must not send
                    // keep-alive (RFC 9112 section 9.3), as it does for an HTTP/1.1 response.
                    *res.version_mut() = version;
                    guard.activity.set_delimited_by_close();
                }
                res.map(|body| TrackedBody { body, guard })
            })
        })
    })
}

/// The body of a response. After each frame it is the caller's turn, until hyper polls again.
pub(super) struct TrackedBody<B> {
    body: B,
    guard: ResponseGuard,
}

/// Error of a response that broke off. Without a source: hyper sends the error code that it finds
/// in one to the caller, and the upstream's NO_ERROR or REFUSED_STREAM would be false there.
/// Without one the code is INTERNAL_ERROR.
#[derive(Debug, thiserror::Error)]
#[error("the response broke off: {0}")]
pub(super) struct ResponseBroken(BoxError);

impl<B: ServiceBody> Body for TrackedBody<B> {
    type Data = B::Data;
    type Error = ResponseBroken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, ResponseBroken>>> {
        self.guard.set_delivering(false);
        let frame = Pin::new(&mut self.body)
            .poll_frame(cx)
            .map_err(|error| ResponseBroken(error.into()));
        if let Poll::Ready(Some(Ok(_))) = &frame {
            self.guard.set_delivering(true);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Records a response while it is in flight, from the arrival of its request.
struct ResponseGuard {
    activity: Arc<Activity>,
    is_delivering: bool,
}

impl ResponseGuard {
    fn new(activity: &Arc<Activity>, version: Version) -> Self {
        activity.begin_request(version);
        ResponseGuard {
            activity: Arc::clone(activity),
            is_delivering: false,
        }
    }

    fn set_delivering(&mut self, is_delivering: bool) {
        match (self.is_delivering, is_delivering) {
            (false, true) => self.activity.begin_delivery(),
            (true, false) => self.activity.end_delivery(),
            _ => {}
        }
        self.is_delivering = is_delivering;
    }
}

impl Drop for ResponseGuard {
    fn drop(&mut self) {
        self.set_delivering(false);
        self.activity.end_response();
    }
}
