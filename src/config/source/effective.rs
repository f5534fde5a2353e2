//! Effective value of each key with its source.

use std::fmt;

use serde::Serialize;
use toml::Value;

use crate::config::error::ValueSource;
use crate::config::types::caller_key;
use crate::secret;

/// In place of a value that may be a secret.
const HIDDEN: &str = "(not shown)";

/// A key and its value.
#[derive(Clone)]
pub struct Effective {
    /// The key: `section.key` or `caller "name": key`.
    pub key: String,
    /// Where the value was written.
    pub origin: ValueSource,
    /// `None` where nothing is written and there is no default.
    pub(crate) value: Option<Value>,
    pub(crate) is_hidden: bool,
}

impl Effective {
    /// A key of a section that is not written.
    pub(crate) fn unwritten(key: String) -> Self {
        Effective {
            key,
            origin: ValueSource::Default,
            value: None,
            is_hidden: false,
        }
    }

    /// The value as it is written in TOML, without what may be a secret; `None` where there is
    /// none.
    pub fn shown(&self) -> Option<String> {
        Some(match self.visible()? {
            Visible::Value(value) => value.to_string(),
            Visible::Url(url) => format!("\"{url}\""),
            Visible::Hidden => HIDDEN.to_owned(),
        })
    }

    /// The value if it is a text.
    pub(crate) fn text(&self) -> Option<&str> {
        self.value.as_ref()?.as_str()
    }

    /// Returns true if `other` has the same value.
    pub fn has_value_of(&self, other: &Effective) -> bool {
        self.value == other.value
    }

    fn visible(&self) -> Option<Visible<'_>> {
        let value = self.value.as_ref()?;
        let text = value.to_string();
        let holds_secret = |text: &str| secret::holds_key(text) || caller_key::is_in(text);
        // The query of a URL may hold a key.
        let url = value.as_str().and_then(|text| text.split_once('?'));
        Some(match url {
            _ if self.is_hidden => Visible::Hidden,
            Some((url, _)) if url.contains("://") && !holds_secret(url) => {
                Visible::Url(format!("{url}?…"))
            }
            _ if holds_secret(&text) || (text.contains("://") && text.contains('@')) => {
                Visible::Hidden
            }
            _ => Visible::Value(value),
        })
    }
}

/// The part of a value that may be shown.
enum Visible<'a> {
    Value(&'a Value),
    /// A URL without its query.
    Url(String),
    Hidden,
}

impl fmt::Debug for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.shown();
        write!(f, "{} = {value:?} ({})", self.key, self.origin)
    }
}

impl Serialize for Effective {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct JsonEntry<'a> {
            key: &'a str,
            value: Option<serde_json::Value>,
            from: String,
        }
        let value = self.visible().map(|visible| match visible {
            Visible::Value(value) => to_json(value),
            Visible::Url(url) => url.into(),
            Visible::Hidden => HIDDEN.into(),
        });
        JsonEntry {
            key: &self.key,
            value,
            from: self.origin.to_string(),
        }
        .serialize(serializer)
    }
}

/// JSON has no dates: they are strings.
fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Datetime(date) => date.to_string().into(),
        Value::Array(items) => items.iter().map(to_json).collect(),
        other => serde_json::to_value(other).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effective(value: impl Into<Value>, is_hidden: bool) -> Effective {
        Effective {
            key: "token.params".to_owned(),
            origin: ValueSource::Set,
            value: Some(value.into()),
            is_hidden,
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        let mut params = toml::Table::new();
        params.insert("api_key".to_owned(), "hunter2".into());
        params.insert("resource".to_owned(), "https://api.example/x?y=z".into());
        for (one, text) in [
            (effective(params, true), HIDDEN),
            (effective("https://a.example/?key=hunter2", true), HIDDEN),
            (
                effective("https://a.example/?key=hunter2", false),
                "\"https://a.example/?…\"",
            ),
            (effective("-----BEGIN PRIVATE KEY-----", false), HIDDEN),
        ] {
            assert_eq!(one.shown().as_deref(), Some(text));
            let json = serde_json::to_string(&one).unwrap();
            assert!(!format!("{json}{one:?}").contains("hunter2"), "{json}");
        }
    }

    #[test]
    fn json_has_the_types_of_the_values() {
        let date: toml::value::Datetime = "2030-01-31".parse().unwrap();
        for (value, json) in [
            (Value::Datetime(date), "\"2030-01-31\""),
            (Value::Integer(2), "2"),
            (Value::Boolean(true), "true"),
            (Value::Array(vec!["a".into()]), "[\"a\"]"),
        ] {
            let json = format!("\"value\":{json}");
            let found = serde_json::to_string(&effective(value, false)).unwrap();
            assert!(found.contains(&json), "{found}");
        }
    }
}
