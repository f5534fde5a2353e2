//! HTTP/1.1 to the API: a request has a connection for itself.

pub(super) mod exchange;
mod framing;
pub(super) mod pool;
