//! What each key comes to, and where that was written: for the person who wonders which of the sources counted.

use serde::Serialize;

use super::error::Origin;
use super::keys::{LIST, keys};
use super::manual;

/// A key and its value.
#[derive(Clone, Debug)]
pub struct Effective {
    /// The key, as a person calls it.
    pub key: String,
    /// Its value as it is written in TOML; `None` where nobody has written one, and the default depends on other keys.
    pub value: Option<String>,
    /// Where it was written.
    pub origin: Origin,
}

/// What stands in place of a value that is not shown.
const HIDDEN: &str = "(not shown)";

/// Every key outside of callers, then those that are written of each caller. `origin` tells where a path was written, and
/// `called` what a person calls it.
pub(super) fn effective(
    root: &toml::Table,
    origin: impl Fn(&str) -> Origin,
    called: impl Fn(&str) -> String,
) -> Vec<Effective> {
    let of_callers = format!("{LIST}.");
    let plain = keys().into_iter().filter(|key| !key.starts_with(&of_callers));
    let mut all: Vec<_> = plain
        .map(|key| match find(root, &key) {
            Some(value) => Effective { value: Some(shown(&key, value)), origin: origin(&key), key },
            None => Effective { value: manual::default(&key), origin: Origin::Default, key },
        })
        .collect();
    let callers = root.get(LIST).and_then(toml::Value::as_array).into_iter().flatten();
    for (index, caller) in callers.enumerate() {
        for (name, value) in caller.as_table().into_iter().flatten() {
            let path = format!("{LIST}[{index}].{name}");
            let value = Some(shown(&path, value));
            all.push(Effective { key: called(&path), value, origin: origin(&path) });
        }
    }
    all
}

fn find<'a>(root: &'a toml::Table, key: &str) -> Option<&'a toml::Value> {
    let mut names = key.split('.');
    let first = root.get(names.next()?)?;
    names.try_fold(first, |value, name| value.get(name))
}

/// Secrets stand nowhere in the configuration; what may be one, or is of no use to anybody, is not shown.
fn shown(key: &str, value: &toml::Value) -> String {
    match key {
        "token.params" => HIDDEN.to_owned(),
        key if key.ends_with(".key_sha256") => HIDDEN.to_owned(),
        _ => value.to_string(),
    }
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
        Shown { key: &self.key, value: self.value.as_deref(), from }.serialize(serializer)
    }
}
