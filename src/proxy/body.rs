//! The body of what a caller gets: GBG's, or one of our own; watched to its end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::{Either, Full};
use hyper::body::Body;

use super::headers;
use super::observe::Record;
use crate::error::Cause;

/// A body on its way to a caller.
pub struct ProxyBody<B> {
    inner: Either<B, Full<Bytes>>,
    record: Option<Box<Record>>,
}

impl<B> ProxyBody<B> {
    pub(super) fn new(inner: Either<B, Full<Bytes>>, record: Option<Box<Record>>) -> Self {
        ProxyBody { inner, record }
    }
}

impl<B> Body for ProxyBody<B>
where
    B: Body<Data = Bytes, Error: Into<Cause>> + Unpin,
{
    type Data = Bytes;
    type Error = Cause;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        let ProxyBody { inner, record } = &mut *self;
        let frame = ready!(Pin::new(&mut *inner).poll_frame(cx)).map(|frame| frame.map(clean));
        if let Some(record) = record {
            match &frame {
                Some(Ok(frame)) => record.add(frame.data_ref().map_or(0, Bytes::len)),
                Some(Err(error)) => record.note_broken(error.as_ref()),
                None => record.note_ended(),
            }
            // The server asks no further when a body of known length has all come.
            if inner.is_end_stream() {
                record.note_ended();
            }
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
