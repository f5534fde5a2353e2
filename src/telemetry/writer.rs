//! The thread that writes the lines, and reports how many were lost.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::subscriber::with_default;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

use super::file::FileChange;
use super::output::{Outage, Output};
use super::{LogSettings, subscriber};

/// Lines are written together as far as they make up so many bytes.
const BATCH: usize = 64 * 1024;

/// How long it rests when all is written: lines that come meanwhile wake nobody, and are written
/// together. To be woken for each line costs a worker more than to make the line.
const REST: Duration = Duration::from_millis(5);

/// The longest pause before a file that took no bytes is tried again.
const MAX_RETRY_PAUSE: Duration = Duration::from_millis(50);

/// How long nothing more is said of lines that were lost.
const SILENCE: Duration = Duration::from_secs(10);

/// How long a request to reopen the file is waited for.
const REOPEN_TIMEOUT: Duration = Duration::from_secs(1);

/// A line that is not written and wakes the thread. An empty one would not reach [`Writer`].
const WAKE: &[u8] = b"\n";

/// While it is there, lines are written; what is buffered is when it is dropped.
pub struct LogGuard {
    shared: Arc<WriterRequests>,
    reopener: Option<Reopener>,
    /// Dropped after the end was announced.
    _thread: WorkerGuard,
}

impl LogGuard {
    /// The handle that reopens the log file; `None` without `log.file`.
    pub fn reopener(&self) -> Option<Reopener> {
        self.reopener.clone()
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Relaxed);
    }
}

/// Handle to reopen the log file by its path.
#[derive(Clone)]
pub struct Reopener {
    shared: Arc<WriterRequests>,
    lines: NonBlocking,
    reopened: watch::Receiver<u64>,
}

impl Reopener {
    /// Reopens the file before the next line is written. Waits until it is open, for a second at
    /// most; returns whether it is.
    pub async fn reopen(&self) -> bool {
        let request = self.shared.reopen_requests.fetch_add(1, Ordering::Relaxed) + 1;
        // If there is no room for it, the thread is awake.
        let _ = self.lines.clone().write(WAKE);
        let mut reopened = self.reopened.clone();
        let is_open = reopened.wait_for(|reopened| *reopened >= request);
        matches!(
            tokio::time::timeout(REOPEN_TIMEOUT, is_open).await,
            Ok(Ok(_))
        )
    }
}

/// What the thread is told from outside.
#[derive(Debug, Default)]
struct WriterRequests {
    /// Lines for which there was no room.
    dropped: OnceLock<ErrorCounter>,
    ending: AtomicBool,
    /// How often the file was to be reopened.
    reopen_requests: AtomicU64,
}

/// What takes lines for `out`, up to `limit` of them at once, and never waits.
pub(super) fn spawn(out: Output, settings: LogSettings, limit: usize) -> (NonBlocking, LogGuard) {
    let shared = Arc::<WriterRequests>::default();
    let is_file = matches!(out, Output::File(_));
    let (reopened_sender, reopened) = watch::channel(0);
    let writer = Writer {
        out,
        settings,
        shared: Arc::clone(&shared),
        reopened: reopened_sender,
        batch: Vec::new(),
        woken: 0,
        failed: 0,
        losses: LostLines::default(),
        outage: Outage::new(limit),
    };
    let (lines, thread) = NonBlockingBuilder::default()
        .buffered_lines_limit(limit)
        .lossy(true)
        .finish(writer);
    let _ = shared.dropped.set(lines.error_counter());
    let reopener = Reopener {
        shared: Arc::clone(&shared),
        lines: lines.clone(),
        reopened,
    };
    (
        lines,
        LogGuard {
            shared,
            reopener: is_file.then_some(reopener),
            _thread: thread,
        },
    )
}

/// Writes lines, several at a time, and each as a whole.
struct Writer {
    out: Output,
    settings: LogSettings,
    shared: Arc<WriterRequests>,
    /// The last request to reopen the file that was met.
    reopened: watch::Sender<u64>,
    /// What is to be written.
    batch: Vec<u8>,
    /// How many [`WAKE`] lines came.
    woken: u64,
    /// Lines that `out` did not take.
    failed: usize,
    losses: LostLines,
    outage: Outage,
}

