//! Operation: start, reload, drain, signals, logs, and the files for operators.

mod alerts;
mod doc_commands;
mod documents;
mod lifecycle;
mod load_test;
mod log_file;
mod memory;
pub mod reload;
mod reload_connections;
mod reload_settings;
mod signals;
mod systemd;
