//! Logs: what the process says of itself, and a line a request.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

/// Lines that wait to be written; above this, lines are dropped rather than requests held up.
const BUFFERED_LINES: usize = 16_384;

/// How much is logged, and how it looks.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The least severe level.
    pub level: LevelFilter,
    /// One JSON object a line instead of text.
    pub json: bool,
}

/// Begins to log to standard output, from a thread of its own: a reader that does not keep up must not hold up a
/// request. What is buffered is written when the guard is dropped.
pub fn begin(settings: Settings) -> WorkerGuard {
    let (writer, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(BUFFERED_LINES).lossy(true).finish(io::stdout());
    subscribe(settings, writer);
    guard
}

fn subscribe(settings: Settings, writer: NonBlocking) {
    let builder = tracing_subscriber::fmt().with_max_level(settings.level).with_writer(writer);
    // A second call, in a process that runs several proxies, changes nothing.
    let _ = if settings.json {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    } else {
        builder.with_ansi(false).with_target(false).try_init()
    };
}