/// No error is returned: the thread would forget the lines that wait, and what it was to do next.
impl Write for Writer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if line == WAKE {
            self.woken += 1;
            return Ok(line.len());
        }
        self.batch.extend_from_slice(line);
        if self.batch.len() >= BATCH {
            self.write_batch();
        }
        Ok(line.len())
    }

    /// Comes when there is no further line for the moment, and at the end.
    fn flush(&mut self) -> io::Result<()> {
        self.write_batch();
        if self.is_ending() {
            // What was lost with this batch, or after its beginning.
            self.tell_losses();
        } else {
            std::thread::sleep(REST);
        }
        Ok(())
    }
}

impl Writer {
    fn is_ending(&self) -> bool {
        self.shared.ending.load(Ordering::Relaxed)
    }

    fn lost(&self) -> usize {
        let dropped = self
            .shared
            .dropped
            .get()
            .map_or(0, ErrorCounter::dropped_lines);
        // Those for which there was no room are counted as dropped, and are no lines of the log.
        // One that is still to come is taken for such a one until it has.
        let requested = self.shared.reopen_requests.load(Ordering::Relaxed);
        let unwoken = usize::try_from(requested.saturating_sub(self.woken)).unwrap_or(usize::MAX);
        dropped.saturating_sub(unwoken).saturating_add(self.failed)
    }

    fn write_batch(&mut self) {
        self.tell_losses();
        let batch = std::mem::take(&mut self.batch);
        self.failed += self.deliver(&batch);
        self.batch = batch;
        self.batch.clear();
    }

    /// Writes `lines`, and waits until they can be written if that may be later. Returns how many
    /// are lost.
    fn deliver(&mut self, lines: &[u8]) -> usize {
        let mut written = 0;
        let mut pause = REST;
        loop {
            let ending = self.is_ending();
            match self.try_deliver(lines, &mut written, ending) {
                Ok(true) => {
                    self.outage.end();
                    return 0;
                }
                Ok(false) => {}
                Err(error) if ending || !self.out.may_recover(&error) => {
                    return lines[written..]
                        .iter()
                        .filter(|&&byte| byte == b'\n')
                        .count();
                }
                Err(error) => self.outage.report(&self.out, &error, self.lost()),
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(MAX_RETRY_PAUSE);
        }
    }

    /// Writes what is left of `lines`; `false` if there is no file yet.
    fn try_deliver(&mut self, lines: &[u8], written: &mut usize, ending: bool) -> io::Result<bool> {
        let request = self.shared.reopen_requests.load(Ordering::Relaxed);
        let must_reopen = request != *self.reopened.borrow();
        match self.out.follow(must_reopen, !ending)? {
            FileChange::Awaited => return Ok(false),
            // A line that was cut off in the old file is written as a whole.
            FileChange::Other => *written = line_start(lines, *written),
            FileChange::Same => {}
        }
        if must_reopen {
            self.reopened.send_replace(request);
        }
        self.out.write_rest(lines, written)?;
        Ok(true)
    }

    /// Writes itself what there may be no room for among the lines that wait.
    fn tell_losses(&mut self) {
        let lost = self.lost();
        let Some(lines) = self.losses.begin_telling(lost, self.is_ending()) else {
            return;
        };
        let text = SharedBuffer::default();
        let made = text.clone();
        with_default(subscriber(&self.settings, move || made.clone()), || {
            tracing::warn!(
                lines,
                "lines of this log were lost: it could not be written as fast as they came, or not at all"
            );
        });
        let is_told = self.deliver(&text.take()) == 0;
        if !is_told && self.is_ending() {
            Outage::report_lost(&self.out, lines);
        }
        if is_told || self.is_ending() {
            self.losses.told = lost;
        }
    }
}

/// Where the line begins that the byte at `position` belongs to.
fn line_start(lines: &[u8], position: usize) -> usize {
    lines[..position]
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |end| end + 1)
}

/// What was told of lines that were lost.
#[derive(Debug, Default)]
struct LostLines {
    told: usize,
    /// When it was tried last.
    at: Option<Instant>,
}

impl LostLines {
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
pub(super) struct SharedBuffer(Arc<Mutex<Vec<u8>>>);

impl SharedBuffer {
    pub(super) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for SharedBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
