//! Errors and warnings that are found while the configuration is read, with the source of each key.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use super::visible::unless_secret;
use crate::config::error::{ConfigError, ConfigErrors, Problem, ValueSource};

/// A message in place of one that may hold a secret.
const NOT_SHOWN: &str = "this value cannot be used (it is not shown: it may be a secret)";

#[derive(Default)]
pub(crate) struct Findings(RefCell<State>);

#[derive(Default)]
struct State {
    /// The source of each section and key that is written, by its path.
    sources: HashMap<String, ValueSource>,
    errors: Vec<Found>,
    warnings: Vec<String>,
    /// Keys that a misspelt name probably means.
    misspelt: HashSet<String>,
}

struct Found {
    path: String,
    error: ConfigError,
}

impl Findings {
    /// Adds an error of the key or section `path`, which messages call `key`.
    pub(crate) fn add_error(
        &self,
        path: &str,
        key: String,
        origin: ValueSource,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let error = ConfigError {
            origin,
            message: unless_secret(message.into())
                .filter(|_| unless_secret(key.clone()).is_some())
                .unwrap_or_else(|| NOT_SHOWN.to_owned()),
            key: unless_secret(key).unwrap_or_default(),
            fix: unless_secret(fix.into()).unwrap_or_default(),
        };
        let mut state = self.0.borrow_mut();
        let is_known = |found: &Found| found.path == path && found.error.message == error.message;
        if !state.errors.iter().any(is_known) {
            let path = path.to_owned();
            state.errors.push(Found { path, error });
        }
    }

    /// Adds an error of the key or section `path`, which was written at `origin`.
    pub(crate) fn reject_at(
        &self,
        path: &str,
        origin: ValueSource,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.add_error(path, path.to_owned(), origin, message, fix);
    }

    /// Adds `problem` with the source of its key.
    pub(crate) fn reject(&self, problem: Problem) {
        let Problem { key, message, fix } = problem;
        self.reject_at(&key, self.source(&key), message, fix);
    }

    /// Records that a misspelt name probably means the key `path`, which is not missing then.
    pub(crate) fn record_misspelt(&self, path: String) {
        self.0.borrow_mut().misspelt.insert(path);
    }

    pub(crate) fn is_misspelt(&self, path: &str) -> bool {
        self.0.borrow().misspelt.contains(path)
    }

    pub(crate) fn warn(&self, warning: impl Into<String>) {
        self.0.borrow_mut().warnings.push(warning.into());
    }

    pub(crate) fn record_source(&self, path: &str, source: ValueSource) {
        self.0.borrow_mut().sources.insert(path.to_owned(), source);
    }

    pub(crate) fn is_written(&self, path: &str) -> bool {
        self.0.borrow().sources.contains_key(path)
    }

    /// The source of the key `path`, else that of its section.
    pub(crate) fn source(&self, path: &str) -> ValueSource {
        let sources = &self.0.borrow().sources;
        let parent = || sources.get(path.rsplit_once('.')?.0);
        let found = sources.get(path).or_else(parent);
        found.cloned().unwrap_or(ValueSource::Default)
    }

    /// Returns true if the key or section `path`, or a key of that section, has an error.
    pub(crate) fn has_error(&self, path: &str) -> bool {
        let below = format!("{path}.");
        let state = self.0.borrow();
        let mut errors = state.errors.iter();
        errors.any(|found| found.path == path || found.path.starts_with(&below))
    }

    /// The warnings, or else all errors in the order of their sources.
    pub(crate) fn finish(self) -> Result<Vec<String>, ConfigErrors> {
        let State {
            mut errors,
            warnings,
            ..
        } = self.0.into_inner();
        if errors.is_empty() {
            return Ok(warnings);
        }
        errors.sort_by(|one, other| one.error.origin.cmp(&other.error.origin));
        let errors = errors.into_iter().map(|found| found.error);
        Err(ConfigErrors(errors.collect()))
    }
}
