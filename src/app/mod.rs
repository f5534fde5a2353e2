//! The running proxy: starts its parts from a configuration, reloads them, and shuts them down.
//!
//! Tokens, certificates, the admin server and signals run on the control runtime, in the main
//! thread; each worker is a thread of its own.

mod accounts;
mod admin_server;
mod expiry;
mod health;
mod reload;
mod running;
pub mod signals;
mod start;
mod start_error;
pub mod systemd;
mod worker;

pub use self::running::App;
pub use self::start_error::StartError;
