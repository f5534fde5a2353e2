//! Layers of the configuration: `--set` before the environment before the file.

use std::path::Path;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Value};

use super::setting::{Invalid, Kind};
use super::syntax;
use super::variable::variable;
use crate::config::error::{ConfigErrors, ValueSource};
use crate::secret::Environment;

/// Everything that is written, unparsed.
pub(crate) struct Layers<'a> {
    file: &'a Path,
    text: &'a str,
    root: DeTable<'a>,
    env: &'a Environment,
    set: Vec<(&'a str, &'a str)>,
}

impl<'a> Layers<'a> {
    /// Parses `text`, the content of `file`, as TOML.
    pub(crate) fn parse(
        file: &'a Path,
        text: &'a str,
        env: &'a Environment,
        set: &'a [String],
    ) -> Result<Self, ConfigErrors> {
        let root = DeTable::parse(text).map_err(|error| syntax::diagnose(file, text, &error))?;
        let assignment = |set: &'a String| set.split_once('=');
        let assignments = set.iter().filter_map(assignment);
        Ok(Layers {
            file,
            text,
            root: root.into_inner(),
            env,
            set: assignments
                .map(|(key, value)| (key.trim(), value.trim()))
                .collect(),
        })
    }

    pub(crate) fn root(&self) -> &DeTable<'a> {
        &self.root
    }

    pub(crate) fn position(&self, offset: usize) -> ValueSource {
        ValueSource::position(self.file, self.text, offset)
    }

    /// The text that `--set` or the environment has for the key `path`.
    pub(crate) fn outside_file(&self, path: &str) -> Option<(&str, ValueSource)> {
        // The last one wins, as in a shell.
        if let Some((_, text)) = self.set.iter().rev().find(|(key, _)| *key == path) {
            return Some((text, ValueSource::Set));
        }
        let name = variable(path);
        // From a file of variables with other line ends, or from `$(cat …)`.
        let text = self.env.get(&name)?.trim_end_matches(['\r', '\n']);
        (!text.is_empty()).then_some((text, ValueSource::Env(name)))
    }

    /// The source of a key of the section `path` outside of the file.
    pub(crate) fn section_outside_file(&self, path: &str) -> Option<ValueSource> {
        let begin = format!("{path}.");
        if self.set.iter().any(|(key, _)| key.starts_with(&begin)) {
            return Some(ValueSource::Set);
        }
        let begin = variable(&begin);
        let (name, _) = self
            .env
            .range(begin.clone()..)
            .take_while(|(name, _)| name.starts_with(&begin))
            .find(|(_, value)| !value.trim().is_empty())?;
        Some(ValueSource::Env(name.clone()))
    }
}

/// The value that `text` of the environment or of `--set` means for a key of the form `kind`: a
/// text needs no quotes there, and a list no brackets.
pub(crate) fn value_of_text(text: &str, kind: Kind) -> Result<Value, Invalid> {
    let parsed = DeValue::parse(text)
        .ok()
        .map(|value| to_value(&value))
        .transpose()?;
    Ok(match (kind, parsed) {
        (_, Some(quoted @ Value::String(_))) => quoted,
        (kind, Some(value)) if !kind.is_text() => match (kind, value) {
            (Kind::List(_), value @ Value::Array(_)) => value,
            (Kind::List(item), _) => list_of_text(text, *item)?,
            (_, value) => value,
        },
        (Kind::List(item), None) if !text.starts_with('[') => list_of_text(text, *item)?,
        _ => Value::String(text.to_owned()),
    })
}

fn list_of_text(text: &str, item: Kind) -> Result<Value, Invalid> {
    let items = text.split(',').map(|part| value_of_text(part.trim(), item));
    items.collect::<Result<_, _>>().map(Value::Array)
}

pub(crate) fn to_value(value: &Spanned<DeValue<'_>>) -> Result<Value, Invalid> {
    let too_large = || Invalid::new("number", "it is too large", "write a smaller number");
    Ok(match value.get_ref() {
        DeValue::String(text) => Value::String(text.clone().into_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(Value::Integer)
            .map_err(|_| too_large())?,
        DeValue::Float(number) => Value::Float(number.as_str().parse().map_err(|_| too_large())?),
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Datetime(value) => Value::Datetime(*value),
        DeValue::Array(items) => {
            Value::Array(items.iter().map(to_value).collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => {
            let entries = table
                .iter()
                .map(|(name, value)| Ok((name.get_ref().to_string(), to_value(value)?)));
            Value::Table(entries.collect::<Result<_, _>>()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_outside_the_file_needs_no_quotes() {
        let list = Kind::List(&Kind::Text);
        for (text, kind, value) in [
            ("12345", Kind::Text, "\"12345\""),
            ("\"12345\"", Kind::Text, "\"12345\""),
            ("true", Kind::Text, "\"true\""),
            ("12345", Kind::Number, "12345"),
            ("many", Kind::Number, "\"many\""),
            ("[\"a\", \"b\"]", list, "[\"a\", \"b\"]"),
            ("a, b", list, "[\"a\", \"b\"]"),
            ("/a/", list, "[\"/a/\"]"),
            ("401,403", Kind::List(&Kind::Number), "[401, 403]"),
            ("401", Kind::List(&Kind::Number), "[401]"),
            ("[]", list, "[]"),
            ("[a", list, "\"[a\""),
            ("{ a = \"b\" }", Kind::Table, "{ a = \"b\" }"),
        ] {
            let found = value_of_text(text, kind).unwrap().to_string();
            assert_eq!(found, value, "{text}");
        }
    }
}
