//! Errors of the configuration, with the source, the cause and the fix.
//!
//! An `Invalid` (of a value) becomes a [`Problem`] (with its key), then a [`ConfigError`] (with its
//! source), collected in [`ConfigErrors`].

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use crate::secret::Source;

/// Everything that is wrong with a configuration.
#[derive(Debug)]
pub struct ConfigErrors {
    /// At least one error, in the order of the file.
    pub errors: Vec<ConfigError>,
    /// Warnings, which may explain an error: a misspelt variable is ignored.
    pub warnings: Vec<String>,
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        for warning in &self.warnings {
            write!(f, "\nwarning: {warning}")?;
        }
        Ok(())
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        ConfigErrors {
            errors: vec![error],
            warnings: Vec::new(),
        }
    }
}

/// One error of the configuration: the source, the cause and the fix. It never holds a value that
/// may be a secret.
#[derive(Clone, Debug)]
pub struct ConfigError {
    /// The source of the value.
    pub origin: ValueSource,
    /// The key, `section.key` or `caller "name": key`; empty where there is none (invalid TOML, an
    /// unreadable file).
    pub key: String,
    /// The cause.
    pub message: String,
    /// The fix.
    pub fix: String,
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    /// The error in one line.
    pub(super) fn to_line(&self) -> String {
        self.to_string().replace("\n  fix: ", "; fix: ")
    }
}

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

/// A secret that this process has no access to, but the service may have.
#[derive(Debug)]
pub struct MissingSecret {
    pub(super) source: Source,
    /// The error that it is for everything except a diagnosis.
    pub error: ConfigError,
}

impl MissingSecret {
    /// The environment variable that holds it.
    pub fn variable(&self) -> Option<&str> {
        match &self.source {
            Source::Env(name) => Some(name),
            Source::File(_) | Source::Credential(_) => None,
        }
    }

    /// Its name among the credentials of a systemd unit.
    pub fn systemd_name(&self) -> Option<&str> {
        match &self.source {
            Source::Credential(name) => Some(name),
            Source::Env(_) | Source::File(_) => None,
        }
    }
}

/// Source of a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ValueSource {
    /// A position in a file; lines and columns count from one, columns in characters.
    Position {
        /// The file.
        file: PathBuf,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// A file as a whole.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// `--set`.
    Set,
    /// The default: the value is written nowhere.
    Default,
}

impl fmt::Display for ValueSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueSource::Default => f.write_str("built-in default"),
            ValueSource::File(file) => write!(f, "{}", file.display()),
            ValueSource::Position { file, line, column } => {
                write!(f, "{}:{line}:{column}", file.display())
            }
            ValueSource::Env(name) => write!(f, "environment variable {name}"),
            ValueSource::Set => f.write_str("--set"),
        }
    }
}

/// Error of the value of one key, without its source.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {message}{}{fix}", if fix.is_empty() { "" } else { "; " })]
pub struct Problem {
    pub(super) key: Cow<'static, str>,
    pub(super) message: String,
    pub(super) fix: String,
    /// The place of a secret that this process has no access to, but another one may have.
    pub(super) absent: Option<Source>,
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
            absent: None,
        }
    }

    /// This problem, caused by the lack of access to `source`.
    pub(super) fn of_absent(self, source: Source) -> Self {
        Problem {
            absent: Some(source),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_position_key_and_fix() {
        let error = || ConfigError {
            origin: ValueSource::Position {
                file: "proxy.toml".into(),
                line: 3,
                column: 2,
            },
            key: "token.scop".into(),
            message: "there is no such key".into(),
            fix: "did you mean token.scope?".into(),
        };
        let shown =
            "proxy.toml:3:2: token.scop: there is no such key\n  fix: did you mean token.scope?";
        assert_eq!(error().to_string(), shown);
        let both = ConfigErrors {
            errors: vec![error(), error()],
            warnings: vec!["a".to_owned()],
        };
        assert_eq!(both.to_string(), format!("{shown}\n{shown}\nwarning: a"));
    }
}
