//! Files that change while the process runs.

pub mod fingerprint;
