//! Paths of files.

use std::path::PathBuf;

use serde::de::{Deserialize, Deserializer, Error as _};

use super::caller_key;
use crate::secret::is_content;

/// A file's path, which an empty text is not.
pub(crate) fn optional<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<PathBuf>, D::Error> {
    required(deserializer).map(Some)
}

/// A file's path, where the key has to have one.
pub(crate) fn required<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    // By way of `Value`, since serde's own type errors quote the value, and this one may be the
    // private key itself.
    let value = toml::Value::deserialize(deserializer).map_err(|_| {
        D::Error::custom("this value cannot be read (it is not shown: it may be a secret)")
    })?;
    match value.as_str() {
        None => Err(D::Error::custom(
            "this is not a path; write the path of a file as a text in quotes",
        )),
        Some("") => Err(D::Error::custom("the value is empty")),
        Some(text) if is_content(text) => Err(D::Error::custom(
            "this is the content of a file; write its path (the value is not shown)",
        )),
        Some(text) if caller_key::is_in(text) => Err(D::Error::custom(
            "this is a caller's key; write the path of a file (the value is not shown)",
        )),
        Some(text) => Ok(text.into()),
    }
}
