//! `[log]`: level, format and destination of the log.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

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
        let log = Log {
            level: section.get("level", Level::Info),
            format: section.get("format", LogFormat::Text),
            access: section.get("access", true),
            file: section.optional("file"),
        };
        // Not an error: a running proxy keeps its file, and a reload must not fail because of it.
        if let Some(error) = log.file.as_deref().and_then(|path| check_file(path).err()) {
            section.add_defect(
                "file",
                format!("the file cannot be opened to append to it: {error}"),
                "name a file in an existing directory that the proxy's user may write to, or remove log.file",
            );
        }
        log
    }
}

/// Checks that `path` can be opened for appending, without creating it.
fn check_file(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(_) => Ok(access(path, Access::WRITE_OK)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let directory = path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty());
            let directory = directory.unwrap_or(Path::new("."));
            Ok(access(directory, Access::WRITE_OK | Access::EXEC_OK)?)
        }
        Err(error) => Err(error),
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
