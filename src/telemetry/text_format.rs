//! Text format of the log. The access line is written for every request and therefore formatted by
//! hand, without allocation; after time and level, all other lines use the formatter of
//! `tracing-subscriber`, as JSON does.

use std::cell::RefCell;
use std::fmt::{Debug, Error, Result};
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use anstyle::AnsiColor;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{self, FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The format of `tracing-subscriber`, except for access lines and the color of the level.
pub(super) struct TextFormat {
    /// Formats what follows the level.
    rest: Format<Full, ()>,
    is_colored: bool,
}

impl TextFormat {
    /// The format with levels in color if `is_colored`.
    pub(super) fn new(is_colored: bool) -> Self {
        let rest = fmt::format().with_ansi(false).with_target(false);
        TextFormat {
            rest: rest.with_level(false).without_time(),
            is_colored,
        }
    }
}

impl<S, N> FormatEvent<S, N> for TextFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> Result {
        let is_access_line = event.metadata().target() == "access";
        LINE.with_borrow_mut(|line| {
            line.start_line(SystemTime::now());
            line.level(*event.metadata().level(), self.is_colored);
            if is_access_line {
                event.record(line);
                line.push(b"\n");
            }
            writer.write_str(std::str::from_utf8(&line.text).map_err(|_| Error)?)
        })?;
        if is_access_line {
            return Ok(());
        }
        self.rest.format_event(context, writer, event)
    }
}

thread_local! {
    static LINE: RefCell<LineBuffer> = const { RefCell::new(LineBuffer::new()) };
}

/// Buffer of one line; the next line reuses its memory.
struct LineBuffer {
    /// UTF-8, checked once for the whole line.
    text: Vec<u8>,
    /// The second since 1970 that `date` was formatted for.
    second: u64,
    /// Date and time up to the second.
    date: String,
}

impl LineBuffer {
    const fn new() -> Self {
        LineBuffer {
            text: Vec::new(),
            second: 0,
            date: String::new(),
        }
    }

    /// Starts a line with the time, as `tracing-subscriber` formats it.
    fn start_line(&mut self, now: SystemTime) {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second != now.as_secs() || self.date.is_empty() {
            self.second = now.as_secs();
            let second = UNIX_EPOCH + std::time::Duration::from_secs(now.as_secs());
            self.date = humantime::format_rfc3339_seconds(second).to_string();
            self.date.pop();
        }
        self.text.clear();
        self.text.extend_from_slice(self.date.as_bytes());
        self.push(b".");
        self.fraction::<6>(now.subsec_micros());
        self.push(b"Z");
    }

    fn level(&mut self, level: Level, is_colored: bool) {
        let (text, color) = match level {
            Level::ERROR => (" ERROR ", AnsiColor::Red),
            Level::WARN => ("  WARN ", AnsiColor::Yellow),
            Level::INFO => ("  INFO ", AnsiColor::Green),
            Level::DEBUG => (" DEBUG ", AnsiColor::Blue),
            Level::TRACE => (" TRACE ", AnsiColor::Magenta),
        };
        if is_colored {
            let style = color.on_default();
            let _ = write!(self.text, "{style}{text}{style:#}");
        } else {
            self.push(text.as_bytes());
        }
    }

    fn push(&mut self, text: &[u8]) {
        self.text.extend_from_slice(text);
    }

    fn number(&mut self, number: u64) {
        self.push(itoa::Buffer::new().format(number).as_bytes());
    }

    /// `number` with `N` digits, which must suffice.
    fn fraction<const N: usize>(&mut self, mut number: u32) {
        let mut digits = [b'0'; N];
        for digit in digits.iter_mut().rev() {
            *digit += (number % 10) as u8;
            number /= 10;
        }
        self.push(&digits);
    }

    fn name(&mut self, field: &Field) {
        self.push(b" ");
        self.push(field.name().as_bytes());
        self.push(b"=");
    }
}

