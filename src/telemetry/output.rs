//! Destination of the log: a file that may be rotated and may fail for a while, or standard output.
//!
//! A file that takes no bytes (no room, no directory, no permission) keeps the lines waiting, first in the batch and then in
//! the queue, and standard error says so: the log cannot.

use std::io::{self, ErrorKind, Write};
use std::path::Path;

use super::file::{LogFile, Target};

/// A destination.
pub(super) enum Output {
    /// `log.file`.
    File(LogFile),
    /// Standard output.
    Stream(Box<dyn Write + Send>),
}

impl Output {
    /// Prepares the destination for the next bytes.
    pub(super) fn follow(&mut self, must_reopen: bool, patient: bool) -> io::Result<Target> {
        match self {
            Output::File(file) => file.follow(must_reopen, patient),
            Output::Stream(_) => Ok(Target::Same),
        }
    }

    /// Writes what is left of `bytes` after the first `written`, and counts it there.
    pub(super) fn write_rest(&mut self, bytes: &[u8], written: &mut usize) -> io::Result<()> {
        while *written < bytes.len() {
            match self.writer().write(&bytes[*written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => *written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.writer().flush()
    }

    /// Whether the destination may take later what it refused with `error`. A standard output that nobody reads any more
    /// does not come back.
    pub(super) fn may_recover(&self, error: &io::Error) -> bool {
        match self {
            Output::File(_) => true,
            Output::Stream(_) => error.kind() == ErrorKind::WouldBlock,
        }
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Output::File(file) => file,
            Output::Stream(stream) => stream,
        }
    }
}

/// The failures of a destination, as standard error reports them: once each time that it fails, and once when it is back.
#[derive(Debug)]
pub(super) struct Outage {
    is_reported: bool,
    /// Lines that wait at most.
    queue: usize,
}

impl Outage {
    pub(super) fn new(queue: usize) -> Self {
        Outage { is_reported: false, queue }
    }

    pub(super) fn begin(&mut self, output: &Output, error: &io::Error) {
        let Output::File(file) = output else { return };
        if !std::mem::replace(&mut self.is_reported, true) {
            let path = file.path();
            print(&format!(
                "log.file: cannot write to {}: {error}; {} lines wait in memory, and further lines are lost\n  fix: {}",
                path.display(),
                self.queue,
                fix(path, error)
            ));
        }
    }

    pub(super) fn end(&mut self) {
        if std::mem::take(&mut self.is_reported) {
            print("log.file: writing again; if lines were lost, the log says how many");
        }
    }

    /// Reports the lines that are lost because the process ends.
    pub(super) fn report_lost(output: &Output, lines: usize) {
        if let Output::File(file) = output {
            print(&format!(
                "log.file: lost {lines} lines that could not be written to {}",
                file.path().display()
            ));
        }
    }
}

/// Nobody is left to tell that standard error is closed.
fn print(text: &str) {
    let _ = writeln!(io::stderr(), "gbg-proxy: {text}");
}

fn fix(path: &Path, error: &io::Error) -> String {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new(".")).display();
    match error.kind() {
        ErrorKind::NotFound => format!("create the directory {directory}"),
        ErrorKind::PermissionDenied => format!(
            "let the proxy's user write to {} and to {directory}; where logrotate creates the file, write nocreate",
            path.display()
        ),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            format!("free space on the file system of {directory}")
        }
        ErrorKind::FileTooLarge => format!("rotate {}, or raise RLIMIT_FSIZE", path.display()),
        _ => format!("check the file system of {directory}"),
    }
}
