//! The body of what a caller gets: GBG's, or one of our own; watched to its end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Body;

use super::context::Watched;
use super::headers;
use crate::error::BoxError;

/// The body of an answer: the API's, or one of our own.
#[derive(Debug)]
pub enum Answer<B> {
    /// As it came.
    Theirs(B),
    /// Made here.
    Ours(Full<Bytes>),
}

impl<B> Answer<B> {
    pub(super) fn is_ours(&self) -> bool {
        matches!(self, Answer::Ours(_))
    }
}

impl<B> Body for Answer<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Answer::Theirs(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Answer::Ours(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Answer::Theirs(body) => body.is_end_stream(),
            Answer::Ours(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Theirs(body) => body.size_hint(),
            Answer::Ours(body) => body.size_hint(),
        }
    }
}

/// A body on its way to a caller.
pub struct ProxyBody<B> {
    inner: Answer<B>,
    watched: Watched,
}

impl<B> ProxyBody<B> {
    pub(super) fn new(inner: Answer<B>, watched: Watched) -> Self {
        ProxyBody { inner, watched }
    }
}

impl<B> Body for ProxyBody<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let ProxyBody { inner, watched } = &mut *self;
        let frame = ready!(Pin::new(&mut *inner).poll_frame(cx)).map(|frame| frame.map(clean));
        match &frame {
            Some(Ok(frame)) => {
                watched.add(frame.data_ref().map_or(0, Bytes::len));
                // The server asks no further when a body of known length has all come. Over HTTP/2
                // its end may come later.
                if inner.is_end_stream() || inner.size_hint().exact() == Some(0) {
                    watched.note_ended();
                }
            }
            Some(Err(error)) => watched.note_broken(error.as_ref()),
            None => watched.note_ended(),
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

/// A frame as it goes on: trailers without what must not be in them.
fn clean(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(trailers) => Frame::trailers(headers::trailers(trailers)),
        Err(frame) => frame,
    }
}
