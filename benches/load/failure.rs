//! Error of the load test.

use std::error::Error;
use std::fmt;

pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// A message of one clause.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    /// `what` failed with `error`.
    pub(crate) fn new(what: impl fmt::Display, error: impl Error) -> Self {
        Failure(format!("{what}: {error}"))
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Failure(text)
    }
}

impl From<&str> for Failure {
    fn from(text: &str) -> Self {
        Failure(text.to_owned())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
