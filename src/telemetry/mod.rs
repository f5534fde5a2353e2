//! Logs: what the process says of itself, and a line a request.

mod access_line;
mod file;
mod filter;
mod output;
pub mod throttle;
mod writer;

use std::io;
use std::path::PathBuf;

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt, registry};

use self::access_line::TextFormat;
use self::file::LogFile;
pub use self::filter::LogLevel;
use self::output::Output;
pub use self::writer::{LogGuard, Reopener};

/// Lines that wait to be written; above this, lines are dropped rather than requests held up.
const BUFFERED_LINES: usize = 16_384;

/// How much is logged, how it looks, and where it goes.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// The least severe level, which may become another while the log is written.
    pub level: LogLevel,
    /// One JSON object a line instead of text.
    pub json: bool,
    /// The file to write to; standard output where there is none.
    pub file: Option<PathBuf>,
}

/// Begins to log, from a thread of its own: a reader or a disk that does not keep up must not hold
/// up a request. What is buffered is written when the guard is dropped.
///
/// # Errors
/// When the file cannot be opened.
pub fn init(settings: LogSettings) -> io::Result<LogGuard> {
    let out = match &settings.file {
        Some(path) => Output::File(LogFile::open(path)?),
        None => Output::Stream(Box::new(io::stdout())),
    };
    let (lines, guard) = writer::spawn(out, settings.clone(), BUFFERED_LINES);
    // A second call, in a process that runs several proxies, changes nothing.
    let _ = subscriber(&settings, lines).try_init();
    Ok(guard)
}

fn subscriber<W>(settings: &LogSettings, writer: W) -> impl Subscriber + Send + Sync + use<W>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = fmt::layer().with_writer(writer);
    let lines = if settings.json {
        lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed()
    } else {
        lines
            .with_ansi(false)
            .event_format(TextFormat(
                fmt::format().with_ansi(false).with_target(false),
            ))
            .boxed()
    };
    registry().with(lines.with_filter(settings.level.clone()))
}
