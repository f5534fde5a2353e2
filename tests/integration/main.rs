//! Tests through the front door: the proxy on port 0, over sockets, as callers and operators meet it.
//! The folders mirror `src`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test may panic"
)]

mod support;

mod admin;
mod cli;
mod config;
mod downstream;
mod ops;
mod proxy;
mod tidy;
mod token;
mod upstream;
