//! Header fields that several modules read or write.

pub mod retry_after;
pub mod via;
