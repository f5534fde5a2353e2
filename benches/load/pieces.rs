//! Request body of shared pieces, which never copies an image of megabytes.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// Up to three pieces, sent one after the other. Empty ones are skipped.
#[derive(Debug, Default)]
pub(crate) struct Pieces([Bytes; 3]);

impl Pieces {
    pub(crate) fn new(pieces: [Bytes; 3]) -> Self {
        Pieces(pieces)
    }
}

impl From<Bytes> for Pieces {
    fn from(only: Bytes) -> Self {
        Pieces([only, Bytes::new(), Bytes::new()])
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self
            .0
            .iter_mut()
            .find(|piece| !piece.is_empty())
            .map(std::mem::take);
        Poll::Ready(next.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.iter().all(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|piece| piece.len() as u64).sum())
    }
}
