//! How a step looks: a mark, its name, its time and what came of it; under a cross what it means
//! and what to do.

use std::time::Duration;

use super::advice::Advice;
use crate::cli::sandbox::say;
use crate::cli::{Failure, USAGE};

/// Where what stands below a step is wrapped.
const WIDTH: usize = 100;

/// What is longer is cut off: a certificate can have hundreds of names.
const LONGEST: usize = 500;

/// Prints each step when it is done, since the next one may take its time, and counts.
#[derive(Default)]
pub(super) struct Report {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Report {
    /// A step that went well; `None` for one that took no time of its own.
    pub(super) fn tick(
        &mut self,
        step: &str,
        took: impl Into<Option<Duration>>,
        what: &str,
    ) -> Result<(), Failure> {
        self.passed += 1;
        say(&line('✓', step, took.into(), what))
    }

    /// What should be looked at below a step that went well.
    pub(super) fn note(&self, text: &str) -> Result<(), Failure> {
        say(&below("note", text))
    }

    /// A step that failed.
    pub(super) fn cross(
        &mut self,
        step: &str,
        took: Duration,
        what: &str,
        advice: &Advice,
    ) -> Result<(), Failure> {
        self.failed += 1;
        say(&line('✗', step, Some(took), what))?;
        say(&below("cause", &advice.cause))?;
        advice
            .fixes
            .iter()
            .try_for_each(|fix| say(&below("fix", fix)))
    }

    /// A configuration that cannot be used: its error brings its own fix.
    pub(super) fn cross_configuration(
        &mut self,
        took: Duration,
        error: &str,
    ) -> Result<Failure, Failure> {
        let (what, fix) = error.split_once("\n  fix: ").unwrap_or((error, ""));
        let cause = "`run` would not start either".to_owned();
        let fixes = Some(fix.to_owned())
            .filter(|fix| !fix.is_empty())
            .into_iter()
            .collect();
        self.cross("configuration", took, what, &Advice { cause, fixes })?;
        self.skip("all else", "there is no configuration to try")?;
        Ok(Failure::Told(USAGE))
    }

    /// A step that could not be done, or had not to be.
    pub(super) fn skip(&mut self, step: &str, why: &str) -> Result<(), Failure> {
        self.skipped += 1;
        say(&line('-', step, None, why))
    }

    /// The last line, and how the command ends.
    pub(super) fn end(self) -> Result<(), Failure> {
        let Report {
            passed,
            failed,
            skipped,
        } = self;
        say(&format!(
            "\n{passed} passed, {failed} failed, {skipped} skipped"
        ))?;
        if failed == 0 {
            Ok(())
        } else {
            Err(Failure::Told(1))
        }
    }
}

fn line(mark: char, step: &str, took: Option<Duration>, what: &str) -> String {
    let took = took
        .map(|took| format!("{} ms", took.as_millis()))
        .unwrap_or_default();
    printable(&format!("{mark} {step:<20} {took:>8}  {what}"))
}

/// A line of its own below a step's, in as many as it needs.
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

/// Names in certificates and texts of errors come from the other side: none may steer a terminal,
/// or fill it.
fn printable(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(LONGEST)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_and_aligned() {
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
            LONGEST + 1
        );
    }

    #[test]
    fn what_stands_below_is_wrapped_and_hangs() {
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
