//! Errors and warnings that are found while the configuration is read, with the source of each key.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};

use super::visible::unless_secret;
use crate::config::error::{ConfigError, ConfigErrors, MissingSecret, Problem, ValueSource};

/// A message in place of one that may hold a secret.
const NOT_SHOWN: &str = "this value cannot be used (it is not shown: it may be a secret)";

#[derive(Default)]
pub(crate) struct Findings(RefCell<State>);

#[derive(Default)]
struct State {
    /// The source of each section and key that is written, by its path.
    sources: HashMap<String, ValueSource>,
    errors: Vec<ConfigError>,
    /// Errors that were added, to report none twice.
    known: HashSet<(String, ValueSource, String)>,
    /// Keys and sections with an error; unknown names are not among them.
    broken: BTreeSet<String>,
    /// Keys that a misspelt name probably means.
    misspelt: BTreeSet<String>,
    warnings: Vec<String>,
    /// Errors with which the proxy can start.
    defects: Vec<ConfigError>,
    missing: Vec<MissingSecret>,
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
        let error = redacted(key, origin, message.into(), fix.into());
        let mut state = self.0.borrow_mut();
        let known = (path.to_owned(), error.origin.clone(), error.message.clone());
        if state.known.insert(known) {
            state.errors.push(error);
        }
        state.broken.insert(path.to_owned());
    }

    /// Adds an error of a name that is not a key. It does not make its section unusable.
    pub(crate) fn reject_unknown(
        &self,
        key: String,
        origin: ValueSource,
        message: &str,
        fix: String,
    ) {
        let error = redacted(key, origin, message.to_owned(), fix);
        self.0.borrow_mut().errors.push(error);
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
        let Problem {
            key, message, fix, ..
        } = problem;
        self.reject_at(&key, self.source(&key), message, fix);
    }

    /// Adds `problem`, with which the proxy can start, but not work.
    pub(crate) fn add_defect(&self, problem: Problem) {
        let Problem {
            key, message, fix, ..
        } = problem;
        let defect = redacted(key.to_string(), self.source(&key), message, fix);
        self.0.borrow_mut().defects.push(defect);
    }

    /// Adds `problem` of a secret: a missing one is not an error for a diagnosis.
    pub(crate) fn reject_secret(&self, problem: Problem) {
        let Some(source) = problem.absent.clone() else {
            return self.reject(problem);
        };
        let origin = self.source(&problem.key);
        let key = problem.key.into_owned();
        let error = redacted(key.clone(), origin, problem.message, problem.fix);
        let mut state = self.0.borrow_mut();
        state.missing.push(MissingSecret { source, error });
        state.broken.insert(key);
    }

    /// Records that a misspelt name probably means the key `path`, which is not missing then.
    pub(crate) fn record_misspelt(&self, path: String) {
        self.0.borrow_mut().misspelt.insert(path);
    }

    pub(crate) fn warn(&self, warning: impl Into<String>) {
        let warning = unless_secret(warning.into());
        self.0.borrow_mut().warnings.extend(warning);
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

    /// Returns true if the key or section `path`, or a key of that section, has an error, or may be
    /// meant by a misspelt name.
    pub(crate) fn has_error(&self, path: &str) -> bool {
        let below = format!("{path}.");
        let state = self.0.borrow();
        [&state.broken, &state.misspelt].into_iter().any(|paths| {
            let next = paths.range(below.clone()..).next();
            paths.contains(path) || next.is_some_and(|next| next.starts_with(&below))
        })
    }

    /// Removes the missing secrets, which are not errors then.
    pub(crate) fn take_missing(&self) -> Vec<MissingSecret> {
        std::mem::take(&mut self.0.borrow_mut().missing)
    }

    /// The warnings and the defects, or else all errors in the order of their sources.
    pub(crate) fn finish(self) -> Result<(Vec<String>, Vec<ConfigError>), ConfigErrors> {
        let State {
            mut errors,
            warnings,
            defects,
            missing,
            ..
        } = self.0.into_inner();
        errors.extend(missing.into_iter().map(|missing| missing.error));
        if errors.is_empty() {
            return Ok((warnings, defects));
        }
        errors.extend(defects);
        errors.sort_by(|one, other| one.origin.cmp(&other.origin));
        Err(ConfigErrors { errors, warnings })
    }
}

/// The error without a part that holds a secret.
fn redacted(key: String, origin: ValueSource, message: String, fix: String) -> ConfigError {
    let key = unless_secret(key);
    ConfigError {
        origin,
        message: unless_secret(message)
            .filter(|_| key.is_some())
            .unwrap_or_else(|| NOT_SHOWN.to_owned()),
        key: key.unwrap_or_default(),
        fix: unless_secret(fix).unwrap_or_default(),
    }
}
