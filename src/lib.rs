//! wip

pub mod config;
pub mod downstream;
pub mod error;
pub mod gbg;
pub mod secret;
pub mod token;
