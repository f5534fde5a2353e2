//! Table of the causes and fixes of failed steps: `connection` up to TLS and the clock, `response`
//! for the token endpoint and the API.

pub(super) mod connection;
pub(super) mod response;

/// The likely cause of a failure, and the ways to fix it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Advice {
    pub(super) cause: String,
    pub(super) fixes: Vec<String>,
}

impl Advice {
    pub(super) fn new(cause: impl Into<String>) -> Self {
        Advice {
            cause: cause.into(),
            fixes: Vec::new(),
        }
    }

    /// Adds a fix, after those that are more likely to help.
    pub(super) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fixes.push(fix.into());
        self
    }
}
