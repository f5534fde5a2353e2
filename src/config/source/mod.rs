//! The layers that a value comes from (file, environment, `--set`), and the place of each value.

pub(super) mod keys;
pub(super) mod layers;
pub(super) mod manual;
pub(super) mod resolved;
pub(super) mod serde_message;
pub(super) mod variable;
