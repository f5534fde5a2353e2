//! A request's body on its way into a stream, as fast as the API takes it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;

use super::super::body_error;
use super::super::progress::Tracked;
use crate::error::{Cause, Error};

/// The body of one request, and the stream that it goes into.
pub(super) struct Upload<B> {
    /// `None` once all is sent, or the API wants no more.
    stream: Option<SendStream<Bytes>>,
    body: Tracked<B>,
    /// Read, and not sent yet.
    chunk: Bytes,
}

/// Why the request's body did not come to its end.
pub(super) struct Broken(pub(super) Error);

impl<B> Upload<B>
where
    B: Body<Data = Bytes, Error: Into<Cause>> + Unpin,
{
    /// `stream` is `None` where there is no body.
    pub(super) fn new(stream: Option<SendStream<Bytes>>, body: Tracked<B>) -> Self {
        Upload { stream, body, chunk: Bytes::new() }
    }

    pub(super) fn is_over(&self) -> bool {
        self.stream.is_none()
    }

    /// Sends as much as the API takes. Ready when there is nothing more to send.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let Some(mut stream) = self.stream.take() else { return Poll::Ready(Ok(())) };
        let sent = self.poll_into(&mut stream, cx);
        if sent.is_pending() {
            self.stream = Some(stream);
        }
        sent
    }

    fn poll_into(
        &mut self,
        stream: &mut SendStream<Bytes>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
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
