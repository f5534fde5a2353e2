//! A request's body on its way into a stream, as fast as the API takes it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::{Body, Frame, SizeHint};

use super::super::body_error;
use super::super::progress::Tracked;
use crate::error::{Cause, Error};

/// A body that can begin again, as long as what was read of it is short enough to be kept.
pub(super) struct Rewind<B> {
    body: B,
    /// What was read; `None` once it was too long.
    read: Option<VecDeque<Bytes>>,
    /// How much more may be kept.
    room: usize,
    /// How many of those that were read are given again before more is read.
    again: usize,
}

impl<B: Body<Data = Bytes> + Unpin> Rewind<B> {
    pub(super) fn new(body: B, limit: usize) -> Self {
        Rewind { body, read: Some(VecDeque::new()), room: limit, again: 0 }
    }

    /// Begins again; `None` if that cannot be.
    pub(super) fn rewound(mut self) -> Option<Self> {
        self.again = self.read.as_ref()?.len();
        Some(self)
    }

    /// The body, if nothing was read of it.
    pub(super) fn untouched(self) -> Option<B> {
        self.read.is_some_and(|read| read.is_empty()).then_some(self.body)
    }

    /// Keeps nothing more: it will not begin again.
    fn settle(&mut self) {
        if self.again == 0 {
            self.read = None;
        }
    }

    fn keep(&mut self, frame: &Frame<Bytes>) {
        match (&mut self.read, frame.data_ref()) {
            (Some(read), Some(data)) if data.len() <= self.room => {
                self.room -= data.len();
                read.push_back(data.clone());
            }
            // Too long, or trailers.
            _ => self.read = None,
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Rewind<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.again > 0
            && let Some(read) = &self.read
            && let Some(data) = read.get(read.len() - self.again)
        {
            let data = data.clone();
            self.again -= 1;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            self.keep(frame);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.again == 0 && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // What is given again belongs to a request whose length is told already.
        if self.again == 0 { self.body.size_hint() } else { SizeHint::default() }
    }
}

/// The body of one request, and the stream that it goes into.
pub(super) struct Upload<B> {
    /// `None` once all is sent, or the API wants no more.
    stream: Option<SendStream<Bytes>>,
    body: Tracked<Rewind<B>>,
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
    pub(super) fn new(stream: Option<SendStream<Bytes>>, body: Tracked<Rewind<B>>) -> Self {
        Upload { stream, body, chunk: Bytes::new() }
    }

    /// What it was made of.
    pub(super) fn into_body(self) -> Rewind<B> {
        self.body.into_inner()
    }

    pub(super) fn is_over(&self) -> bool {
        self.stream.is_none()
    }

    /// Nothing is kept any more: the answer has begun.
    pub(super) fn settle(&mut self) {
        self.body.inner_mut().settle();
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
