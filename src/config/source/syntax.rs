//! Errors of a file that is not TOML, in the words of a person who writes one.

use std::path::Path;

use super::position::Positions;
use crate::config::error::{ConfigError, ConfigErrors, ValueSource};

/// Describes `error` by the line where it is, without a part of that line: it may hold a secret.
pub(crate) fn diagnose(
    file: &Path,
    positions: &Positions<'_>,
    error: &toml::de::Error,
) -> ConfigErrors {
    let (origin, (cause, fix)) = match error.span() {
        Some(span) => {
            let (before, line) = positions.line(span.start);
            let found = duplicate(before, line).unwrap_or_else(|| cause(line));
            (positions.of(span.start), found)
        }
        None => (ValueSource::File(file.to_owned()), UNKNOWN),
    };
    ConfigErrors::from(ConfigError {
        origin,
        key: String::new(),
        message: format!("invalid TOML: {cause}"),
        fix: fix.to_owned(),
    })
}

type Cause = (&'static str, &'static str);

const UNKNOWN: Cause = (
    "this is not key = value",
    "write strings in double quotes and lists in brackets, see https://toml.io",
);

/// The cause if `line` repeats a name of `before`.
fn duplicate(before: &str, line: &str) -> Option<Cause> {
    if let Some(name) = section_name(line) {
        let values = before.lines().filter_map(|line| line.split_once('='));
        let count = |bracket| {
            values
                .clone()
                .map(|(_, value)| value.matches(bracket).count())
                .sum()
        };
        let (opened, closed): (usize, usize) = (count('['), count(']'));
        if opened > closed {
            return Some(("a list above is not closed", "write \"]\" at its end"));
        }
        let mut headers = before.lines().filter_map(section_name);
        let fix = match name {
            "caller" => "write [[caller]], in two brackets, above each caller",
            _ => "write each section once, with all its keys below its header",
        };
        return headers
            .any(|other| other == name)
            .then_some(("a section of this name is written already", fix));
    }
    let name = |line: &str| Some(line.split_once('=')?.0.trim().to_owned());
    let wanted = name(line)?;
    let mut section = before
        .lines()
        .rev()
        .take_while(|line| section_name(line).is_none());
    section
        .any(|other| name(other).as_ref() == Some(&wanted))
        .then_some(("the key is written twice", "remove one of the two lines"))
}

/// The name in a well-formed header: `caller` of `[[caller]]`.
fn section_name(line: &str) -> Option<&str> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let name = line.strip_prefix('[')?.strip_suffix(']')?;
    let name = match name.strip_prefix('[') {
        Some(name) => name.strip_suffix(']')?,
        None => name,
    };
    Some(name.trim())
}

fn cause(line: &str) -> Cause {
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
        _ if section_name(line).is_some() => (
            "this name is already used for a key",
            "write each section once, with all its keys below its header",
        ),
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
            "a boolean is true or false, in lower case",
            "write true or false",
        ),
        Some(value) if is_like_date(value) => (
            "this is not a date",
            "write year, month and day, such as 2027-01-31",
        ),
        Some(value) if value.starts_with('[') && has_bare_item(value) => (
            "a string without quotes in a list",
            "write each string of the list in double quotes, such as [\"a\", \"b\"]",
        ),
        Some(value) if is_bare(value) || value.starts_with(['/', '.', '*', '$']) => (
            "a string without quotes",
            "write the value in double quotes, or a number, true or false without",
        ),
        Some(value) if value.contains('\\') => (
            "a backslash in double quotes begins an escape",
            "write the value in single quotes, or each backslash twice",
        ),
        Some(_) => UNKNOWN,
    }
}

/// Whether `value` begins with three numbers, one of four digits, as dates are written somewhere.
fn is_like_date(value: &str) -> bool {
    let end = value.find([' ', '#', 'T']).unwrap_or(value.len());
    let parts: Vec<_> = value[..end].split(['-', '.', '/']).collect();
    let is_number =
        |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    parts.len() == 3 && parts.iter().all(is_number) && parts.iter().any(|part| part.len() == 4)
}

fn has_bare_item(list: &str) -> bool {
    let mut items = list.trim_matches(['[', ']']).split(',').map(str::trim);
    items.any(|item| item.starts_with(|first: char| first.is_alphabetic()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        let error = toml::de::DeTable::parse(text).unwrap_err();
        let file = "proxy.toml".as_ref();
        diagnose(file, &Positions::new(file, text), &error).to_string()
    }

    #[test]
    fn common_slips_are_named() {
        for (text, position, cause) in [
            ("[token]\nscope = “gbg”", "2:9", "typographic quotes"),
            (
                "[token]\nscope = gbg.token",
                "2:9",
                "a string without quotes",
            ),
            (
                "[token]\nca_file = /etc/x",
                "2:11",
                "a string without quotes",
            ),
            (
                "[[caller]]\nexpires = 2027-31-01",
                "2:",
                "this is not a date",
            ),
            (
                "[[caller]]\nexpires = 01.07.2027",
                "2:",
                "this is not a date",
            ),
            (
                "[listen]\nhosts = [gbg.example]",
                "2:",
                "a string without quotes in a list",
            ),
            ("[token]\nscope: \"x\"", "2:", "a colon"),
            ("[token]\nscope =", "2:8", "the value is missing"),
            ("[token]\nscope \"x\"", "2:7", "the \"=\" is missing"),
            ("[token]\nscope = \"x", "2:", "a quote is missing"),
            (
                "[token\nscope = \"x\"",
                "1:",
                "this is not a section header",
            ),
            ("[admin]\nquit = yes", "2:8", "a boolean is true or false"),
            ("[log]\nfile = \"C:\\dir\"", "2:", "a backslash"),
            (
                "[log]\nlevel = \"info\"\nlevel = \"warn\"",
                "3:1",
                "the key is written twice",
            ),
            (
                "[log]\nlevel = \"info\"\n[token]\n[log]",
                "4:",
                "a section of this name is written already",
            ),
            (
                "[[caller]]\nname = \"a\"\n[caller]",
                "3:",
                "a section of this name is written already",
            ),
            (
                "[listen]\nhosts = [\"a\"\n[log]",
                "3:",
                "a list above is not closed",
            ),
            (
                "[log] # one\nlevel = \"info\"\n[log] # two",
                "3:",
                "a section of this name is written already",
            ),
            (
                "[listen]\naddress = \"a\"\n[admin] # note\naddress = 127.0.0.1:8091",
                "4:",
                "a string without quotes",
            ),
            (
                "log.level = \"info\"\n[log]\nformat = \"text\"",
                "2:",
                "this name is already used for a key",
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
