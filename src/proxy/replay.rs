//! Replay buffer: a request on its way to the API is copied, so that it can be sent again.
//!
//! The body is copied as it streams past, up to `limits.max_replay_body`. Keeping the chunks
//! themselves would keep the read buffers that they are slices of.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri, Version};
use http_body::{Frame, SizeHint};
use hyper::body::Body;

use super::body_buffer::BodyBuffer;
use super::headers::clean_trailers;
use crate::config::{Limits, Size};
use crate::error::{BoxError, Error};

/// A copy of a request that can be sent again.
#[derive(Debug)]
pub(super) struct ReplayBuffer {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
    body: Mutex<BufferedBody>,
}

#[derive(Debug, Default)]
struct BufferedBody {
    /// `None` for a body that is too long or has trailers.
    bytes: Option<BodyBuffer>,
    is_complete: bool,
}

/// Buffers `req` as its body is read. There is no buffer for a body that is known to be longer than
/// `limits.max_replay_body`.
pub(super) fn buffer<B: Body<Data = Bytes>>(
    req: Request<B>,
    limits: &Limits,
) -> (Request<RequestBody<B>>, Option<Arc<ReplayBuffer>>) {
    let is_empty = req.body().is_end_stream();
    let from_caller = |body, replay| {
        RequestBody(BodySource::Caller {
            body,
            limit: limits.max_request_body,
            received: 0,
            replay,
        })
    };
    if !is_empty && req.body().size_hint().lower() > limits.max_replay_body {
        return (req.map(|body| from_caller(body, None)), None);
    }
    let limit = usize::try_from(limits.max_replay_body).unwrap_or(usize::MAX);
    let replay = Arc::new(ReplayBuffer {
        method: req.method().clone(),
        uri: req.uri().clone(),
        version: req.version(),
        headers: req.headers().clone(),
        body: Mutex::new(BufferedBody {
            bytes: Some(BodyBuffer::new(limit)),
            is_complete: is_empty,
        }),
    });
    let recorder = (!is_empty).then(|| Arc::clone(&replay));
    (req.map(|body| from_caller(body, recorder)), Some(replay))
}

impl ReplayBuffer {
    /// Whether the whole body is in the buffer.
    pub(super) fn is_complete(&self) -> bool {
        self.lock().is_complete
    }

    /// The request. Takes the body out of the buffer: it can be sent again once.
    pub(super) fn replay<B>(&self) -> Request<RequestBody<B>> {
        let body = self.lock().bytes.take();
        let body = body.map(BodyBuffer::into_bytes).unwrap_or_default();
        let mut req = Request::new(RequestBody(BodySource::Replay(body.into())));
        *req.method_mut() = self.method.clone();
        *req.uri_mut() = self.uri.clone();
        *req.version_mut() = self.version;
        *req.headers_mut() = self.headers.clone();
        req
    }

    /// Copies `frame`; `None` is the end of the body.
    fn record(&self, frame: Option<&Frame<Bytes>>, is_end: bool) {
        let mut body = self.lock();
        if let (Some(frame), Some(bytes)) = (frame, &mut body.bytes) {
            // A frame without data has trailers, which the buffer does not keep.
            let fits = frame
                .data_ref()
                .is_some_and(|data| bytes.push(data).is_ok());
            if !fits {
                body.bytes = None;
            }
        }
        body.is_complete = is_end && body.bytes.is_some();
    }

