//! The request on its way to the API: its body is counted, and kept with its head until the answer
//! has come, so that it can be sent once more. It is copied as it streams by, if it is short
//! enough: a chunk itself would keep the read buffer that it is a slice of.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri, Version};
use http_body::{Frame, SizeHint};
use hyper::body::Body;

use super::body_buffer::BodyBuffer;
use super::headers;
use crate::config::Limits;
use crate::error::{BoxError, Error};

/// A request that may be sent once more.
#[derive(Debug)]
pub(super) struct Kept {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
    body: Mutex<KeptBody>,
}

/// What has been seen of a body.
#[derive(Debug, Default)]
struct KeptBody {
    /// `None` once it was too long.
    buffer: Option<BodyBuffer>,
    is_whole: bool,
}

impl KeptBody {
    fn note(&mut self, frame: &Frame<Bytes>) {
        let Some(buffer) = &mut self.buffer else {
            return;
        };
        // Trailers cannot be kept.
        let is_kept = frame
            .data_ref()
            .is_some_and(|data| buffer.push(data).is_ok());
        if !is_kept {
            self.buffer = None;
        }
    }
}

/// Keeps `req`, but for a body of more than `limits.max_replay_body` bytes. `None` where it is known
/// from the start to be longer.
pub(super) fn keep<B: Body<Data = Bytes>>(
    req: Request<B>,
    limits: &Limits,
) -> (Request<RequestBody<B>>, Option<Arc<Kept>>) {
    let is_empty = req.body().is_end_stream();
    let from_caller = |body, kept| {
        RequestBody(Source::Caller {
            body,
            left: limits.max_request_body,
            kept,
        })
    };
    if !is_empty && req.body().size_hint().lower() > limits.max_replay_body {
        return (req.map(|body| from_caller(body, None)), None);
    }
    let limit = usize::try_from(limits.max_replay_body).unwrap_or(usize::MAX);
    let body = KeptBody {
        buffer: Some(BodyBuffer::new(limit)),
        is_whole: is_empty,
    };
    let kept = Arc::new(Kept {
        method: req.method().clone(),
        uri: req.uri().clone(),
        version: req.version(),
        headers: req.headers().clone(),
        body: Mutex::new(body),
    });
    let keeper = (!is_empty).then(|| Arc::clone(&kept));
    (req.map(|body| from_caller(body, keeper)), Some(kept))
}

impl Kept {
    /// Whether the whole of the body is here.
    pub(super) fn is_whole(&self) -> bool {
        self.lock().is_whole
    }

    /// The request, for the second and last time.
    pub(super) fn again<B>(&self) -> Request<RequestBody<B>> {
        let kept = self
            .lock()
            .buffer
            .take()
            .map(BodyBuffer::into_bytes)
            .unwrap_or_default();
        let mut req = Request::new(RequestBody(Source::Kept(kept.into())));
        *req.method_mut() = self.method.clone();
        *req.uri_mut() = self.uri.clone();
        *req.version_mut() = self.version;
        *req.headers_mut() = self.headers.clone();
        req
    }

    fn note(&self, frame: Option<&Frame<Bytes>>, is_end: bool) {
        let mut body = self.lock();
        if let Some(frame) = frame {
            body.note(frame);
        }
        body.is_whole = is_end && body.buffer.is_some();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, KeptBody> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request body on its way to the API: from the caller, of whom no more than
/// `limits.max_request_body` is taken, or from what was kept.
#[derive(Debug)]
pub struct RequestBody<B>(Source<B>);

#[derive(Debug)]
enum Source<B> {
    Caller {
        body: B,
        left: u64,
        kept: Option<Arc<Kept>>,
    },
    Kept(Bytes),
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin> Body for RequestBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Source::Caller { body, left, kept } => {
                let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
                let frame = frame
                    .map(|frame| take(frame.map_err(Into::into)?, left))
                    .transpose();
                if let (Some(kept), Ok(frame)) = (kept, &frame) {
                    kept.note(frame.as_ref(), frame.is_none() || body.is_end_stream());
                }
                Poll::Ready(frame.transpose())
            }
            Source::Kept(bytes) if bytes.is_empty() => Poll::Ready(None),
            Source::Kept(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Caller { body, .. } => body.is_end_stream(),
            Source::Kept(bytes) => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Caller { body, .. } => body.size_hint(),
            Source::Kept(bytes) => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}

/// The frame as it goes on, if it is within what is `left`; trailers without what must not be in
/// them.
fn take(frame: Frame<Bytes>, left: &mut u64) -> Result<Frame<Bytes>, BoxError> {
    match frame.into_trailers() {
        Ok(trailers) => Ok(Frame::trailers(headers::trailers(trailers))),
        Err(frame) => {
            let length = frame.data_ref().map_or(0, Bytes::len) as u64;
            *left = left.checked_sub(length).ok_or(Error::BodyTooLarge)?;
            Ok(frame)
        }
    }
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

    /// What is kept, with room for 10 bytes, of a body of these frames, of which so many are read.
    async fn keep_of(frames: Frames, read: usize) -> Arc<Kept> {
        let body = StreamBody::new(stream::iter(frames));
        let req = Request::post("/x?y").header("a", "b").body(body).unwrap();
        let (req, kept) = keep(req, &limits(10));
        let mut body = req.into_body();
        for _ in 0..read {
            let _ = body.frame().await;
        }
        kept.unwrap()
    }

    fn data(texts: &[&'static str]) -> Frames {
        texts
            .iter()
            .map(|text| Ok(Frame::data(Bytes::from_static(text.as_bytes()))))
            .collect()
    }

    #[tokio::test]
    async fn a_body_that_fits_is_kept_as_it_streams_by() {
        let kept = keep_of(data(&["01234", "56789"]), 3).await;
        assert!(kept.is_whole());
        let again = kept.again::<Empty<Bytes>>();
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

    /// The caller's chunk is a slice of a read buffer, which must not be kept for it.
    #[tokio::test]
    async fn what_is_kept_is_a_copy() {
        let read_buffer = Bytes::from(vec![7; 128 << 10]);
        let frames =
            [0, 1, 2].map(|at| Ok::<_, Infallible>(Frame::data(read_buffer.slice(at..at + 1))));
        let kept = keep_of(frames.into(), 4).await;
        assert!(kept.is_whole());
        assert!(read_buffer.is_unique());
    }

    #[tokio::test]
    async fn a_body_that_is_too_long_or_not_all_read_or_has_trailers_is_not() {
        assert!(!keep_of(data(&["01234", "56789", "x"]), 4).await.is_whole());
        assert!(!keep_of(data(&["01234", "56789"]), 1).await.is_whole());
        let trailers = Frame::trailers(HeaderMap::new());
        assert!(!keep_of(vec![Ok(trailers)], 2).await.is_whole());
        let long = Request::new(http_body_util::Full::new(Bytes::from_static(
            b"0123456789x",
        )));
        assert!(keep(long, &limits(10)).1.is_none());
        assert!(
            keep(Request::new(Empty::<Bytes>::new()), &limits(0))
                .1
                .unwrap()
                .is_whole()
        );
    }

    #[tokio::test]
    async fn a_body_without_a_length_is_taken_up_to_its_limit_and_no_further() {
        let read = async |texts: &[&'static str]| {
            let body = StreamBody::new(stream::iter(data(texts)));
            keep(Request::new(body), &limits(0))
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
            Error::BodyTooLarge
        ));
    }
}
