//! Report of the doctor: a line per step with mark, name, time and result, and the advice below a
//! failed one.

use std::time::{Duration, Instant};

use super::advice::Advice;
use crate::cli::error::{CommandError, EXIT_USAGE};
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

/// Prints each step as soon as it is done, and counts the results.
#[derive(Default)]
pub(super) struct Report {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Report {
    /// Reports a passed step; `took` is `None` for one without a duration.
    pub(super) fn pass(
        &mut self,
        step: &str,
        took: impl Into<Option<Duration>>,
        what: &str,
    ) -> Result<(), CommandError> {
        self.passed += 1;
        print_line(&line('✓', step, took.into(), what))
    }

    /// Adds a note to the last step.
    pub(super) fn note(&self, text: &str) -> Result<(), CommandError> {
        print_line(&below("note", text))
    }

    pub(super) fn fail(
        &mut self,
        step: &str,
        took: Duration,
        what: &str,
        advice: &Advice,
    ) -> Result<(), CommandError> {
        self.failed += 1;
        print_line(&line('✗', step, Some(took), what))?;
        print_line(&below("cause", &advice.cause))?;
        let mut fixes = advice.fixes.iter();
        fixes.try_for_each(|fix| print_line(&below("fix", fix)))
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
        print_line(&line('-', step, None, why))
    }

    /// Prints the totals, and returns the result of the command.
    pub(super) fn finish(self) -> Result<(), CommandError> {
        let Report {
            passed,
            failed,
            skipped,
        } = self;
        print_line(&format!(
            "\n{passed} passed, {failed} failed, {skipped} skipped"
        ))?;
        if failed == 0 {
            Ok(())
        } else {
            Err(CommandError::Reported(1))
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
