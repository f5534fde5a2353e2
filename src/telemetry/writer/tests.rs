//! Tests of the writer thread: lost lines, batches and the end.

use std::sync::mpsc;

use tracing::level_filters::LevelFilter;

use super::super::LogLevel;
use super::*;

/// Takes a line when it is let to; says when one comes.
struct Gate {
    coming: mpsc::Sender<()>,
    open: mpsc::Receiver<()>,
    out: SharedBuffer,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.coming.send(());
        // An error means that it stays open.
        let _ = self.open.recv();
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A writer with room for one line, which holds back the line that it writes.
struct Held {
    lines: NonBlocking,
    guard: LogGuard,
    /// Dropped to let lines be written.
    open: mpsc::Sender<()>,
    out: SharedBuffer,
}

impl Held {
    fn new(level: LevelFilter) -> Held {
        let (coming, comes) = mpsc::channel();
        let (open, opened) = mpsc::channel();
        let out = SharedBuffer::default();
        let gate = Gate {
            coming,
            open: opened,
            out: out.clone(),
        };
        let settings = LogSettings {
            level: LogLevel::new(level),
            json: false,
            file: None,
        };
        let (mut lines, guard) = spawn(Output::Stream(Box::new(gate)), settings, 1);
        lines.write_all(b"first\n").unwrap();
        comes.recv().unwrap();
        Held {
            lines,
            guard,
            open,
            out,
        }
    }
}

fn lost_lines(level: LevelFilter) -> String {
    let Held {
        mut lines,
        guard,
        open,
        out,
    } = Held::new(level);
    for line in ["second\n", "third\n", "fourth\n"] {
        lines.write_all(line.as_bytes()).unwrap();
    }
    drop(open);
    drop(guard);
    String::from_utf8(out.take()).unwrap()
}

#[test]
fn lines_for_which_there_is_no_room_are_counted_and_told() {
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
async fn a_request_to_reopen_is_no_lost_line() {
    let Held {
        mut lines,
        guard,
        open,
        out,
    } = Held::new(LevelFilter::INFO);
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
    drop(open);
    drop(guard);
    assert_eq!(String::from_utf8(out.take()).unwrap(), "first\nsecond\n");
}

#[test]
fn a_log_that_takes_errors_alone_is_told_nothing_else() {
    assert_eq!(lost_lines(LevelFilter::ERROR), "first\nsecond\n");
}

#[test]
fn losses_are_told_once_in_a_while_and_at_the_end() {
    let mut losses = LostLines::default();
    assert_eq!(losses.begin_telling(0, false), None);
    assert_eq!(losses.begin_telling(3, false), Some(3));
    losses.told = 3;
    assert_eq!(losses.begin_telling(3, false), None);
    assert_eq!(losses.begin_telling(5, false), None);
    assert_eq!(losses.begin_telling(5, true), Some(2));
    losses.at = Instant::now().checked_sub(SILENCE);
    assert_eq!(losses.begin_telling(5, false), Some(2));
}
