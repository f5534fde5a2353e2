//! Sources of the configuration: the file, the environment and `--set`, read section by section.

pub(crate) mod effective;
pub(crate) mod findings;
pub(crate) mod invalid;
pub(crate) mod layers;
pub(crate) mod nearest;
pub(crate) mod position;
pub(crate) mod section;
pub(crate) mod setting;
pub(crate) mod syntax;
pub(crate) mod variable;
pub(crate) mod visible;
