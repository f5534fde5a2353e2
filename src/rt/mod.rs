//! Adapters to tokio and hyper.

pub mod blocking;
pub mod clock;
pub mod liveness;
pub mod readiness;
pub mod tcp;
pub mod wake_filter;
