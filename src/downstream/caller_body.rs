//! Body of a caller's request, recorded as activity of its connection.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Version;
use http_body::{Frame, SizeHint};
use hyper::body::{Body, Incoming};

use super::activity::Activity;
use crate::rt::wake_filter;

/// The body of a caller's request. It ends only where the message does: at its length, its last
/// chunk or END_STREAM.
#[derive(Debug)]
pub struct CallerBody {
    incoming: Incoming,
    is_http2: bool,
    /// `None` after the end.
    guard: Option<BodyGuard>,
}

/// Error of a request body that stopped before its end.
#[derive(Debug, thiserror::Error)]
pub enum CallerBodyError {
    /// The connection failed, or the body is not valid HTTP.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// The caller reset the stream (RFC 9113 section 6.4), with any error code.
    #[error("the caller reset the stream before the end of the body")]
    Reset,
}

impl CallerBody {
    pub(super) fn new(incoming: Incoming, version: Version, activity: &Arc<Activity>) -> Self {
        let guard = (!incoming.is_end_stream()).then(|| BodyGuard::new(activity));
        CallerBody {
            incoming,
            is_http2: version == Version::HTTP_2,
            guard,
        }
    }

    /// Whether all of the body was received. hyper reports a stream that was reset with NO_ERROR
    /// like one that ended.
    fn is_complete(&self) -> bool {
        match self.incoming.size_hint().exact() {
            Some(remaining) => remaining == 0,
            // A chunked body ends with its last chunk, or with an error.
            None => !self.is_http2 || self.incoming.is_end_stream(),
        }
    }
}

impl Body for CallerBody {
    type Data = Bytes;
    type Error = CallerBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallerBodyError>>> {
        let mut frame =
            wake_filter::poll_frame(&mut self.incoming, cx).map_err(CallerBodyError::from);
        if matches!(frame, Poll::Ready(None)) && !self.is_complete() {
            frame = Poll::Ready(Some(Err(CallerBodyError::Reset)));
        }
        let CallerBody {
            incoming, guard, ..
        } = &mut *self;
        if let Some(active) = guard {
            active.set_waiting(frame.is_pending());
            match &frame {
                Poll::Pending => {}
                Poll::Ready(Some(Err(_))) => *guard = None,
                // A reader does not poll a body of known length after its last byte.
                Poll::Ready(Some(Ok(_))) if !incoming.is_end_stream() => {}
                Poll::Ready(_) => {
                    active.is_complete = true;
                    *guard = None;
                }
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// Records a request body while it is in flight.
#[derive(Debug)]
struct BodyGuard {
    activity: Arc<Activity>,
    is_waiting: bool,
    is_complete: bool,
}

impl BodyGuard {
    fn new(activity: &Arc<Activity>) -> Self {
        activity.begin_body();
        BodyGuard {
            activity: Arc::clone(activity),
            is_waiting: false,
            is_complete: false,
        }
    }

    fn set_waiting(&mut self, is_waiting: bool) {
        match (self.is_waiting, is_waiting) {
            (false, true) => self.activity.begin_body_wait(),
            (true, false) => self.activity.end_body_wait(),
            _ => {}
        }
        self.is_waiting = is_waiting;
    }
}

impl Drop for BodyGuard {
    fn drop(&mut self) {
        self.set_waiting(false);
        self.activity.end_body(self.is_complete);
    }
}
