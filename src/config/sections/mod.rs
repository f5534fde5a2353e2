//! One file for each section of the configuration file.

pub(super) mod admin;
pub(super) mod caller;
pub(super) mod drain;
pub(super) mod egress_proxy;
pub(super) mod limits;
pub(super) mod listen;
pub(super) mod log;
pub(super) mod token;
pub(super) mod trace;
pub(super) mod upstream;
