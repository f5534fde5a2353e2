//! Exchange of one request and its response over an HTTP/2 stream.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderValue};
use http::uri::{self, Authority, Scheme, Uri};
use http::{Method, Request, Response, Version};
use http_body::{Body, Frame, SizeHint};
use tokio::time::timeout;

use super::super::body::{OutgoingBody, ProgressBody};
use super::super::failure::{ExchangeError, ResponseBodyTimeout, silence_error};
use super::super::timeouts::{SETTLE_TIMEOUT, UpstreamTimeouts};
use super::super::watchdog::Watchdog;
use super::lease::StreamLease;
use super::upload::BodyUpload;
use crate::error::{BoxError, Error};

/// The origin of the API, as requests name it in `:scheme` and `:authority`.
pub(super) struct TargetOrigin {
    pub(super) scheme: Scheme,
    pub(super) authority: Authority,
}

/// Declares the length of a body whose length is known: HTTP/2 needs none, but the API may depend
/// on it.
fn declare_length<B: Body>(req: &mut Request<B>) {
    if let Some(length) = req.body().size_hint().exact()
        && (length > 0 || matches!(*req.method(), Method::POST | Method::PUT | Method::PATCH))
    {
        req.headers_mut()
            .entry(CONTENT_LENGTH)
            .or_insert_with(|| HeaderValue::from(length));
    }
}

/// The head of `req`, which is for HTTP/1.1, as HTTP/2 has it: `:authority` in place of Host.
fn http2_head<B>(req: &Request<B>, origin: &TargetOrigin) -> Request<()> {
    let mut parts = uri::Parts::default();
    parts.scheme = Some(origin.scheme.clone());
    parts.authority = Some(origin.authority.clone());
    parts.path_and_query = req.uri().path_and_query().cloned();
    let mut head = Request::new(());
    *head.method_mut() = req.method().clone();
    *head.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    *head.version_mut() = Version::HTTP_2;
    *head.headers_mut() = req.headers().clone();
    head.headers_mut().remove(HOST);
    // Connection-specific fields are forbidden (RFC 9113 section 8.2.2).
    head.headers_mut().remove(CONNECTION);
    head
}

impl StreamLease {
    /// Sends `req` and waits for the response head until nothing moves for the response timeout.
    pub(super) async fn exchange<B: OutgoingBody>(
        mut self,
        mut req: Request<B>,
        origin: &TargetOrigin,
        timeouts: UpstreamTimeouts,
    ) -> Result<Response<Http2Body<B>>, ExchangeError<B>> {
        let mut watchdog = Watchdog::default();
        declare_length(&mut req);
        let head = http2_head(&req, origin);
        let is_empty = req.body().is_end_stream();
        let (mut response, stream) = match self.sender().send_request(head, is_empty) {
            Ok(sent) => sent,
            // The connection has ended.
            Err(error) => {
                return Err(ExchangeError {
                    error: Error::UpstreamUnreachable(error.into()),
                    unsent: Some(Box::new(req)),
                });
            }
        };
        let body = ProgressBody::new(req.into_body(), &watchdog);
        let mut upload = BodyUpload::new(stream, body, is_empty, self);
        let received = poll_fn(|cx| {
            if let Poll::Ready(Err(error)) = upload.poll(cx) {
                return Poll::Ready(Err(error));
            }
            match Pin::new(&mut response).poll(cx) {
                Poll::Ready(received) => Poll::Ready(received.map_err(stream_error)),
                Poll::Pending => watchdog
                    .poll_silent(cx, timeouts.response)
                    .map(|silent| Err(silence_error(silent, timeouts.response))),
            }
        });
        let res = received.await?;
        upload.has_response = true;
        Ok(Http2Body::wrap(res, upload, watchdog, timeouts))
    }
}

