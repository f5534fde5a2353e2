//! The requests of a connection, as its deadlines see them: whether one is in flight, and whose
//! turn it is.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, Version};
use http_body::{Frame, SizeHint};
use hyper::body::{Body, Incoming};
use hyper::service::{Service, service_fn};

use super::activity::Activity;
use super::{CallerService, ServiceBody};
use crate::error::BoxError;
use crate::rt::wake_filter;

/// `service`, with each of its requests noted from the whole head to the last of body and answer.
pub(super) fn noted<S, B>(
    service: S,
    activity: Arc<Activity>,
) -> impl Service<
    Request<Incoming>,
    Response = Response<ResponseBody<B>>,
    Error = Infallible,
    Future: Send,
>
where
    S: CallerService<B>,
    B: ServiceBody,
{
    service_fn(move |req: Request<Incoming>| {
        let mut service = service.clone();
        let version = req.version();
        let turn = Turn::begin(&activity, version);
        let req = req.map(|incoming| CallerBody::new(incoming, version, &activity));
        service.call(req).map(move |answered| {
            turn.activity.begin_answer();
            answered.map(|mut res| {
                if version <= Version::HTTP_11 && turn.activity.is_aged() {
                    // hyper ends the connection with the answer that says so.
                    res.headers_mut()
                        .insert(CONNECTION, HeaderValue::from_static("close"));
                }
                let has_length =
                    res.body().size_hint().exact().is_some() || res.body().is_end_stream();
                if version == Version::HTTP_10 && !has_length {
                    // It ends with its connection, which therefore must not be said to stay (RFC
                    // 9112 section 9.3): that is what hyper makes of an answer of HTTP/1.0.
                    *res.version_mut() = version;
                    turn.activity.note_delimited_by_close();
                }
                res.map(|body| ResponseBody { body, turn })
            })
        })
    })
}

/// The body of a caller's request. It ends only where the message does: at its length, its last
/// chunk or END_STREAM.
#[derive(Debug)]
pub struct CallerBody {
    incoming: Incoming,
    is_http2: bool,
    /// `None` when it has ended.
    upload: Option<Upload>,
}

/// Error of a request body that stopped before its end.
#[derive(Debug, thiserror::Error)]
pub enum CallerBodyError {
    /// The connection failed, or the body is not valid HTTP.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// The caller reset the stream (RFC 9113 section 6.4), with any error code.
    #[error("the caller reset the stream before the end of the body")]
    Reset,
}

impl CallerBody {
    fn new(incoming: Incoming, version: Version, activity: &Arc<Activity>) -> Self {
        let upload = (!incoming.is_end_stream()).then(|| Upload::begin(activity));
        CallerBody {
            incoming,
            is_http2: version == Version::HTTP_2,
            upload,
        }
    }

    /// Whether all of the body was received. hyper reports a stream that was reset with NO_ERROR
    /// like one that ended.
    fn is_complete(&self) -> bool {
        match self.incoming.size_hint().exact() {
            Some(remaining) => remaining == 0,
            // A chunked body ends with its last chunk, or with an error.
            None => !self.is_http2 || self.incoming.is_end_stream(),
        }
    }
}

impl Body for CallerBody {
    type Data = Bytes;
    type Error = CallerBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallerBodyError>>> {
        let mut frame =
            wake_filter::poll_frame(&mut self.incoming, cx).map_err(CallerBodyError::from);
        if matches!(frame, Poll::Ready(None)) && !self.is_complete() {
            frame = Poll::Ready(Some(Err(CallerBodyError::Reset)));
        }
        let CallerBody {
            incoming, upload, ..
        } = &mut *self;
        if let Some(under_way) = upload {
            under_way.note_awaited(frame.is_pending());
            match &frame {
                Poll::Pending => {}
                Poll::Ready(Some(Err(_))) => *upload = None,
                // The reader asks no further when a body of known length has all come.
                Poll::Ready(Some(Ok(_))) if !incoming.is_end_stream() => {}
                Poll::Ready(_) => {
                    under_way.whole = true;
                    *upload = None;
                }
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// A request's body on its way in.
#[derive(Debug)]
struct Upload {
    activity: Arc<Activity>,
    awaited: bool,
    whole: bool,
}

impl Upload {
    fn begin(activity: &Arc<Activity>) -> Self {
        activity.begin_body();
        Upload {
            activity: Arc::clone(activity),
            awaited: false,
            whole: false,
        }
    }

    fn note_awaited(&mut self, awaited: bool) {
        match (self.awaited, awaited) {
            (false, true) => self.activity.expect(),
            (true, false) => self.activity.expect_no_more(),
            _ => {}
        }
        self.awaited = awaited;
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.note_awaited(false);
        self.activity.end_body(self.whole);
    }
}

/// The body of an answer on its way out. What it gave is the caller's to take until it is asked for
/// more.
pub(super) struct ResponseBody<B> {
    body: B,
    turn: Turn,
}

/// Error of a response that broke off. Without a source: hyper sends the error code that it finds
/// in one to the caller, and the upstream's NO_ERROR or REFUSED_STREAM would be false there.
/// Without one the code is INTERNAL_ERROR.
#[derive(Debug, thiserror::Error)]
#[error("the response broke off: {0}")]
pub(super) struct ResponseBroken(BoxError);

impl<B: ServiceBody> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = ResponseBroken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, ResponseBroken>>> {
        self.turn.note_held(false);
        let frame = Pin::new(&mut self.body)
            .poll_frame(cx)
            .map_err(|error| ResponseBroken(error.into()));
        if let Poll::Ready(Some(Ok(_))) = &frame {
            self.turn.note_held(true);
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

/// An answer, from the moment that its request is there.
struct Turn {
    activity: Arc<Activity>,
    held: bool,
}

impl Turn {
    fn begin(activity: &Arc<Activity>, version: Version) -> Self {
        activity.begin_request(version);
        Turn {
            activity: Arc::clone(activity),
            held: false,
        }
    }

    fn note_held(&mut self, held: bool) {
        match (self.held, held) {
            (false, true) => self.activity.hold(),
            (true, false) => self.activity.release(),
            _ => {}
        }
        self.held = held;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.note_held(false);
        self.activity.end_answer();
    }
}
