//! Library of the `gbg-proxy` binary: [`app::App`] runs the proxy that a [`config::Config`] describes.
#![doc = ""]
#![doc = include_str!("../docs/ARCHITECTURE.md")]

pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod downstream;
pub mod error;
pub mod fs;
pub mod gbg;
pub mod headers;
pub mod metrics;
pub mod proxy;
pub mod rt;
pub mod sandbox;
pub mod secret;
pub mod telemetry;
pub mod token;
pub mod trace;
pub mod upstream;
