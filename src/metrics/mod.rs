//! Metrics of a process: handles for the parts that count, totals for the status page, and the
//! text that Prometheus scrapes.
//!
//! Each worker counts its own requests under a lock that no other worker takes; a scrape sums them
//! up every few seconds. Labels are bounded: accounts and callers of the configuration, endpoints of
//! `gbg`, statuses, reasons.

mod account;
mod connections;
mod expiry;
mod failures;
mod families;
mod histogram;
mod outcome;
mod process;
mod refused;
mod registry;
mod requests;
mod summary;
mod text;
mod token;

pub use self::account::AccountMetrics;
pub(crate) use self::account::UpstreamFailure;
pub(crate) use self::connections::ConnectionMetrics;
pub(crate) use self::expiry::CertificateEnd;
pub use self::expiry::{CertificateUse, Expiries};
pub(crate) use self::failures::FailureGroup;
#[cfg(test)]
pub(crate) use self::failures::FailureTime;
pub(crate) use self::histogram::Histogram;
pub(crate) use self::outcome::{Outcome, ResponseSource};
pub use self::refused::{ConnectionRefusal, RefusedConnections};
pub(crate) use self::registry::Reloads;
pub use self::registry::{Metrics, WorkerMetrics};
pub(crate) use self::requests::{AdmissionMetrics, RequestMetrics};
pub(crate) use self::summary::{CallerCounts, RequestSummary};
pub(crate) use self::text::{OPEN_METRICS, PLAIN_TEXT};
pub(crate) use self::token::{FetchOutcome, TokenMetrics};
