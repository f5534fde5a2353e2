//! Admin server: health probes, Prometheus metrics and the status page, on a separate listener.
//!
//! It is read-only, except for `POST /quit` where `admin.quit` allows it.

mod callers;
mod diagnosis;
mod handles;
mod health;
mod history;
mod outcomes;
mod page;
mod permits;
mod response;
mod router;
mod server;
mod status;
mod timestamp;

pub(crate) use self::callers::CallerLimits;
pub(crate) use self::handles::{AccountHandle, Handles, Instance};
pub(crate) use self::server::serve;
