//! `[log]`: level, format and destination of the log.

use std::path::PathBuf;

use crate::config::source::section::Section;
use crate::config::source::setting::choice;

/// `[log]`.
#[derive(Clone, Debug)]
pub struct Log {
    /// The least severe level that is logged.
    pub level: Level,
    /// The form of a line.
    pub format: LogFormat,
    /// Whether each request gets a line.
    pub access: bool,
    /// The file to write to; `None` for standard output.
    pub file: Option<PathBuf>,
}

impl Log {
    pub(crate) fn read(section: &Section<'_, '_>) -> Self {
        Log {
            level: section.get("level", Level::Info),
            format: section.get("format", LogFormat::Text),
            access: section.get("access", true),
            file: section.optional("file"),
        }
    }
}

/// A severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

choice!(Level, "level", {
    "error" => Level::Error,
    "warn" => Level::Warn,
    "info" => Level::Info,
    "debug" => Level::Debug,
    "trace" => Level::Trace,
});

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

choice!(LogFormat, "format", { "text" => LogFormat::Text, "json" => LogFormat::Json });
