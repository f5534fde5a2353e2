//! Connections to the API.

mod circuit_breaker;
mod connection_limit;
mod egress_failures;
mod egress_proxy;
mod error_addresses;
mod http2;
mod http2_bodies;
mod http2_refusals;
mod http2_resets;
mod min_idle;
mod pool;
mod pool_closes;
