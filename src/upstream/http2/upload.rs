//! A request's body on its way into a stream, as fast as the API takes it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;

use super::super::body_error;
use super::super::progress::ProgressBody;
use crate::error::{BoxError, Error};

/// The body of one request, and the stream that it goes into.
pub(super) struct Upload<B> {
    stream: SendStream<Bytes>,
    body: ProgressBody<B>,
    /// Read, and not sent yet.
    chunk: Bytes,
    /// Whether all is sent, or the API wants no more.
    is_over: bool,
    /// Whether the response has begun.
    pub(super) is_answered: bool,
}

/// Why the request's body did not come to its end.
pub(super) struct Broken(pub(super) Error);

impl<B> Upload<B> {
    /// `is_over` if there is no body.
    pub(super) fn new(stream: SendStream<Bytes>, body: ProgressBody<B>, is_over: bool) -> Self {
        Upload {
            stream,
            body,
            chunk: Bytes::new(),
            is_over,
            is_answered: false,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }
}

/// Resets a stream whose response has not begun. Where a GOAWAY comes before the HEADERS are sent,
/// h2 drops them, and an explicit RST_STREAM with them, but sends the one that it queues itself
/// when the last handle is dropped. An API closes a connection whose stream begins with RST_STREAM
/// (RFC 9113 section 5.1), and with it the requests of other callers.
impl<B> Drop for Upload<B> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.stream.send_reset(Reason::CANCEL);
        }
    }
}

impl<B> Upload<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    /// Sends as much as the API takes. Ready when there is nothing more to send.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if self.is_over {
            return Poll::Ready(Ok(()));
        }
        let sent = self.poll_into(cx);
        self.is_over = sent.is_ready();
        sent
    }

    fn poll_into(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let stream = &mut self.stream;
        loop {
            if !self.chunk.is_empty() {
                let ended = self.body.is_end_stream();
                match ready!(poll_send(stream, &mut self.chunk, ended, cx)) {
                    // The API has ended the stream; why, the answer tells.
                    None => return Poll::Ready(Ok(())),
                    Some(()) if ended && self.chunk.is_empty() => return Poll::Ready(Ok(())),
                    Some(()) => self.body.note(),
                }
                continue;
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                // An API that wants no more says so by a reset, also in the middle.
                Poll::Pending if stream.poll_reset(cx).is_ready() => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(frame))) => match frame.into_trailers() {
                    Ok(trailers) => {
                        let _ = stream.send_trailers(trailers);
                        return Poll::Ready(Ok(()));
                    }
                    Err(frame) => self.chunk = frame.into_data().unwrap_or_default(),
                },
                Poll::Ready(Some(Err(error))) => {
                    stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(Err(Broken(body_error(Some(error.into().as_ref())))));
                }
                Poll::Ready(None) => {
                    let _ = stream.send_data(Bytes::new(), true);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

/// Sends the first part of `chunk` for which there is room. `None` if the stream has ended.
fn poll_send(
    stream: &mut SendStream<Bytes>,
    chunk: &mut Bytes,
    is_last: bool,
    cx: &mut Context<'_>,
) -> Poll<Option<()>> {
    stream.reserve_capacity(chunk.len());
    while stream.capacity() == 0 {
        match ready!(stream.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Poll::Ready(None),
        }
    }
    let part = chunk.split_to(chunk.len().min(stream.capacity()));
    let ended = is_last && chunk.is_empty();
    Poll::Ready(stream.send_data(part, ended).ok())
}
