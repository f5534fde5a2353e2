//! Detection of files that change while the process runs.

pub mod fingerprint;
pub mod watcher;
