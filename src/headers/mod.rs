//! Header fields that several modules read or write.

pub(crate) mod accept;
pub(crate) mod authorization;
pub(crate) mod retry_after;
pub(crate) mod via;
