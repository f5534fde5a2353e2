//! Errors of the commands, with their exit codes.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

use crate::config::ConfigErrors;
use crate::error::chain;

/// Exit code of a usage or configuration error: EX_USAGE of sysexits.h.
pub(super) const EXIT_USAGE: u8 = 64;

pub(super) const EXIT_FAILURE: u8 = 1;

/// Exit code of a diagnosis without a failure that could not make every step.
pub(super) const EXIT_INCOMPLETE: u8 = 2;

#[derive(Debug)]
pub(super) enum CommandError {
    /// An invalid configuration.
    Config(ConfigErrors),
    /// Any other wrong usage.
    Usage(String),
    /// Any other failure.
    Failed(String),
    /// A failure that the command has already printed; the exit code is left.
    Reported(u8),
}

/// A failure with the whole source chain of the error.
impl<E: std::error::Error + 'static> From<E> for CommandError {
    fn from(error: E) -> Self {
        CommandError::Failed(chain(&error))
    }
}

impl CommandError {
    /// Prints the error to standard error, and returns the exit code.
    pub(super) fn report(self) -> ExitCode {
        let (text, code) = match self {
            CommandError::Config(errors) => (errors.to_string(), EXIT_USAGE),
            CommandError::Usage(text) => (text, EXIT_USAGE),
            CommandError::Failed(text) => (text, EXIT_FAILURE),
            CommandError::Reported(code) => return ExitCode::from(code),
        };
        // A closed standard error cannot be reported anywhere.
        let _ = writeln!(std::io::stderr(), "gbg-proxy: {text}");
        ExitCode::from(code)
    }
}

/// Adds `fix` below `problem`, as errors of the configuration have it.
pub(super) fn with_fix(problem: impl Display, fix: &str) -> String {
    format!("{problem}\n  fix: {fix}")
}
