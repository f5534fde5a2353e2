//! Logs: what the process says of itself, and a line a request.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt, registry};

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

/// Ours alone is logged, at any level: what libraries log may quote what a caller sent.
fn subscribe(settings: Settings, writer: NonBlocking) {
    let level = settings.level;
    let ours = Targets::new().with_target("gbg_proxy", level).with_target("access", level);
    let lines = fmt::layer().with_writer(writer);
    let lines = if settings.json {
        lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
    } else {
        lines.with_ansi(false).with_target(false).boxed()
    };
    // A second call, in a process that runs several proxies, changes nothing.
    let _ = registry().with(lines.with_filter(ours)).try_init();
}
