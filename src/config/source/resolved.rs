//! Effective value of each key with its source, for a person who wonders which source counted.

use serde::Serialize;

use super::keys::{LIST, keys};
use super::manual;
use crate::config::error::ValueSource;
use crate::config::types::caller_key;
use crate::secret;

/// A key and its value.
#[derive(Clone, Debug)]
pub struct Effective {
    /// The key, as a person calls it.
    pub key: String,
    /// Its value as it is written in TOML; `None` where nobody has written one, and the default
    /// depends on other keys.
    pub value: Option<String>,
    /// Where it was written.
    pub origin: ValueSource,
    /// The value itself, where that is not shown: to tell one from another.
    hidden: Option<Hidden>,
}

/// A value that has no `Debug`.
#[derive(Clone, PartialEq, Eq)]
struct Hidden(String);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// Whether `text` holds a private key or a caller's.
fn holds_key(text: &str) -> bool {
    secret::holds_key(text) || caller_key::is_in(text)
}

impl Effective {
    fn new(key: String, path: &str, value: &toml::Value, origin: ValueSource) -> Self {
        let value = value.to_string();
        let is_hidden =
            path == "token.params" || path.ends_with(".key_sha256") || holds_key(&value);
        // A query may hold a key.
        let query = value
            .split_once('?')
            .filter(|_| path.ends_with(".endpoint") || path.ends_with(".base_url"))
            .filter(|(shown, _)| !holds_key(shown));
        if let Some((shown, _)) = query {
            let shown = Some(format!("{shown}?…\""));
            return Effective {
                key,
                value: shown,
                origin,
                hidden: Some(Hidden(value)),
            };
        }
        match is_hidden {
            true => Effective {
                key,
                value: Some(HIDDEN.to_owned()),
                origin,
                hidden: Some(Hidden(value)),
            },
            false => Effective {
                key,
                value: Some(value),
                origin,
                hidden: None,
            },
        }
    }

    /// Distinguishes its value from others.
    pub fn identity(&self) -> impl PartialEq + use<> {
        (self.value.clone(), self.hidden.clone())
    }
}

/// What stands in place of a value that is not shown: secrets stand nowhere in the configuration,
/// but these may be some, or are of no use to anybody.
const HIDDEN: &str = "(not shown)";

/// Every key outside of callers, then those that are written of each caller. `origin` says where a
/// path was written, and `called` what a person calls it.
pub(crate) fn effective(
    root: &toml::Table,
    origin: impl Fn(&str) -> ValueSource,
    called: impl Fn(&str) -> String,
) -> Vec<Effective> {
    let of_callers = format!("{LIST}.");
    let plain = keys()
        .into_iter()
        .filter(|key| !key.starts_with(&of_callers));
    let mut all: Vec<_> = plain
        .map(|key| match find(root, &key) {
            Some(value) => Effective::new(key.clone(), &key, value, origin(&key)),
            None => Effective {
                value: manual::default(&key),
                origin: ValueSource::Default,
                key,
                hidden: None,
            },
        })
        .collect();
    let callers = root
        .get(LIST)
        .and_then(toml::Value::as_array)
        .into_iter()
        .flatten();
    for (index, caller) in callers.enumerate() {
        for (name, value) in caller.as_table().into_iter().flatten() {
            let path = format!("{LIST}[{index}].{name}");
            all.push(Effective::new(called(&path), &path, value, origin(&path)));
        }
    }
    all
}

fn find<'a>(root: &'a toml::Table, key: &str) -> Option<&'a toml::Value> {
    let mut names = key.split('.');
    let first = root.get(names.next()?)?;
    names.try_fold(first, |value, name| value.get(name))
}

impl Serialize for Effective {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            key: &'a str,
            value: Option<&'a str>,
            from: String,
        }
        let from = self.origin.to_string();
        Shown {
            key: &self.key,
            value: self.value.as_deref(),
            from,
        }
        .serialize(serializer)
    }
}
