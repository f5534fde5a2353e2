//! Destination of the log: a file that may be rotated and may fail for a while, or standard output.
//!
//! While the file cannot be written (no space, no directory, no permission), lines wait in the
//! batch and then in the queue, and standard error reports the failure: the log cannot.

use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use super::file::{FileChange, LogFile};

/// Destination of the log.
pub(super) enum Output {
    /// `log.file`.
    File(LogFile),
    /// Standard output.
    Stream(Box<dyn Write + Send>),
}

impl Output {
    /// Prepares the destination for the next bytes; see [`LogFile::follow`].
    pub(super) fn follow(&mut self, must_reopen: bool, may_wait: bool) -> io::Result<FileChange> {
        match self {
            Output::File(file) => file.follow(must_reopen, may_wait),
            Output::Stream(_) => Ok(FileChange::None),
        }
    }

    /// Writes `bytes` after the first `written` and advances `written`.
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

    /// Whether the destination may accept later the bytes that failed with `error`. A standard
    /// output that is closed stays closed.
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

/// Interval of the reports on standard error while the destination fails.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// Reports of a failing destination on standard error: when it fails, every minute while it does,
/// and when it recovers.
#[derive(Debug)]
pub(super) struct Outage {
    current: Option<CurrentOutage>,
    /// Capacity of the queue in lines.
    queue: usize,
}

/// The current outage.
#[derive(Debug)]
struct CurrentOutage {
    reported_at: Instant,
    /// Lines that were lost before the outage.
    lost_before: usize,
}

impl Outage {
    pub(super) fn new(queue: usize) -> Self {
        Outage {
            current: None,
            queue,
        }
    }

    /// Reports `error` if it is new, or the last report is a minute old. `lost` lines are lost so
    /// far.
    pub(super) fn report(&mut self, output: &Output, error: &io::Error, lost: usize) {
        let Output::File(file) = output else { return };
        if let Some(effect) = self.due_report(Instant::now(), lost) {
            let path = file.path();
            let fix = fix(path, error);
            print(&format!(
                "log.file: cannot write to {}: {error}; {effect}\n  fix: {fix}",
                path.display()
            ));
        }
    }

    /// The consequence of a failure at `now`, if a report is due.
    fn due_report(&mut self, now: Instant, lost: usize) -> Option<String> {
        let Some(current) = &mut self.current else {
            self.current = Some(CurrentOutage {
                reported_at: now,
                lost_before: lost,
            });
            return Some(format!(
                "{} lines wait in memory, and further lines are lost",
                self.queue
            ));
        };
        if now.duration_since(current.reported_at) < REPORT_INTERVAL {
            return None;
        }
        current.reported_at = now;
        Some(format!(
            "{} lines are lost so far",
            lost.saturating_sub(current.lost_before)
        ))
    }

    pub(super) fn end(&mut self) {
        if self.current.take().is_some() {
            print("log.file: writing again; if lines were lost, the log says how many");
        }
    }

    /// Reports lines that are lost because the process ends.
    pub(super) fn report_lost(output: &Output, lines: usize) {
        if let Output::File(file) = output {
            print(&format!(
                "log.file: lost {lines} lines that could not be written to {}",
                file.path().display()
            ));
        }
    }
}

/// A failure is ignored: if standard error is closed, no other output is left.
fn print(text: &str) {
    let _ = writeln!(io::stderr(), "gbg-proxy: {text}");
}

fn fix(path: &Path, error: &io::Error) -> String {
    let directory = path
        .parent()
        .filter(|directory| !directory.as_os_str().is_empty());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_reported_every_minute() {
        let mut outage = Outage::new(10);
        let began = Instant::now();
        let due = |outage: &mut Outage, seconds, lost| {
            outage
                .due_report(began + Duration::from_secs(seconds), lost)
                .is_some_and(|text| {
                    assert_eq!(
                        text.starts_with(&format!("{} lines are lost", lost - 3)),
                        seconds > 0,
                        "{text}"
                    );
                    true
                })
        };
        assert!(due(&mut outage, 0, 3));
        assert!(!due(&mut outage, 59, 5));
        assert!(due(&mut outage, 60, 7));
        assert!(!due(&mut outage, 119, 9));
        assert!(due(&mut outage, 120, 9));
        outage.end();
        assert!(
            outage
                .due_report(began, 9)
                .unwrap()
                .starts_with("10 lines wait")
        );
    }
}
