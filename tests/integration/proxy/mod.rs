//! Requests and responses on their way through the proxy.

mod access_log;
mod actions;
mod authenticate;
mod caller_identities;
mod devices;
mod endpoints;
mod error_responses;
mod forwarding;
mod framing;
mod headers;
mod limit;
mod loops;
mod messages;
mod responses;
mod spans;
mod streaming;
mod token_stub;
mod torn_requests;
mod torn_responses;
mod traces;
mod validate;
