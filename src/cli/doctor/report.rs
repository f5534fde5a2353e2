//! Report of the doctor: a line per step with mark, name, time and result, and the advice below a
//! failed one.

use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};

use super::advice::Advice;
use super::credentials::RunLocation;
use crate::cli::error::{CommandError, EXIT_FAILURE, EXIT_INCOMPLETE, EXIT_USAGE};
use crate::cli::output::print_line;
use crate::config::{ConfigError, ConfigErrors};

/// The width at which lines below a step are wrapped.
const WIDTH: usize = 100;

/// Longer texts are truncated: a certificate can have hundreds of names.
const MAX_TEXT_CHARS: usize = 500;

/// Runs a step, and returns its result with its duration.
pub(super) async fn timed<T>(step: impl Future<Output = T>) -> (T, Duration) {
    let began = Instant::now();
    let result = step.await;
    (result, began.elapsed())
}

const PASSED: Style = AnsiColor::Green.on_default();
const FAILED: Style = AnsiColor::Red.on_default().bold();
const SKIPPED: Style = Style::new().dimmed();
const LABEL: Style = Style::new().bold();

/// Prints each step as soon as it is done, and counts the results.
pub(super) struct Report {
    is_colored: bool,
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Report {
    pub(super) fn new(is_colored: bool) -> Self {
        Report {
            is_colored,
            passed: 0,
            failed: 0,
            skipped: 0,
        }
    }

    /// Reports a passed step; `took` is `None` for one without a duration.
    pub(super) fn pass(
        &mut self,
        step: &str,
        took: impl Into<Option<Duration>>,
        what: &str,
    ) -> Result<(), CommandError> {
        self.passed += 1;
        self.print_step(PASSED, '✓', step, took.into(), what)
    }

    /// Adds a note to the last step.
    pub(super) fn note(&self, text: &str) -> Result<(), CommandError> {
        self.print_below("note", text)
    }

    pub(super) fn fail(
        &mut self,
        step: &str,
        took: Duration,
        what: &str,
        advice: &Advice,
    ) -> Result<(), CommandError> {
        self.failed += 1;
        self.print_step(FAILED, '✗', step, Some(took), what)?;
        self.print_below("cause", &advice.cause)?;
        let mut fixes = advice.fixes.iter();
        fixes.try_for_each(|fix| self.print_below("fix", fix))
    }

    fn print_step(
        &self,
        style: Style,
        mark: char,
        step: &str,
        took: Option<Duration>,
        what: &str,
    ) -> Result<(), CommandError> {
        let line = line(mark, step, took, what);
        print_line(&self.color(style, &mark.to_string(), line))
    }

    fn print_below(&self, label: &str, text: &str) -> Result<(), CommandError> {
        print_line(&self.color(LABEL, label, below(label, text)))
    }

    /// Applies `style` to the first `part` of `text`, if standard output shows colors.
    fn color(&self, style: Style, part: &str, text: String) -> String {
        if self.is_colored {
            text.replacen(part, &format!("{style}{part}{style:#}"), 1)
        } else {
            text
        }
    }

    /// Reports an invalid configuration, and returns the error of the command.
    pub(super) fn fail_configuration(
        &mut self,
        took: Duration,
        errors: ConfigErrors,
    ) -> Result<CommandError, CommandError> {
        for ConfigError {
            origin,
            key,
            message,
            fix,
        } in errors.errors
        {
            let mut advice = Advice::new(message);
            if !fix.is_empty() {
                advice = advice.fix(fix);
            }
            let what = if key.is_empty() {
                origin.to_string()
            } else {
                format!("{origin}: {key}")
            };
            self.fail("configuration", took, &what, &advice)?;
        }
        self.skip(
            "all other steps",
            "the configuration is invalid: `run` would not start either",
        )?;
        Ok(CommandError::Reported(EXIT_USAGE))
    }

    /// Reports a step that was not needed or not possible.
    pub(super) fn skip(&mut self, step: &str, why: &str) -> Result<(), CommandError> {
        self.skipped += 1;
        self.print_step(SKIPPED, '-', step, None, why)
    }

    /// Prints the totals, and the `locations` to make the steps that need credentials. Returns the result
    /// of the command.
    pub(super) fn finish(self, locations: &[RunLocation]) -> Result<(), CommandError> {
        let Report {
            passed,
            failed,
            skipped,
            ..
        } = self;
        print_line(&format!(
            "\n{passed} passed, {failed} failed, {skipped} skipped"
        ))?;
        if !locations.is_empty() {
            print_line(
                "\nThe diagnosis is incomplete: a token request and an API call need the credentials of the \
                 service.\nRun doctor where the service has them:",
            )?;
        }
        for RunLocation { place, command } in locations {
            let command = command.replace('\n', "\n    ");
            let place = self.color(LABEL, place, (*place).to_owned());
            print_line(&format!("\n  {place}\n    {command}"))?;
        }
        match (failed, locations) {
            (0, []) => Ok(()),
            (0, _) => Err(CommandError::Reported(EXIT_INCOMPLETE)),
            _ => Err(CommandError::Reported(EXIT_FAILURE)),
        }
    }
}

fn line(mark: char, step: &str, took: Option<Duration>, what: &str) -> String {
    let took = took
        .map(|took| format!("{} ms", took.as_millis()))
        .unwrap_or_default();
    printable(&format!("{mark} {step:<20} {took:>8}  {what}"))
}

/// Returns wrapped lines below a step, with a hanging indent.
fn below(label: &str, text: &str) -> String {
    let mut lines = String::new();
    let mut line = format!("    {label:>5}:");
    for word in printable(text).split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines += &format!("{line}\n");
            line = " ".repeat(10);
        }
        line += &format!(" {word}");
    }
    lines + &line
}

/// Replaces control characters and truncates: names in certificates and error texts come from the
/// server, and must neither control nor flood the terminal.
fn printable(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(MAX_TEXT_CHARS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(MAX_TEXT_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_one_aligned_line() {
        let took = Some(Duration::from_micros(12_700));
        assert_eq!(
            line('✓', "clock", took, "a\n\u{1b}[2Jb"),
            "✓ clock                   12 ms  a  [2Jb"
        );
        assert_eq!(
            line('-', "API: TLS", None, "skipped"),
            "- API: TLS                       skipped"
        );
        assert_eq!(
            line('-', "a", None, &"b".repeat(1000)).chars().count(),
            MAX_TEXT_CHARS + 1
        );
    }

    #[test]
    fn advice_is_wrapped_with_a_hanging_indent() {
        let text = below("fix", &"word ".repeat(25));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(
            lines[0].starts_with("      fix: word word") && lines[1].starts_with("           word"),
            "{text}"
        );
        assert!(
            lines.iter().all(|line| line.chars().count() <= WIDTH),
            "{text}"
        );
    }
}
