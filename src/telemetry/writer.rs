//! The thread that writes the lines, and tells how many it could not.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tracing::subscriber::with_default;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

use super::{Settings, subscriber};

/// Lines are written together as far as they make up so many bytes.
const BATCH: usize = 64 * 1024;

/// How long it rests when all is written: lines that come meanwhile wake nobody, and are written together. To be woken for each
/// line costs a worker more than to make the line.
const REST: Duration = Duration::from_millis(5);

/// How long nothing more is said of lines that were lost.
const SILENCE: Duration = Duration::from_secs(10);

/// While it is there, lines are written; what is buffered is when it is dropped.
pub struct Guard {
    shared: Arc<Shared>,
    /// Dropped after the end was announced.
    _thread: WorkerGuard,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.shared.ending.store(true, Relaxed);
    }
}

/// What the thread is told from outside.
#[derive(Debug, Default)]
struct Shared {
    /// Lines for which there was no room.
    dropped: OnceLock<ErrorCounter>,
    ending: AtomicBool,
}

/// What takes lines for `out`, up to `limit` of them at once, and never waits.
pub(super) fn spawn(out: Box<dyn Write + Send>, settings: Settings, limit: usize) -> (NonBlocking, Guard) {
    let shared = Arc::<Shared>::default();
    let writer = Writer {
        out,
        settings,
        shared: Arc::clone(&shared),
        batch: Vec::new(),
        lines: 0,
        failed: 0,
        losses: Losses::default(),
    };
    let (lines, thread) =
        NonBlockingBuilder::default().buffered_lines_limit(limit).lossy(true).finish(writer);
    let _ = shared.dropped.set(lines.error_counter());
    (lines, Guard { shared, _thread: thread })
}

/// Writes lines, several at a time, and each as a whole.
struct Writer {
    out: Box<dyn Write + Send>,
    settings: Settings,
    shared: Arc<Shared>,
    /// What is to be written, and how many lines that is.
    batch: Vec<u8>,
    lines: usize,
    /// Lines that `out` did not take.
    failed: usize,
    losses: Losses,
}

impl Write for Writer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.write_all(line).map(|()| line.len())
    }

    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        self.batch.extend_from_slice(line);
        self.lines += 1;
        if self.batch.len() < BATCH { Ok(()) } else { self.write_batch() }
    }

    /// Comes when there is no further line for the moment, and at the end.
    fn flush(&mut self) -> io::Result<()> {
        self.write_batch()?;
        self.out.flush()?;
        if !self.shared.ending.load(Relaxed) {
            std::thread::sleep(REST);
        }
        Ok(())
    }
}

impl Writer {
    fn write_batch(&mut self) -> io::Result<()> {
        self.tell_losses();
        let written = self.out.write_all(&self.batch);
        if written.is_err() {
            self.failed += self.lines;
        }
        self.batch.clear();
        self.lines = 0;
        written
    }

    /// Writes itself what there may be no room for among the lines that wait.
    fn tell_losses(&mut self) {
        let dropped = self.shared.dropped.get().map_or(0, ErrorCounter::dropped_lines);
        let lost = dropped.saturating_add(self.failed);
        let Some(lines) = self.losses.begin_telling(lost, self.shared.ending.load(Relaxed)) else { return };
        let text = Text::default();
        let made = text.clone();
        with_default(subscriber(&self.settings, move || made.clone()), || {
            tracing::warn!(
                lines,
                "lines of this log were lost: it could not be written as fast as they came, or not at all"
            );
        });
        if self.out.write_all(&text.take()).is_ok() {
            self.losses.told = lost;
        }
    }
}

/// What was told of lines that were lost.
#[derive(Debug, Default)]
struct Losses {
    told: usize,
    /// When it was tried last.
    at: Option<Instant>,
}

impl Losses {
    /// How many are to be told now, of `lost` in all.
    fn begin_telling(&mut self, lost: usize, ending: bool) -> Option<usize> {
        let untold = lost.saturating_sub(self.told);
        if untold == 0 || (!ending && self.at.is_some_and(|at| at.elapsed() < SILENCE)) {
            return None;
        }
        self.at = Some(Instant::now());
        Some(untold)
    }
}

/// A line that is being made.
#[derive(Clone, Default)]
pub(super) struct Text(Arc<Mutex<Vec<u8>>>);

impl Text {
    pub(super) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tracing::level_filters::LevelFilter;

    use super::super::Level;
    use super::*;

    /// Takes a line when it is let to; says when one comes.
    struct Gate {
        coming: mpsc::Sender<()>,
        open: mpsc::Receiver<()>,
        out: Text,
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

    fn lost_lines(level: LevelFilter) -> String {
        let level = Level::new(level);
        let (coming, comes) = mpsc::channel();
        let (open, opened) = mpsc::channel::<()>();
        let out = Text::default();
        let gate = Gate { coming, open: opened, out: out.clone() };
        let (mut lines, guard) = spawn(Box::new(gate), Settings { level, json: false, file: None }, 1);
        lines.write_all(b"first\n").unwrap();
        comes.recv().unwrap();
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
        assert!(log.starts_with("first\n") && log.contains("second\n"), "{log}");
        assert!(log.contains(" WARN ") && log.contains("lines=2"), "{log}");
        assert!(!log.contains("third"), "{log}");
        assert_eq!(log.matches("were lost").count(), 1, "{log}");
    }

    #[test]
    fn a_log_that_takes_errors_alone_is_told_nothing_else() {
        assert_eq!(lost_lines(LevelFilter::ERROR), "first\nsecond\n");
    }

    #[test]
    fn losses_are_told_once_in_a_while_and_at_the_end() {
        let mut losses = Losses::default();
        assert_eq!(losses.begin_telling(0, false), None);
        assert_eq!(losses.begin_telling(3, false), Some(3));
        losses.told = 3;
        assert_eq!(losses.begin_telling(3, false), None);
        assert_eq!(losses.begin_telling(5, false), None);
        assert_eq!(losses.begin_telling(5, true), Some(2));
        losses.at = Instant::now().checked_sub(SILENCE);
        assert_eq!(losses.begin_telling(5, false), Some(2));
    }
}
