//! One request and its answer over one connection.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use hyper::body::{Body, Incoming};

use super::pool::{Pool, Slot};
use super::progress::{Silent, Tracked};
use crate::error::{Cause, Error};

/// An exchange that gave no answer.
pub(super) struct Failed<B> {
    pub(super) error: Error,
    /// The request, when not a byte of it was sent.
    pub(super) unsent: Option<Request<B>>,
}

impl<B> Slot<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Cause>,
{
    /// Sends `req` and waits for the head of the answer, as long as less than `limit` passes without progress. The
    /// connection goes to `pool` when the answer has ended; one whose exchange failed is closed.
    pub(super) async fn exchange(
        mut self,
        req: Request<B>,
        limit: Duration,
        pool: &Arc<Pool<B>>,
    ) -> Result<Response<Answer<B>>, Failed<B>> {
        let req = req.map(|body| self.watch.track(body));
        let mut sent = pin!(self.sender.try_send_request(req));
        let answered = poll_fn(|cx| match sent.as_mut().poll(cx) {
            Poll::Ready(answered) => Poll::Ready(Ok(answered)),
            Poll::Pending => self.watch.poll_silent(cx, limit).map(Err),
        });
        match answered.await {
            // Nobody asks for an upgrade: the field is one of those that end here.
            Ok(Ok(res)) if res.status() == StatusCode::SWITCHING_PROTOCOLS => Err(Failed {
                error: Error::UpstreamBroken("it switches protocols unasked".into()),
                unsent: None,
            }),
            Ok(Ok(res)) => Ok(res.map(|incoming| Answer::new(incoming, self, pool))),
            Ok(Err(mut error)) => {
                let unsent = error.take_message().map(|req| req.map(Tracked::into_inner));
                let error = match unsent {
                    Some(_) => Error::UpstreamUnreachable(error.into_error().into()),
                    None => broken(error.into_error()),
                };
                Err(Failed { error, unsent })
            }
            Err(silent) => Err(Failed { error: too_slow(silent), unsent: None }),
        }
    }
}

/// Whose fault it is that a request got no answer.
fn broken(error: hyper::Error) -> Error {
    // "User" is whoever made the request's body, and that is the caller.
    if error.is_user() { Error::BodyBroken } else { Error::UpstreamBroken(error.into()) }
}

fn too_slow(silent: Silent) -> Error {
    match silent {
        Silent::Caller => Error::CallerTooSlow,
        Silent::Upstream => Error::UpstreamTimeout,
    }
}

/// The body of an answer. Its connection goes back to the pool when it has ended, and is closed when it is dropped
/// before.
pub struct Answer<B> {
    incoming: Incoming,
    lease: Option<(Slot<B>, Arc<Pool<B>>)>,
}

impl<B> Body for Answer<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        // A body of known length has ended with its last frame: nobody need ask for one more.
        if frame.is_none() || self.incoming.is_end_stream() {
            self.give_back();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl<B> Answer<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    fn new(incoming: Incoming, slot: Slot<B>, pool: &Arc<Pool<B>>) -> Self {
        let mut answer = Answer { incoming, lease: Some((slot, Arc::clone(pool))) };
        if answer.incoming.is_end_stream() {
            // Nobody reads a body that is not there.
            answer.give_back();
        }
        answer
    }

    fn give_back(&mut self) {
        if let Some((slot, pool)) = self.lease.take() {
            pool.take_back(slot);
        }
    }
}
