//! Log output: events of the process, and one access line for each request.

mod file;
mod filter;
mod output;
mod subscriber;
mod text_format;
pub(crate) mod throttle;
mod writer;

use std::io;

use tracing_subscriber::util::SubscriberInitExt;

use self::file::LogFile;
pub use self::filter::LogLevel;
use self::output::Output;
pub use self::subscriber::LogSettings;
use self::subscriber::subscriber;
pub use self::writer::LogGuard;
pub(crate) use self::writer::Reopener;

/// Lines that wait to be written. Above this, lines are dropped: the log does not delay requests.
const MAX_BUFFERED_LINES: usize = 16_384;

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
