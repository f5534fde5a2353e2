//! The requests of a connection, as its deadlines see them: whether one is in flight, and whose turn it is.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response, Version};
use http_body::{Frame, SizeHint};
use hyper::body::{Body, Incoming};
use hyper::service::{Service, service_fn};

use super::activity::Activity;
use super::{AnswerBody, Serve};
use crate::hushed;

/// `service`, with each of its requests noted from the whole head to the last of body and answer.
pub(super) fn noted<S, B>(
    service: S,
    activity: Arc<Activity>,
) -> impl Service<Request<Incoming>, Response = Response<Delivery<B>>, Error = Infallible, Future: Send>
where
    S: Serve<B>,
    B: AnswerBody,
{
    service_fn(move |req: Request<Incoming>| {
        let mut service = service.clone();
        let version = req.version();
        let turn = Turn::begin(&activity, version);
        let req = req.map(|incoming| CallerBody::new(incoming, &activity));
        service.call(req).map(move |answered| {
            turn.activity.begin_answer();
            answered.map(|mut res| {
                let has_length = res.body().size_hint().exact().is_some() || res.body().is_end_stream();
                if version == Version::HTTP_10 && !has_length {
                    // It ends with its connection, which therefore must not be said to stay (RFC 9112 section 9.3):
                    // that is what hyper makes of an answer of HTTP/1.0.
                    *res.version_mut() = version;
                    turn.activity.note_delimited_by_close();
                }
                res.map(|body| Delivery { body, turn })
            })
        })
    })
}

/// The body of a caller's request.
#[derive(Debug)]
pub struct CallerBody {
    incoming: Incoming,
    /// `None` when it has ended.
    upload: Option<Upload>,
}

impl CallerBody {
    fn new(incoming: Incoming, activity: &Arc<Activity>) -> Self {
        let upload = (!incoming.is_end_stream()).then(|| Upload::begin(activity));
        CallerBody { incoming, upload }
    }
}

impl Body for CallerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let CallerBody { incoming, upload } = &mut *self;
        let frame = hushed::poll_frame(incoming, cx);
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
        Upload { activity: Arc::clone(activity), awaited: false, whole: false }
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

/// The body of an answer on its way out. What it gave is the caller's to take until it is asked for more.
pub(super) struct Delivery<B> {
    body: B,
    turn: Turn,
}

impl<B: AnswerBody> Body for Delivery<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.turn.note_held(false);
        let frame = Pin::new(&mut self.body).poll_frame(cx);
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
        Turn { activity: Arc::clone(activity), held: false }
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
