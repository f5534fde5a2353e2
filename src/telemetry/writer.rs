//! Writer thread of the log: writes lines in batches, and logs how many were lost.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::subscriber::with_default;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

use super::file::FileChange;
use super::output::{Outage, Output};
use super::subscriber::{LogSettings, subscriber};

/// Size from which a batch of lines is written.
const BATCH_BYTES: usize = 64 * 1024;

/// Pause after all lines are written. Lines of the pause form the next batch and do not wake the
/// thread: a wake-up costs the worker more than the line itself.
const BATCH_PAUSE: Duration = Duration::from_millis(5);

/// Maximum pause between two attempts to write to a failing file.
const MAX_RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Minimum time between two reports of lost lines.
const LOSS_REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Timeout of a request to reopen the file.
const REOPEN_TIMEOUT: Duration = Duration::from_secs(1);

/// Line that wakes the thread and is not written. An empty line would not reach [`LogWriter`].
const WAKE_LINE: &[u8] = b"\n";

/// Keeps the log running; dropping it writes the buffered lines and ends the thread.
pub struct LogGuard {
    shared: Arc<WriterRequests>,
    reopener: Option<Reopener>,
    /// Dropped last: `is_ending` is set by then.
    _thread: WorkerGuard,
}

impl LogGuard {
    /// The handle that reopens the log file; `None` without `log.file`.
    pub(crate) fn reopener(&self) -> Option<Reopener> {
        self.reopener.clone()
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.shared.is_ending.store(true, Ordering::Relaxed);
    }
}

/// Reopens the log file by its path.
#[derive(Clone)]
pub(crate) struct Reopener {
    shared: Arc<WriterRequests>,
    lines: NonBlocking,
    reopened: watch::Receiver<u64>,
}

impl Reopener {
    /// Reopens the file before the next line is written. Waits up to [`REOPEN_TIMEOUT`] until it is
    /// open, and returns whether it is.
    pub(crate) async fn reopen(&self) -> bool {
        let request = self.shared.reopen_requests.fetch_add(1, Ordering::Relaxed) + 1;
        // A full queue means that the thread is awake.
        let _ = self.lines.clone().write(WAKE_LINE);
        let mut reopened = self.reopened.clone();
        let is_open = reopened.wait_for(|reopened| *reopened >= request);
        matches!(
            tokio::time::timeout(REOPEN_TIMEOUT, is_open).await,
            Ok(Ok(_))
        )
    }
}

/// Requests to the writer thread.
#[derive(Debug, Default)]
struct WriterRequests {
    /// Lines that did not fit into the queue.
    dropped: OnceLock<ErrorCounter>,
    is_ending: AtomicBool,
    /// Number of requests to reopen the file.
    reopen_requests: AtomicU64,
}

/// Starts the writer thread of `out`. The returned queue holds up to `limit` lines and never
/// blocks.
pub(super) fn spawn(out: Output, settings: LogSettings, limit: usize) -> (NonBlocking, LogGuard) {
    let shared = Arc::<WriterRequests>::default();
    let is_file = matches!(out, Output::File(_));
    let (reopened_sender, reopened) = watch::channel(0);
    let writer = LogWriter {
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

/// Writes whole lines, in batches.
struct LogWriter {
    out: Output,
    settings: LogSettings,
    shared: Arc<WriterRequests>,
    /// The last request to reopen the file that was served.
    reopened: watch::Sender<u64>,
    batch: Vec<u8>,
    /// Received [`WAKE_LINE`]s.
    woken: u64,
    /// Lines that `out` failed to write.
    failed: usize,
    losses: LostLines,
    outage: Outage,
}

/// Returns no error: on an error the thread of `tracing-appender` drops the waiting lines.
impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if line == WAKE_LINE {
            self.woken += 1;
            return Ok(line.len());
        }
        self.batch.extend_from_slice(line);
        if self.batch.len() >= BATCH_BYTES {
            self.write_batch();
        }
        Ok(line.len())
    }

    /// Called when the queue is empty, and at the end.
    fn flush(&mut self) -> io::Result<()> {
        self.write_batch();
        if self.is_ending() {
            // Lines that were lost with this batch, or while it was written.
            self.report_losses();
        } else {
            std::thread::sleep(BATCH_PAUSE);
        }
        Ok(())
    }
}

