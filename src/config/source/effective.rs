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
        match self.visible()? {
            Ok(value) => Some(value.to_string()),
            Err(hidden) => Some(hidden),
        }
    }

    /// Returns true if `other` has the same value.
    pub fn has_value_of(&self, other: &Effective) -> bool {
        self.value == other.value
    }

    /// The value, or a text in place of it.
    fn visible(&self) -> Option<Result<&Value, String>> {
        let value = self.value.as_ref()?;
        let text = value.to_string();
        let holds_secret = |text: &str| secret::holds_key(text) || caller_key::is_in(text);
        // The query of a URL may hold a key.
        let query = text
            .split_once('?')
            .filter(|(url, _)| url.contains("://") && !holds_secret(url));
        Some(match query {
            Some((url, _)) => Err(format!("{url}?…\"")),
            None if self.is_hidden || holds_secret(&text) => Err(HIDDEN.to_owned()),
            None => Ok(value),
        })
    }
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
        #[serde(untagged)]
        enum Shown<'a> {
            Value(&'a Value),
            Text(String),
        }
        #[derive(Serialize)]
        struct JsonEntry<'a> {
            key: &'a str,
            value: Option<Shown<'a>>,
            from: String,
        }
        let value = self.visible().map(|shown| match shown {
            Ok(value) => Shown::Value(value),
            Err(text) => Shown::Text(text),
        });
        JsonEntry {
            key: &self.key,
            value,
            from: self.origin.to_string(),
        }
        .serialize(serializer)
    }
}
