//! One request and its answer over one HTTP/1.1 connection.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::{Method, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use hyper::body::{Body, Incoming};
use hyper::client::conn::TrySendError;

use super::pool::{Pool, Slot};
use super::progress::ProgressBody;
use super::{AnswerSilent, Failed, body_error, too_slow};
use crate::error::{BoxError, Error};
use crate::rt::wake_filter;

/// A connection, and the pool that it goes back to.
type Lease<B> = (Slot<B>, Arc<Pool<B>>);

/// The head of an answer, or why there is none.
pub(super) type Exchanged<B> = Result<Response<Answer<B>>, Failed<B>>;

impl<B> Slot<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    /// Sends `req` and waits for the head of the answer, as long as less than the pool's limit
    /// passes without progress. The connection goes to `pool` when the answer has ended; one whose
    /// exchange failed is closed. `pooled` is one that comes from there.
    pub(super) fn exchange(
        mut self,
        req: Request<B>,
        pool: &Arc<Pool<B>>,
        pooled: bool,
    ) -> impl Future<Output = Exchanged<B>> + Send + use<B> {
        let mut req = req.map(|body| self.watch.track(body));
        tell_framing(&mut req);
        // Boxed: hyper's future has room for the request, and would be moved with each that holds
        // it.
        let mut sent = Box::pin(self.sender.try_send_request(req));
        let mut lease = Some((self, Arc::clone(pool)));
        poll_fn(move |cx| {
            // Nobody asks again once it has ended.
            let Some((slot, pool)) = &mut lease else {
                return Poll::Pending;
            };
            let answered = match sent.as_mut().poll(cx) {
                Poll::Ready(answered) => Ok(answered),
                Poll::Pending => Err(ready!(slot.watch.poll_silent(cx, pool.times.response))),
            };
            let Some((slot, pool)) = lease.take() else {
                return Poll::Pending;
            };
            Poll::Ready(match answered {
                Ok(Ok(res)) => head(res, (slot, pool)),
                Ok(Err(error)) => Err(failed(error, pooled && !slot.watch.has_heard())),
                Err(silent) => Err(Failed {
                    error: too_slow(silent),
                    unsent: None,
                }),
            })
        })
    }
}

/// An answer whose head has come over the connection of `lease`.
fn head<B>(mut res: Response<Incoming>, lease: Lease<B>) -> Exchanged<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    let settled = match res.status() {
        // Nobody asks for an upgrade: the field is one of those that end here.
        StatusCode::SWITCHING_PROTOCOLS => Err("it switches protocols unasked"),
        _ => settle_framing(res.headers_mut()),
    };
    match settled {
        Ok(()) => Ok(res.map(|incoming| Answer::new(incoming, lease))),
        Err(problem) => Err(Failed {
            error: Error::UpstreamBroken(problem.into()),
            unsent: None,
        }),
    }
}

/// Why no answer came; `closed` as for [`broken`].
fn failed<B>(mut error: TrySendError<Request<ProgressBody<B>>>, closed: bool) -> Failed<B> {
    let unsent = error.take_message().map(|mut req| {
        // The next connection may be one of HTTP/2, which has no such field.
        req.headers_mut().remove(TRANSFER_ENCODING);
        Box::new(req.map(ProgressBody::into_inner))
    });
    let error = match unsent {
        Some(_) => Error::UpstreamUnreachable(error.into_error().into()),
        None => broken(error.into_error(), closed),
    };
    Failed { error, unsent }
}

/// Says of `req` how its body ends where hyper would not, and send none: it takes it that a GET or
/// a HEAD whose length is not told has no body.
fn tell_framing<B: Body>(req: &mut Request<B>) {
    let has_bare_body = matches!(*req.method(), Method::GET | Method::HEAD)
        && !req.body().is_end_stream()
        && req.body().size_hint().exact().is_none()
        && !req.headers().contains_key(CONTENT_LENGTH);
    if has_bare_body {
        req.headers_mut()
            .insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// Leaves of the framing of an answer what its caller may be told, as the parser takes more than it
/// should: a coding that is not `chunked` would go on without its name, and a length beside
/// `chunked` is none (RFC 9112 sections 6.1 and 6.3). A length that is repeated goes on once, and
/// one that is no number not at all (RFC 9110 section 8.6).
fn settle_framing(headers: &mut HeaderMap) -> Result<(), &'static str> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => {}
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            headers.remove(CONTENT_LENGTH);
            return Ok(());
        }
        _ => return Err("its Transfer-Encoding is another than chunked"),
    }
    if has_plain_length(headers) {
        return Ok(());
    }
    let members = headers
        .get_all(CONTENT_LENGTH)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&b| b == b','));
    let mut lengths = members.map(|text| length(text.trim_ascii()));
    let Some(first) = lengths.next() else {
        return Ok(());
    };
    match first.filter(|_| lengths.all(|other| other == first)) {
        Some(length) => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            Ok(())
        }
        None => Err("its Content-Length is no one number"),
    }
}

/// Whether there is one length, written as every length is but for odd ones: nothing is to be
/// settled of it.
fn has_plain_length(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let (Some(first), None) = (lengths.next(), lengths.next()) else {
        return false;
    };
    let digits = first.as_bytes();
    // So short that it is surely a number that can be counted to.
    matches!(digits.len(), 1..=18)
        && digits.iter().all(u8::is_ascii_digit)
        && (digits[0] != b'0' || digits.len() == 1)
}

/// The number that `text` is, and nothing but.
fn length(text: &[u8]) -> Option<u64> {
    let digits = text.iter().all(u8::is_ascii_digit).then_some(text)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Whose fault it is that a request got no answer; `closed` if a pooled connection ended without a
/// byte of one.
fn broken(error: hyper::Error, closed: bool) -> Error {
    match () {
        // "User" is whoever made the request's body, and that is the caller.
        () if error.is_user() => body_error(std::error::Error::source(&error)),
        () if closed => Error::UpstreamClosed(error.into()),
        () => Error::UpstreamBroken(error.into()),
    }
}

/// The body of an answer. Its connection goes back to the pool when it has ended, and is closed
/// when it is dropped before.
pub(super) struct Answer<B> {
    incoming: Incoming,
    lease: Option<Lease<B>>,
    /// Whether it was asked for what has not come.
    waits: bool,
}

impl<B> Body for Answer<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Poll::Ready(frame) = wake_filter::poll_frame(&mut self.incoming, cx) else {
            ready!(self.poll_silent(cx));
            self.lease = None;
            return Poll::Ready(Some(Err(AnswerSilent.into())));
        };
        self.waits = false;
        // A body of known length has ended with its last frame: nobody need ask for one more.
        if frame.is_none() || self.incoming.is_end_stream() {
            self.give_back();
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)))
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
    fn new(incoming: Incoming, lease: Lease<B>) -> Self {
        let mut answer = Answer {
            incoming,
            lease: Some(lease),
            waits: false,
        };
        if answer.incoming.is_end_stream() {
            // Nobody reads a body that is not there.
            answer.give_back();
        }
        answer
    }

    /// Ready when the API has been waited for too long. Only the time counts during which somebody
    /// asks for more: a caller that reads slowly does not.
    fn poll_silent(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((slot, pool)) = &mut self.lease else {
            return Poll::Pending;
        };
        if !self.waits {
            self.waits = true;
            slot.watch.note();
        }
        slot.watch.poll_silent(cx, pool.times.body).map(drop)
    }

    fn give_back(&mut self) {
        if let Some((slot, pool)) = self.lease.take() {
            pool.take_back(slot);
        }
    }
}
