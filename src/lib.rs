//! wip

pub mod app;
pub mod cli;
pub mod config;
pub mod downstream;
pub mod error;
pub mod gbg;
pub mod proxy;
pub mod secret;
pub mod shutdown;
pub mod telemetry;
pub mod token;
pub mod upstream;
pub mod worker;
