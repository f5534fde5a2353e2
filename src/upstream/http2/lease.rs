//! Lease of one stream of an HTTP/2 connection.

use std::sync::Arc;

use bytes::Bytes;
use h2::client::SendRequest;

use super::connection::ActiveStreams;

/// A stream that the pool counts as active.
pub(super) struct StreamSlot {
    pub(super) connection_id: u64,
    pub(super) sender: SendRequest<Bytes>,
    pub(super) streams: ActiveStreams,
}

/// The pool that streams return to.
pub(super) trait StreamOwner: Send + Sync {
    /// Records that a stream of the connection has ended.
    fn release(self: Arc<Self>, connection_id: u64);
}

/// A stream for one request, free again when this is dropped.
pub(in crate::upstream) struct StreamLease {
    slot: StreamSlot,
    owner: Arc<dyn StreamOwner>,
}

impl StreamLease {
    pub(super) fn new(slot: StreamSlot, owner: Arc<dyn StreamOwner>) -> Self {
        StreamLease { slot, owner }
    }

    pub(super) fn sender(&mut self) -> &mut SendRequest<Bytes> {
        &mut self.slot.sender
    }
}

impl Drop for StreamLease {
    fn drop(&mut self) {
        self.slot.streams.decrement();
        Arc::clone(&self.owner).release(self.slot.connection_id);
    }
}
