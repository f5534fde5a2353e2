//! Errors of the configuration, with the place, the cause and the fix.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

/// One thing wrong with the configuration: where, what, and the fix. Never holds a value that may
/// be a secret.
#[derive(Debug)]
pub struct ConfigError {
    /// Where the value comes from.
    pub origin: ValueSource,
    /// The key, `section.key` or `caller "name": key`; empty where there is none (bad TOML, an
    /// unreadable file).
    pub key: String,
    /// What is wrong with it.
    pub message: String,
    /// What to do.
    pub fix: String,
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        if !self.fix.is_empty() {
            write!(f, "\n  fix: {}", self.fix)?;
        }
        Ok(())
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueSource {
    /// Nobody wrote it: it is the default.
    Default,
    /// A file as a whole.
    File(PathBuf),
    /// A place in a file; lines and columns count from one, columns in characters.
    Place {
        /// The file.
        file: PathBuf,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// An environment variable.
    Env(String),
    /// `--set`.
    Set,
}

impl ValueSource {
    /// The place of the byte `offset` of `text` in `file`.
    pub(super) fn place(file: &std::path::Path, text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        ValueSource::Place {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

impl fmt::Display for ValueSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueSource::Default => f.write_str("built-in default"),
            ValueSource::File(file) => write!(f, "{}", file.display()),
            ValueSource::Place { file, line, column } => {
                write!(f, "{}:{line}:{column}", file.display())
            }
            ValueSource::Env(name) => write!(f, "environment variable {name}"),
            ValueSource::Set => f.write_str("--set"),
        }
    }
}

/// What is wrong with the value of one key, wherever that was written.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {message}{}{fix}", if fix.is_empty() { "" } else { "; " })]
pub struct Problem {
    pub(super) key: Cow<'static, str>,
    pub(super) message: String,
    pub(super) fix: String,
}

impl Problem {
    pub(super) fn new(
        key: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Problem {
            key: key.into(),
            message: message.into(),
            fix: fix.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_file_line_column_key_and_mend() {
        let error = ConfigError {
            origin: ValueSource::place("proxy.toml".as_ref(), "[token]\nä = 1\n scop = 2", 16),
            key: "token.scop".into(),
            message: "there is no such key".into(),
            fix: "did you mean token.scope?".into(),
        };
        assert_eq!(
            error.to_string(),
            "proxy.toml:3:2: token.scop: there is no such key\n  fix: did you mean token.scope?"
        );
    }
}
