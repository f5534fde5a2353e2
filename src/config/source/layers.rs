//! Layers of the configuration: `--set` before the environment before the file.

use std::path::Path;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Value};

use super::invalid::Invalid;
use super::position::Positions;
use super::setting::Kind;
use super::syntax;
use super::variable::{set_value, variable};
use crate::config::error::{ConfigErrors, ValueSource};
use crate::secret::Environment;

/// Everything that is written, unparsed.
pub(crate) struct Layers<'a> {
    positions: Positions<'a>,
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
        let positions = Positions::new(file, text);
        let root =
            DeTable::parse(text).map_err(|error| syntax::diagnose(file, &positions, &error))?;
        let assignment = |set: &'a String| set.split_once('=');
        let assignments = set.iter().filter_map(assignment);
        Ok(Layers {
            positions,
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
        self.positions.of(offset)
    }

    /// The text that `--set` or the environment has for the key `path`.
    pub(crate) fn outside_file(&self, path: &str) -> Option<(&str, ValueSource)> {
        // The last one wins, as in a shell.
        if let Some((_, text)) = self.set.iter().rev().find(|(key, _)| *key == path) {
            return Some((text, ValueSource::Set));
        }
        let name = variable(path);
        let text = set_value(self.env.get(&name)?)?;
        Some((text, ValueSource::Env(name)))
    }
}

/// The value that `text` of the environment or of `--set` means for a key of the form `kind`: a
/// text needs no quotes there, and a list no brackets.
pub(crate) fn value_of_text(text: &str, kind: Kind) -> Result<Value, Invalid> {
    let parsed = DeValue::parse(text).ok();
    if kind.is_text() {
        let quoted = parsed.as_ref().and_then(|value| value.get_ref().as_str());
        return Ok(Value::String(quoted.unwrap_or(text).to_owned()));
    }
    match (kind, parsed) {
        (Kind::List(_), Some(list)) if list.get_ref().is_array() => to_value(&list),
        (Kind::List(item), _) if !text.starts_with('[') => list_of_text(text, *item),
        (Kind::List(_), _) | (_, None) => Ok(Value::String(text.to_owned())),
        (_, Some(value)) => to_value(&value),
    }
}

fn list_of_text(text: &str, item: Kind) -> Result<Value, Invalid> {
    let parts = text.split(',').map(str::trim);
    let items = parts
        .filter(|part| !part.is_empty())
        .map(|part| value_of_text(part, item));
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
            (
                "12345678901234567890123",
                Kind::Text,
                "\"12345678901234567890123\"",
            ),
            ("1,2", list, "[\"1\", \"2\"]"),
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
