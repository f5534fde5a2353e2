//! Settings of the log, and the `tracing` subscriber that formats it.

use std::path::PathBuf;

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::{fmt, registry};

use super::filter::LogLevel;
use super::text_format::TextFormat;

/// Level, format and destination of the log.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// The least severe level that is logged; it may change at runtime.
    pub level: LogLevel,
    /// One JSON object per line instead of text.
    pub json: bool,
    /// Whether text has its level in color, for a terminal.
    pub is_colored: bool,
    /// The log file; `None` for standard output.
    pub file: Option<PathBuf>,
}

/// Formats events and passes the lines to `writer`.
pub(super) fn subscriber<W>(
    settings: &LogSettings,
    writer: W,
) -> impl Subscriber + Send + Sync + use<W>
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
            .event_format(TextFormat::new(settings.is_colored))
            .boxed()
    };
    registry().with(lines.with_filter(settings.level.clone()))
}