/// Classifies the error of a stream without response. The API did not process a stream that it
/// refused, or that is above the last one its GOAWAY names (RFC 9113 section 8.7); a GOAWAY fails
/// no other stream.
fn stream_error(error: h2::Error) -> Error {
    let is_refused = error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM);
    if error.is_remote() && (error.is_go_away() || is_refused) {
        let is_shutdown = error.is_go_away() && error.reason() == Some(Reason::NO_ERROR);
        Error::UpstreamRefused {
            is_shutdown,
            source: error.into(),
        }
    } else if error.is_io() {
        Error::UpstreamClosed(error.into())
    } else {
        Error::UpstreamBroken(error.into())
    }
}

/// Whether `error` can follow a complete response. A reset by h2 itself cannot: it means that more
/// data than the length arrived.
fn may_follow_complete(error: &h2::Error) -> bool {
    !(error.is_reset() && error.is_library())
}

/// The body of a response. Sends the rest of the request, which the response may overtake.
pub(crate) struct Http2Body<B> {
    stream: RecvStream,
    /// Holds the stream; `None` after the end of the response.
    upload: Option<BodyUpload<B>>,
    watchdog: Watchdog,
    timeouts: UpstreamTimeouts,
    /// Whether the reader waits for more.
    is_awaited: bool,
    /// The bytes of Content-Length that have not arrived.
    remaining: Option<u64>,
    has_data: bool,
}

impl<B: OutgoingBody> Http2Body<B> {
    fn wrap(
        res: Response<RecvStream>,
        upload: BodyUpload<B>,
        watchdog: Watchdog,
        timeouts: UpstreamTimeouts,
    ) -> Response<Self> {
        let remaining = res
            .headers()
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        res.map(|stream| {
            let mut body = Http2Body {
                stream,
                upload: Some(upload),
                watchdog,
                timeouts,
                is_awaited: false,
                remaining,
                has_data: true,
            };
            if body.stream.is_end_stream() {
                // An empty body is never polled.
                body.remaining = None;
                body.finish();
            }
            body
        })
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(upload) = &mut self.upload
            && let Poll::Ready(Err(error)) = upload.poll(cx)
        {
            return Poll::Ready(Some(Err(error.into())));
        }
        if self.has_data {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // Only data that was read opens the window for more.
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    self.remaining = self
                        .remaining
                        .map(|remaining| remaining.saturating_sub(data.len() as u64));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                // The response is complete. Either the API does not want the rest of the request
                // (RFC 9113 section 8.1), or the connection broke: h2 reports that instead of an
                // END_STREAM that it has read before, if the request was still being sent. Without
                // a length the two cannot be distinguished.
                Some(Err(error)) if self.remaining == Some(0) && may_follow_complete(&error) => {
                    return Poll::Ready(None);
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => self.has_data = false,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(cx));
        Poll::Ready(
            trailers
                .map_err(BoxError::from)
                .transpose()
                .map(|trailers| trailers.map(Frame::trailers)),
        )
    }

    /// Releases the stream as soon as the request is sent.
    fn finish(&mut self) {
        if let Some(mut upload) = self.upload.take()
            && !upload.is_finished
        {
            tokio::spawn(async move {
                let _ = timeout(SETTLE_TIMEOUT, poll_fn(|cx| upload.poll(cx))).await;
            });
        }
    }
}

impl<B: OutgoingBody> Body for Http2Body<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = this.poll_next(cx) else {
            if !this.is_awaited {
                this.is_awaited = true;
                this.watchdog.progress.record_progress();
            }
            ready!(this.watchdog.poll_silent(cx, this.timeouts.body));
            this.upload = None;
            return Poll::Ready(Some(Err(ResponseBodyTimeout.into())));
        };
        this.is_awaited = false;
        if frame.is_none() || this.stream.is_end_stream() {
            this.finish();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.remaining {
            Some(remaining) => SizeHint::with_exact(remaining),
            None if self.stream.is_end_stream() => SizeHint::with_exact(0),
            None => SizeHint::default(),
        }
    }
}
