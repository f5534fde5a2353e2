//! Errors of the commands, with their exit codes.

use std::io::Write;
use std::process::ExitCode;

use crate::config::ConfigError;
use crate::error::chain;

/// Exit code of a usage or configuration error: EX_USAGE of sysexits.h.
pub(super) const EXIT_USAGE: u8 = 64;

const EXIT_FAILURE: u8 = 1;

#[derive(Debug)]
pub(super) enum CommandError {
    /// Wrong usage or configuration; `fix` may be empty.
    Usage { problem: String, fix: String },
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
    pub(super) fn invalid_config(mut error: ConfigError) -> Self {
        let fix = std::mem::take(&mut error.fix);
        CommandError::Usage {
            problem: error.to_string(),
            fix,
        }
    }

    /// A failure that the user can fix.
    pub(super) fn fixable(problem: &str, fix: &str) -> Self {
        CommandError::Failed(with_fix(problem, fix))
    }

    /// Prints the error to standard error, and returns the exit code.
    pub(super) fn report(self) -> ExitCode {
        let (text, code) = match self {
            CommandError::Usage { problem, fix } => (with_fix(&problem, &fix), EXIT_USAGE),
            CommandError::Failed(text) => (text, EXIT_FAILURE),
            CommandError::Reported(code) => return ExitCode::from(code),
        };
        // A closed standard error cannot be reported anywhere.
        let _ = writeln!(std::io::stderr(), "gbg-proxy: {text}");
        ExitCode::from(code)
    }
}

fn with_fix(problem: &str, fix: &str) -> String {
    if fix.is_empty() {
        problem.to_owned()
    } else {
        format!("{problem}\n  fix: {fix}")
    }
}
