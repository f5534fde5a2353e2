//! Callers' connections.

mod client_certificates;
mod connection_age;
mod early_responses;
pub mod exhaustion;
mod half_close;
mod http2;
mod park;
mod refusals;
mod slow_attacks;
mod timeouts;
mod tls;
