//! Why the load test could not do what it was asked to.

use std::error::Error;
use std::fmt;

/// What the load test's parts give.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// One clause that reads alone.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    /// That `what` did not work, because of `error`.
    pub(crate) fn of(what: impl fmt::Display, error: impl Error) -> Self {
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
