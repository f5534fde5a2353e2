//! Adapters to tokio and hyper.

pub(crate) mod blocking;
pub(crate) mod clock;
pub(crate) mod liveness;
pub(crate) mod readiness;
pub(crate) mod tcp;
pub(crate) mod wake_filter;