impl LogWriter {
    fn is_ending(&self) -> bool {
        self.shared.is_ending.load(Ordering::Relaxed)
    }

    fn lost_lines(&self) -> usize {
        let dropped = self
            .shared
            .dropped
            .get()
            .map_or(0, ErrorCounter::dropped_lines);
        // A wake line that did not fit counts as dropped but is not lost. One that has not arrived
        // yet is taken for a dropped one until it does.
        let requested = self.shared.reopen_requests.load(Ordering::Relaxed);
        let unwoken = usize::try_from(requested.saturating_sub(self.woken)).unwrap_or(usize::MAX);
        dropped.saturating_sub(unwoken).saturating_add(self.failed)
    }

    fn write_batch(&mut self) {
        self.report_losses();
        let batch = std::mem::take(&mut self.batch);
        self.failed += self.deliver(&batch);
        self.batch = batch;
        self.batch.clear();
    }

    /// Writes `lines`, and retries while the destination may recover. Returns the number of lost
    /// lines.
    fn deliver(&mut self, lines: &[u8]) -> usize {
        let mut written = 0;
        let mut pause = BATCH_PAUSE;
        loop {
            let is_ending = self.is_ending();
            match self.try_deliver(lines, &mut written, is_ending) {
                Ok(true) => {
                    self.outage.end();
                    return 0;
                }
                Ok(false) => {}
                Err(error) if is_ending || !self.out.may_recover(&error) => {
                    return lines[written..]
                        .iter()
                        .filter(|&&byte| byte == b'\n')
                        .count();
                }
                Err(error) => self.outage.report(&self.out, &error, self.lost_lines()),
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(MAX_RETRY_PAUSE);
        }
    }

    /// Writes the rest of `lines`; returns `false` if the file is missing.
    fn try_deliver(
        &mut self,
        lines: &[u8],
        written: &mut usize,
        is_ending: bool,
    ) -> io::Result<bool> {
        let request = self.shared.reopen_requests.load(Ordering::Relaxed);
        let must_reopen = request != *self.reopened.borrow();
        match self.out.follow(must_reopen, !is_ending)? {
            FileChange::Missing => return Ok(false),
            // A line that was truncated in the old file is written again as a whole.
            FileChange::Replaced => *written = line_start(lines, *written),
            FileChange::None => {}
        }
        if must_reopen {
            self.reopened.send_replace(request);
        }
        self.out.write_rest(lines, written)?;
        Ok(true)
    }

    /// Logs the number of lost lines. The line bypasses the queue, which may be full.
    fn report_losses(&mut self) {
        let lost = self.lost_lines();
        let Some(lines) = self.losses.due_report(lost, self.is_ending()) else {
            return;
        };
        let text = SharedBuffer::default();
        let sink = text.clone();
        with_default(subscriber(&self.settings, move || sink.clone()), || {
            tracing::warn!(
                lines,
                "lines of this log were lost: it could not be written as fast as they came, or not at all"
            );
        });
        let is_written = self.deliver(&text.take()) == 0;
        if !is_written && self.is_ending() {
            Outage::report_lost(&self.out, lines);
        }
        if is_written || self.is_ending() {
            self.losses.reported = lost;
        }
    }
}

/// Start of the line that contains the byte at `position`.
fn line_start(lines: &[u8], position: usize) -> usize {
    lines[..position]
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |end| end + 1)
}

/// Reports of lost lines.
#[derive(Debug, Default)]
struct LostLines {
    reported: usize,
    /// The last attempt to log a report.
    attempted_at: Option<Instant>,
}

impl LostLines {
    /// The number of lines to report now, of `lost` in total.
    fn due_report(&mut self, lost: usize, is_ending: bool) -> Option<usize> {
        let unreported = lost.saturating_sub(self.reported);
        if unreported == 0
            || (!is_ending
                && self
                    .attempted_at
                    .is_some_and(|at| at.elapsed() < LOSS_REPORT_INTERVAL))
        {
            return None;
        }
        self.attempted_at = Some(Instant::now());
        Some(unreported)
    }
}

/// In-memory writer whose clones share one buffer.
#[derive(Clone, Default)]
pub(super) struct SharedBuffer(Arc<Mutex<Vec<u8>>>);

impl SharedBuffer {
    pub(super) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock())
    }
}

impl Write for SharedBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
