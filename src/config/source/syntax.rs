//! Errors of a file that is not TOML, in the words of a person who writes one.

use std::path::Path;

use crate::config::error::{ConfigError, ConfigErrors, ValueSource};

/// Describes `error` by the line where it is, without a part of that line: it may hold a secret.
pub(crate) fn diagnose(file: &Path, text: &str, error: &toml::de::Error) -> ConfigErrors {
    let offset = error.span().map_or(0, |span| span.start);
    let start = text[..floor(text, offset)]
        .rfind('\n')
        .map_or(0, |at| at + 1);
    let line = text[start..].lines().next().unwrap_or_default();
    let (cause, fix) = duplicate(&text[..start], line).unwrap_or_else(|| cause(line));
    ConfigErrors::from(ConfigError {
        origin: ValueSource::position(file, text, floor(text, offset)),
        key: String::new(),
        message: format!("invalid TOML: {cause}"),
        fix: fix.to_owned(),
    })
}

/// The last character boundary at or before `offset`.
fn floor(text: &str, offset: usize) -> usize {
    let offset = offset.min(text.len());
    (0..=offset)
        .rev()
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or(0)
}

/// The cause if `line` repeats one of `before` in the same section.
fn duplicate(before: &str, line: &str) -> Option<(&'static str, &'static str)> {
    let line = line.trim();
    if line.starts_with('[') {
        return before.lines().any(|other| other.trim() == line).then_some((
            "the section is written twice",
            "move its keys below the first header of this name",
        ));
    }
    let name = |line: &str| Some(line.split_once('=')?.0.trim().to_owned());
    let wanted = name(line)?;
    let mut section = before
        .lines()
        .rev()
        .take_while(|line| !line.trim().starts_with('['));
    section
        .any(|other| name(other).as_ref() == Some(&wanted))
        .then_some(("the key is written twice", "remove one of the two lines"))
}

fn cause(line: &str) -> (&'static str, &'static str) {
    let line = line.trim();
    let (name, value) = line.split_once('=').map_or((line, None), |(name, value)| {
        (name.trim(), Some(value.trim()))
    });
    let is_bare = |text: &str| text.starts_with(|first: char| first.is_alphanumeric());
    if line.contains(['“', '”', '„', '‘', '’', '«', '»']) {
        return (
            "typographic quotes",
            "write straight double quotes: \"; some editors and chats replace them",
        );
    }
    match value {
        _ if line.starts_with('[') => (
            "this is not a section header",
            "write the name of the section in brackets, such as [token]",
        ),
        None if name.contains(':') => (
            "a colon in place of \"=\"",
            "write key = \"value\", one for each line",
        ),
        None => ("the \"=\" is missing", "write key = \"value\""),
        Some("") => ("the value is missing", "write key = \"value\""),
        Some(value) if value.matches('"').count() == 1 || value.matches('\'').count() == 1 => (
            "a quote is missing",
            "write the value between two double quotes",
        ),
        Some("True" | "False" | "TRUE" | "FALSE" | "yes" | "no" | "on" | "off") => (
            "a switch is true or false, in lower case",
            "write true or false",
        ),
        Some(value) if is_bare(value) || value.starts_with(['/', '.', '*', '$']) => (
            "a text without quotes",
            "write the value in double quotes, or a number, true or false without",
        ),
        Some(value) if value.contains('\\') => (
            "a backslash in double quotes begins an escape",
            "write the value in single quotes, or each backslash twice",
        ),
        Some(_) => (
            "this is not key = value",
            "write texts in double quotes and lists in brackets, see https://toml.io",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        let error = toml::de::DeTable::parse(text).unwrap_err();
        diagnose("proxy.toml".as_ref(), text, &error).to_string()
    }

    #[test]
    fn common_slips_are_named() {
        for (text, position, cause) in [
            ("[token]\nscope = “gbg”", "2:9", "typographic quotes"),
            ("[token]\nscope = gbg.token", "2:9", "a text without quotes"),
            ("[token]\nca_file = /etc/x", "2:11", "a text without quotes"),
            ("[token]\nscope: \"x\"", "2:", "a colon"),
            ("[token]\nscope =", "2:8", "the value is missing"),
            ("[token]\nscope \"x\"", "2:7", "the \"=\" is missing"),
            ("[token]\nscope = \"x", "2:", "a quote is missing"),
            (
                "[token\nscope = \"x\"",
                "1:",
                "this is not a section header",
            ),
            ("[admin]\nquit = yes", "2:8", "a switch is true or false"),
            ("[log]\nfile = \"C:\\dir\"", "2:", "a backslash"),
            (
                "[log]\nlevel = \"info\"\nlevel = \"warn\"",
                "3:1",
                "the key is written twice",
            ),
            (
                "[log]\nlevel = \"info\"\n[token]\n[log]",
                "4:",
                "the section is written twice",
            ),
        ] {
            let message = message(text);
            let begin = format!("proxy.toml:{position}");
            assert!(message.starts_with(&begin), "{text}: {message}");
            assert!(message.contains(cause), "{text}: {message}");
        }
    }

    #[test]
    fn no_part_of_the_line_is_shown() {
        for text in [
            "[token]\nclient_secret = hunter2",
            "hunter2",
            "a = \"hunter2",
        ] {
            let message = message(text);
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}
