//! `[log]`: level, format and destination of the log.

use std::path::PathBuf;

use serde::Deserialize;

use crate::config::types::file;

/// `[log]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The least severe level that is logged.
    pub level: Level,
    /// How a line looks.
    pub format: LogFormat,
    /// Whether each request gets a line.
    pub access: bool,
    /// The file to write to; standard output where there is none.
    #[serde(deserialize_with = "file::optional")]
    pub file: Option<PathBuf>,
}

impl Default for Log {
    fn default() -> Self {
        Log {
            level: Level::Info,
            format: LogFormat::Text,
            access: true,
            file: None,
        }
    }
}

/// A severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
