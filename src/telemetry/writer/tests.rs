//! Tests of the writer thread: lost lines, batches and the end.

use std::sync::mpsc;

use tracing::level_filters::LevelFilter;

use super::super::LogLevel;
use super::*;

/// Writer that announces each write and blocks until it is released.
struct Gate {
    arrived: mpsc::Sender<()>,
    released: mpsc::Receiver<()>,
    out: SharedBuffer,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.arrived.send(());
        // An error means that the gate is released for good.
        let _ = self.released.recv();
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Log with a queue of one line whose writer blocks on its first line.
struct BlockedLog {
    lines: NonBlocking,
    guard: LogGuard,
    /// Dropping it releases the writer.
    release: mpsc::Sender<()>,
    out: SharedBuffer,
}

impl BlockedLog {
    fn new(level: LevelFilter) -> BlockedLog {
        let (arrived, arrivals) = mpsc::channel();
        let (release, released) = mpsc::channel();
        let out = SharedBuffer::default();
        let gate = Gate {
            arrived,
            released,
            out: out.clone(),
        };
        let settings = LogSettings {
            level: LogLevel::new(level),
            json: false,
            is_colored: false,
            file: None,
        };
        let (mut lines, guard) = spawn(Output::Stream(Box::new(gate)), settings, 1);
        lines.write_all(b"first\n").unwrap();
        arrivals.recv().unwrap();
        BlockedLog {
            lines,
            guard,
            release,
            out,
        }
    }
}

fn lost_lines(level: LevelFilter) -> String {
    let BlockedLog {
        mut lines,
        guard,
        release,
        out,
    } = BlockedLog::new(level);
    for line in ["second\n", "third\n", "fourth\n"] {
        lines.write_all(line.as_bytes()).unwrap();
    }
    drop(release);
    drop(guard);
    String::from_utf8(out.take()).unwrap()
}

#[test]
fn lines_beyond_the_queue_are_counted_and_reported() {
    let log = lost_lines(LevelFilter::INFO);
    assert!(
        log.starts_with("first\n") && log.contains("second\n"),
        "{log}"
    );
    assert!(log.contains(" WARN ") && log.contains("lines=2"), "{log}");
    assert!(!log.contains("third"), "{log}");
    assert_eq!(log.matches("were lost").count(), 1, "{log}");
}

#[tokio::test]
async fn a_reopen_request_is_not_a_lost_line() {
    let BlockedLog {
        mut lines,
        guard,
        release,
        out,
    } = BlockedLog::new(LevelFilter::INFO);
    lines.write_all(b"second\n").unwrap();
    let reopened = watch::channel(0).1;
    let reopener = Reopener {
        shared: Arc::clone(&guard.shared),
        lines,
        reopened,
    };
    for _ in 0..3 {
        assert!(!reopener.reopen().await);
    }
    assert_eq!(reopener.lines.error_counter().dropped_lines(), 3);
    drop(release);
    drop(guard);
    assert_eq!(String::from_utf8(out.take()).unwrap(), "first\nsecond\n");
}

#[test]
fn losses_are_a_warning_that_level_error_drops() {
    assert_eq!(lost_lines(LevelFilter::ERROR), "first\nsecond\n");
}

#[test]
fn losses_are_reported_periodically_and_at_exit() {
    let mut losses = LostLines::default();
    assert_eq!(losses.due_report(0, false), None);
    assert_eq!(losses.due_report(3, false), Some(3));
    losses.reported = 3;
    assert_eq!(losses.due_report(3, false), None);
    assert_eq!(losses.due_report(5, false), None);
    assert_eq!(losses.due_report(5, true), Some(2));
    losses.attempted_at = Instant::now().checked_sub(LOSS_REPORT_INTERVAL);
    assert_eq!(losses.due_report(5, false), Some(2));
}
