//! HTTP/2 to the API (RFC 9113): requests share connections.

pub(super) mod client;
pub(super) mod connection;
pub(super) mod exchange;
pub(super) mod lease;
mod pool;
mod upload;