    fn lock(&self) -> MutexGuard<'_, BufferedBody> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request body on its way to the API: from the caller, at most `limits.max_request_body` of it,
/// or from the replay buffer.
#[derive(Debug)]
pub struct RequestBody<B>(BodySource<B>);

#[derive(Debug)]
enum BodySource<B> {
    Caller {
        body: B,
        /// Longest body, and bytes received so far.
        limit: u64,
        received: u64,
        replay: Option<Arc<ReplayBuffer>>,
    },
    Replay(Bytes),
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin> Body for RequestBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            BodySource::Caller {
                body,
                limit,
                received,
                replay,
            } => {
                let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
                let frame = frame
                    .map(|frame| {
                        charge(clean_trailers(frame.map_err(Into::into)?), received, *limit)
                    })
                    .transpose();
                if let (Some(replay), Ok(frame)) = (replay, &frame) {
                    replay.record(frame.as_ref(), frame.is_none() || body.is_end_stream());
                }
                Poll::Ready(frame.transpose())
            }
            BodySource::Replay(bytes) if bytes.is_empty() => Poll::Ready(None),
            BodySource::Replay(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            BodySource::Caller { body, .. } => body.is_end_stream(),
            BodySource::Replay(bytes) => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            BodySource::Caller { body, .. } => body.size_hint(),
            BodySource::Replay(bytes) => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}

/// The error of a body that is longer than `limits.max_request_body`.
pub(super) fn body_too_large(max_request_body: u64) -> Error {
    Error::BodyTooLarge {
        limit: Size(max_request_body).to_string(),
    }
}

/// Adds the data of `frame` to the bytes `received` of a body of at most `limit`.
fn charge(frame: Frame<Bytes>, received: &mut u64, limit: u64) -> Result<Frame<Bytes>, BoxError> {
    *received += frame.data_ref().map_or(0, Bytes::len) as u64;
    if *received > limit {
        return Err(body_too_large(limit).into());
    }
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use http_body_util::{BodyExt, Empty, StreamBody};

    use super::*;

    type Frames = Vec<Result<Frame<Bytes>, Infallible>>;

    fn limits(max_replay_body: u64) -> Limits {
        Limits {
            max_replay_body,
            max_request_body: 20,
            ..Limits::default()
        }
    }

    /// The buffer, of 10 bytes, of a body of which `read` frames are read.
    async fn buffered(frames: Frames, read: usize) -> Arc<ReplayBuffer> {
        let body = StreamBody::new(stream::iter(frames));
        let req = Request::post("/x?y").header("a", "b").body(body).unwrap();
        let (req, replay) = buffer(req, &limits(10));
        let mut body = req.into_body();
        for _ in 0..read {
            let _ = body.frame().await;
        }
        replay.unwrap()
    }

    fn data(texts: &[&'static str]) -> Frames {
        texts
            .iter()
            .map(|text| Ok(Frame::data(Bytes::from_static(text.as_bytes()))))
            .collect()
    }

    #[tokio::test]
    async fn a_body_that_fits_can_be_replayed() {
        let replay = buffered(data(&["01234", "56789"]), 3).await;
        assert!(replay.is_complete());
        let again = replay.replay::<Empty<Bytes>>();
        assert_eq!(
            (again.uri().to_string().as_str(), &again.headers()["a"]),
            ("/x?y", &"b".parse().unwrap())
        );
        assert_eq!(again.body().size_hint().exact(), Some(10));
        assert_eq!(
            again.into_body().collect().await.unwrap().to_bytes(),
            "0123456789"
        );
    }

    /// A caller's chunk is a slice of a read buffer, which must not be kept alive by it.
    #[tokio::test]
    async fn the_buffer_is_a_copy() {
        let read_buffer = Bytes::from(vec![7; 128 << 10]);
        let frames =
            [0, 1, 2].map(|at| Ok::<_, Infallible>(Frame::data(read_buffer.slice(at..at + 1))));
        let replay = buffered(frames.into(), 4).await;
        assert!(replay.is_complete());
        assert!(read_buffer.is_unique());
    }

    #[tokio::test]
    async fn long_unread_or_trailered_bodies_are_not_replayed() {
        assert!(
            !buffered(data(&["01234", "56789", "x"]), 4)
                .await
                .is_complete()
        );
        assert!(!buffered(data(&["01234", "56789"]), 1).await.is_complete());
        let trailers = Frame::trailers(HeaderMap::new());
        assert!(!buffered(vec![Ok(trailers)], 2).await.is_complete());
        let long = Request::new(http_body_util::Full::new(Bytes::from_static(
            b"0123456789x",
        )));
        assert!(buffer(long, &limits(10)).1.is_none());
        assert!(
            buffer(Request::new(Empty::<Bytes>::new()), &limits(0))
                .1
                .unwrap()
                .is_complete()
        );
    }

    #[tokio::test]
    async fn a_body_of_unknown_length_is_limited() {
        let read = async |texts: &[&'static str]| {
            let body = StreamBody::new(stream::iter(data(texts)));
            buffer(Request::new(body), &limits(0))
                .0
                .into_body()
                .collect()
                .await
                .map(|all| all.to_bytes())
        };
        assert_eq!(
            read(&["0123456789", "0123456789"]).await.unwrap(),
            "01234567890123456789"
        );
        let error = read(&["0123456789", "0123456789", "x"]).await.unwrap_err();
        assert!(matches!(
            *error.downcast::<Error>().unwrap(),
            Error::BodyTooLarge { .. }
        ));
    }
}
