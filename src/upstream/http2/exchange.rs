//! One request and its answer over one stream.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::poll_fn;
use h2::{Reason, RecvStream};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderValue};
use http::uri::{self, Uri};
use http::{Method, Request, Response, Version, request};
use http_body::{Body, Frame, SizeHint};
use tokio::time::timeout;

use super::super::pool::SETTLE;
use super::super::progress::Watch;
use super::super::{AnswerSilent, Times, too_slow};
use super::Http2;
use super::pool::Lease;
use super::upload::{Broken, Upload};
use crate::error::{BoxError, Error};

/// A request that the API has not acted on.
pub(super) struct Unsent<B> {
    /// As it was for HTTP/1.1.
    head: request::Parts,
    uri: Uri,
    body: B,
}

impl<B> Unsent<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    /// `req`, aimed at the origin of `http2`.
    pub(super) fn new(req: Request<B>, http2: &Http2<B>) -> Self {
        let (mut head, body) = req.into_parts();
        let mut parts = uri::Parts::default();
        parts.scheme = Some(http2.scheme.clone());
        parts.authority = Some(http2.authority.clone());
        parts.path_and_query = head.uri.path_and_query().cloned();
        let uri = Uri::from_parts(parts).unwrap_or_default();
        // A length is no must here, yet what the API may have come to expect.
        if let Some(length) = body.size_hint().exact()
            && (length > 0 || matches!(head.method, Method::POST | Method::PUT | Method::PATCH))
        {
            head.headers
                .entry(CONTENT_LENGTH)
                .or_insert_with(|| HeaderValue::from(length));
        }
        Unsent { head, uri, body }
    }

    pub(super) fn headers(&mut self) -> &mut HeaderMap {
        &mut self.head.headers
    }

    /// The request as it came.
    pub(super) fn into_request(self) -> Request<B> {
        Request::from_parts(self.head, self.body)
    }

    /// The head as it is sent: what Host says, `:authority` says.
    fn request(&self) -> Request<()> {
        let mut req = Request::new(());
        *req.method_mut() = self.head.method.clone();
        *req.uri_mut() = self.uri.clone();
        *req.version_mut() = Version::HTTP_2;
        *req.headers_mut() = self.head.headers.clone();
        req.headers_mut().remove(HOST);
        // It speaks of HTTP/1.1's hop (RFC 9113 section 8.2.2).
        req.headers_mut().remove(CONNECTION);
        req
    }
}

impl Lease {
    /// Sends `unsent` and waits for the head of the answer, as long as less than the limit passes
    /// without progress.
    ///
    /// # Errors
    /// Gives `unsent` back where the connection has ended before anything of it was sent.
    pub(super) async fn exchange<B>(
        mut self,
        unsent: Unsent<B>,
        times: Times,
    ) -> Result<Result<Response<Answer<B>>, Error>, (h2::Error, Unsent<B>)>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let mut watch = Watch::default();
        let req = unsent.request();
        let is_empty = unsent.body.is_end_stream();
        let (mut answering, stream) = match self.sender().send_request(req, is_empty) {
            Ok(begun) => begun,
            Err(error) => return Err((error, unsent)),
        };
        let mut upload = Upload::new(stream, watch.track(unsent.body), is_empty);
        let answered = poll_fn(|cx| {
            if let Poll::Ready(Err(Broken(error))) = upload.poll(cx) {
                return Poll::Ready(Err(error));
            }
            match Pin::new(&mut answering).poll(cx) {
                Poll::Ready(answered) => Poll::Ready(answered.map_err(failure)),
                Poll::Pending => watch
                    .poll_silent(cx, times.response)
                    .map(|silent| Err(too_slow(silent))),
            }
        });
        let answered = answered.await;
        Ok(answered.map(|res| {
            upload.is_answered = true;
            Answer::new(res, (upload, self), watch, times)
        }))
    }
}

/// The failure that a stream which ended without a response stands for. A stream that the API
/// refused, or that is above the last one that its GOAWAY names, was not processed (RFC 9113
/// section 8.7); only such streams are failed by a GOAWAY.
fn failure(error: h2::Error) -> Error {
    let is_refused = error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM);
    if error.is_remote() && (error.is_go_away() || is_refused) {
        let is_shutdown = error.is_go_away() && error.reason() == Some(Reason::NO_ERROR);
        return Error::UpstreamRefused {
            is_shutdown,
            source: error.into(),
        };
    }
    match error.is_io() {
        true => Error::UpstreamClosed(error.into()),
        false => Error::UpstreamBroken(error.into()),
    }
}

/// Whether `error` may follow a whole response. A reset that h2 itself decided on may not: more
/// came than the length.
fn may_follow_whole(error: &h2::Error) -> bool {
    !(error.is_reset() && error.is_library())
}

/// The body of an answer. The rest of the request, which the answer may overtake, is sent
/// meanwhile.
pub(in crate::upstream) struct Answer<B> {
    stream: RecvStream,
    /// Taken when the answer has ended.
    rest: Option<(Upload<B>, Lease)>,
    watch: Watch,
    times: Times,
    /// Whether it was asked for what has not come.
    waits: bool,
    /// How much is still to come, where that was told.
    left: Option<u64>,
    has_data: bool,
}

impl<B> Answer<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    fn new(
        res: Response<RecvStream>,
        rest: (Upload<B>, Lease),
        watch: Watch,
        times: Times,
    ) -> Response<Self> {
        let left = res
            .headers()
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        let (head, stream) = res.into_parts();
        let mut answer = Answer {
            stream,
            rest: Some(rest),
            watch,
            times,
            waits: false,
            left,
            has_data: true,
        };
        if answer.stream.is_end_stream() {
            // Nobody reads a body that is not there.
            answer.left = None;
            answer.finish();
        }
        Response::from_parts(head, answer)
    }

    /// The next part, without a watch.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some((upload, _)) = &mut self.rest
            && let Poll::Ready(Err(Broken(error))) = upload.poll(cx)
        {
            return Poll::Ready(Some(Err(error.into())));
        }
        if self.has_data {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // Only what was taken makes room for more.
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                // All of the length has come. The rest of the request is not wanted (RFC 9113
                // section 8.1), or the connection broke: h2 reports that in place of an END_STREAM
                // that it has read before, where the request was still being sent. Without a length
                // the two cannot be told apart.
                Some(Err(error)) if self.left == Some(0) && may_follow_whole(&error) => {
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

    /// The answer has ended: its place is free, as soon as the request has been sent.
    fn finish(&mut self) {
        if let Some((mut upload, lease)) = self.rest.take()
            && !upload.is_over()
        {
            tokio::spawn(async move {
                let _ = timeout(SETTLE, poll_fn(|cx| upload.poll(cx))).await;
                drop(lease);
            });
        }
    }
}

impl<B> Body for Answer<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = this.poll_next(cx) else {
            if !this.waits {
                this.waits = true;
                this.watch.note();
            }
            ready!(this.watch.poll_silent(cx, this.times.body));
            this.rest = None;
            return Poll::Ready(Some(Err(AnswerSilent.into())));
        };
        this.waits = false;
        if frame.is_none() || this.stream.is_end_stream() {
            this.finish();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.left {
            Some(left) => SizeHint::with_exact(left),
            None if self.stream.is_end_stream() => SizeHint::with_exact(0),
            None => SizeHint::default(),
        }
    }
}