/// Writing to a `Vec` does not fail: the results are ignored.
impl Visit for LineBuffer {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.name(field);
        // Anything but plain ASCII is escaped: it cannot pass for another field or line. The fold
        // does not stop early, which lets the compiler check several bytes at a time.
        let is_plain = |byte: u8| matches!(byte, b' '..=b'~') & !matches!(byte, b'"' | b'\\');
        if value.bytes().fold(true, |all, byte| all & is_plain(byte)) {
            self.push(b"\"");
            self.push(value.as_bytes());
            self.push(b"\"");
        } else {
            let _ = write!(self.text, "{value:?}");
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.name(field);
        self.number(value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.name(field);
        self.push(if value { b"true" } else { b"false" });
    }

    /// With three decimals: the values are milliseconds.
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.name(field);
        let thousandths = (value * 1e3).round() as u64;
        self.number(thousandths / 1000);
        self.push(b".");
        self.fraction::<3>((thousandths % 1000) as u32);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            // `tracing` records the message first: it needs no name.
            "message" => {
                let _ = write!(self.text, "{value:?}");
            }
            _ => {
                self.name(field);
                let _ = write!(self.text, "{value:?}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tracing::subscriber::with_default;
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::registry;

    use super::super::writer::SharedBuffer;
    use super::*;

    /// The lines that `log` writes in this format and in that of `tracing-subscriber`.
    fn formatted(log: impl Fn()) -> [String; 2] {
        let text = SharedBuffer::default();
        let (own, reference) = (text.clone(), text.clone());
        let plain = || fmt::format().with_ansi(false).with_target(false);
        let lines = fmt::layer()
            .with_ansi(false)
            .event_format(TextFormat::new(false))
            .with_writer(move || own.clone());
        with_default(registry().with(lines), &log);
        let lines = fmt::layer()
            .with_ansi(false)
            .event_format(plain())
            .with_writer(move || reference.clone());
        let first = String::from_utf8(text.take()).unwrap();
        with_default(registry().with(lines), &log);
        [first, String::from_utf8(text.take()).unwrap()]
    }

    #[test]
    fn access_lines_match_the_standard_format() {
        let lines = formatted(|| {
            tracing::info!(
                target: "access",
                request_id = "5f0c",
                peer = Some(tracing::field::display("10.0.0.9:1")),
                path = "/a\"b\\c\n\u{1b}[0m\u{e9}",
                status = Some(200_u16),
                nothing = 0_u64,
                most = u64::MAX,
                none = None::<u64>,
                duration_ms = 12.345,
                whole = 3.0,
                retried = true,
                "request"
            );
        });
        // The times differ, and so does the format of whole milliseconds.
        let [own, reference] = lines.map(|line| line[27..].replace("whole=3.000", "whole=3.0"));
        assert_eq!(own, reference);
        assert_eq!(own.lines().count(), 1, "{own}");
    }

    #[test]
    fn other_lines_match_the_standard_format() {
        let lines = formatted(|| tracing::warn!(address = "a\u{1b}[31m", "no connection"));
        let [own, reference] = lines.map(|line| line[27..].to_owned());
        assert_eq!(own, reference);
        assert!(own.starts_with("  WARN no connection address="), "{own}");
    }

    #[test]
    fn only_the_level_is_colored() {
        let text = SharedBuffer::default();
        let sink = text.clone();
        let lines = fmt::layer()
            .event_format(TextFormat::new(true))
            .with_ansi(false)
            .with_writer(move || sink.clone());
        with_default(registry().with(lines), || {
            tracing::error!("first");
            tracing::info!(target: "access", status = 200_u16, "request");
        });
        let text = String::from_utf8(text.take()).unwrap();
        let lines: Vec<_> = text.lines().map(|line| &line[27..]).collect();
        assert_eq!(
            lines,
            [
                "\u{1b}[31m ERROR \u{1b}[0mfirst",
                "\u{1b}[32m  INFO \u{1b}[0mrequest status=200"
            ]
        );
    }

    #[test]
    fn the_time_matches_the_standard_format() {
        let mut line = LineBuffer::new();
        for (micros, text) in [
            (1_795_730_009_123_456, "2026-11-26T21:53:29.123456Z"),
            (1_795_730_009_000_001, "2026-11-26T21:53:29.000001Z"),
            (1_795_730_010_999_999, "2026-11-26T21:53:30.999999Z"),
        ] {
            line.start_line(UNIX_EPOCH + Duration::from_micros(micros));
            assert_eq!(line.text, text.as_bytes());
        }
    }
}
