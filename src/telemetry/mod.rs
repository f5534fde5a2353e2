//! Log output: events of the process, and one access line for each request.

mod access_line;
mod file;
mod filter;
mod output;
pub(crate) mod throttle;
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
pub use self::writer::LogGuard;
pub(crate) use self::writer::Reopener;

/// Lines that wait to be written. Above this, lines are dropped: the log does not delay requests.
const MAX_BUFFERED_LINES: usize = 16_384;

/// Level, format and destination of the log.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// The least severe level that is logged; it may change at runtime.
    pub level: LogLevel,
    /// One JSON object per line instead of text.
    pub json: bool,
    /// The log file; `None` for standard output.
    pub file: Option<PathBuf>,
}

/// Starts the log. A thread of its own writes it: a slow reader or disk does not delay a request.
/// Dropping the guard writes the buffered lines.
///
/// # Errors
/// When the file cannot be opened.
pub fn init(settings: LogSettings) -> io::Result<LogGuard> {
    let out = match &settings.file {
        Some(path) => Output::File(LogFile::open(path)?),
        None => Output::Stream(Box::new(io::stdout())),
    };
    let (lines, guard) = writer::spawn(out, settings.clone(), MAX_BUFFERED_LINES);
    // A process that runs several proxies calls this again: the first subscriber stays.
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
