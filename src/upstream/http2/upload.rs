//! Upload of a request body into an HTTP/2 stream, as fast as the API accepts it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;

use super::super::body::ProgressBody;
use super::super::failure::request_body_error;
use super::lease::StreamLease;
use crate::error::{BoxError, Error};

pub(super) struct BodyUpload<B> {
    stream: SendStream<Bytes>,
    body: ProgressBody<B>,
    /// Data that was read from the body and not sent yet.
    unsent: Bytes,
    /// Whether all is sent, or the API does not want the rest.
    pub(super) is_finished: bool,
    /// Whether the response has begun.
    pub(super) has_response: bool,
    /// Released when the upload is dropped.
    _lease: StreamLease,
}

impl<B> BodyUpload<B> {
    pub(super) fn new(
        stream: SendStream<Bytes>,
        body: ProgressBody<B>,
        is_empty: bool,
        lease: StreamLease,
    ) -> Self {
        BodyUpload {
            stream,
            body,
            unsent: Bytes::new(),
            is_finished: is_empty,
            has_response: false,
            _lease: lease,
        }
    }
}

/// Resets a stream whose response has not begun. If a GOAWAY arrives before the HEADERS are sent,
/// h2 drops the HEADERS and an explicit RST_STREAM, but sends the RST_STREAM that it queues itself
/// when the last handle is dropped. A stream that begins with RST_STREAM makes the API close the
/// connection (RFC 9113 section 5.1), and with it the requests of other callers.
impl<B> Drop for BodyUpload<B> {
    fn drop(&mut self) {
        if !self.has_response {
            self.stream.send_reset(Reason::CANCEL);
        }
    }
}

impl<B> BodyUpload<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    /// Sends as much as the API accepts. Ready when nothing is left to send, or with the error of
    /// the body.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.is_finished {
            return Poll::Ready(Ok(()));
        }
        let sent = self.poll_send(cx);
        self.is_finished = sent.is_ready();
        sent
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let stream = &mut self.stream;
        loop {
            if !self.unsent.is_empty() {
                let is_last = self.body.is_end_stream();
                match ready!(poll_send_part(stream, &mut self.unsent, is_last, cx)) {
                    // The API has ended the stream; the response shows why.
                    None => return Poll::Ready(Ok(())),
                    Some(()) if is_last && self.unsent.is_empty() => return Poll::Ready(Ok(())),
                    Some(()) => self.body.record_progress(),
                }
                continue;
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                // The API may reset the stream at any time if it does not want the rest.
                Poll::Pending if stream.poll_reset(cx).is_ready() => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(frame))) => match frame.into_trailers() {
                    Ok(trailers) => {
                        let _ = stream.send_trailers(trailers);
                        return Poll::Ready(Ok(()));
                    }
                    Err(frame) => self.unsent = frame.into_data().unwrap_or_default(),
                },
                Poll::Ready(Some(Err(error))) => {
                    stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(Err(request_body_error(Some(error.into().as_ref()))));
                }
                Poll::Ready(None) => {
                    let _ = stream.send_data(Bytes::new(), true);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

/// Sends the first part of `data` that fits the window. `None` if the stream has ended.
fn poll_send_part(
    stream: &mut SendStream<Bytes>,
    data: &mut Bytes,
    is_last: bool,
    cx: &mut Context<'_>,
) -> Poll<Option<()>> {
    stream.reserve_capacity(data.len());
    while stream.capacity() == 0 {
        match ready!(stream.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Poll::Ready(None),
        }
    }
    let part = data.split_to(data.len().min(stream.capacity()));
    let ends_stream = is_last && data.is_empty();
    Poll::Ready(stream.send_data(part, ends_stream).ok())
}
