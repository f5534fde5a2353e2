//! Reader of the configuration, section by section: it finds the value of each key in the layers,
//! parses it, and collects every error.

use std::cell::RefCell;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Value};

use super::effective::Effective;
use super::findings::Findings;
use super::invalid::Invalid;
use super::layers::{Layers, to_value, value_of_text};
use super::setting::{Kind, Setting};
use super::visible::quote;
use crate::config::error::{Problem, ValueSource};

/// Reads the layers, or, without any, declares which keys there are.
pub(crate) struct Reader<'a> {
    layers: Option<&'a Layers<'a>>,
    findings: &'a Findings,
    /// The path and the form of each key that was declared.
    keys: RefCell<Vec<(String, Kind)>>,
    effective: RefCell<Vec<Effective>>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(layers: &'a Layers<'a>, findings: &'a Findings) -> Self {
        Reader {
            layers: Some(layers),
            ..Reader::declaring(findings)
        }
    }

    /// A reader for which every section exists and no value is written.
    pub(crate) fn declaring(findings: &'a Findings) -> Self {
        Reader {
            layers: None,
            findings,
            keys: RefCell::default(),
            effective: RefCell::default(),
        }
    }

    /// The section `path` at the top level.
    pub(crate) fn section(&self, path: &str) -> Section<'_, 'a> {
        let table = self.layers.map(Layers::root);
        let value = table.and_then(|table| table.get_key_value(path));
        let table = value.and_then(|(name, value)| self.open(path, name.span().start, value));
        Section {
            reader: self,
            path: path.to_owned(),
            label: None,
            table,
        }
    }

    /// The entries of the list of sections `path`.
    pub(crate) fn entries(&self, path: &str) -> Vec<Section<'_, 'a>> {
        let entry = |index: usize, table| Section {
            reader: self,
            path: format!("{path}[{index}]"),
            label: Some(format!("{path} {}", index + 1)),
            table,
        };
        let Some(layers) = self.layers else {
            return vec![entry(0, None)];
        };
        let Some((name, value)) = layers.root().get_key_value(path) else {
            return Vec::new();
        };
        let fix = || format!("begin each {path} with a line [[{path}]] in two brackets");
        let DeValue::Array(items) = value.get_ref() else {
            let message = "this is a list of sections";
            let position = layers.position(name.span().start);
            self.findings.reject_at(path, position, message, fix());
            return Vec::new();
        };
        let mut entries = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let position = layers.position(item.span().start);
            if let DeValue::Table(table) = item.get_ref() {
                let section = entry(index, Some(table));
                self.findings.record_source(&section.path, position);
                entries.push(section);
            } else {
                self.findings
                    .reject_at(path, position, "this is a list of sections", fix());
            }
        }
        entries
    }

    fn open(
        &self,
        path: &str,
        name_start: usize,
        value: &'a Spanned<DeValue<'a>>,
    ) -> Option<&'a DeTable<'a>> {
        let layers = self.layers?;
        match value.get_ref() {
            DeValue::Table(table) => {
                self.findings
                    .record_source(path, layers.position(value.span().start));
                Some(table)
            }
            DeValue::Array(_) => {
                let fix = format!("write it once, as [{path}] in single brackets");
                let position = layers.position(name_start);
                self.findings
                    .reject_at(path, position, "there is one section of this name", fix);
                None
            }
            _ => {
                let fix = format!("write its keys below a line [{path}]");
                let position = layers.position(name_start);
                self.findings.reject_at(
                    path,
                    position,
                    "this is a section, and takes no value",
                    fix,
                );
                None
            }
        }
    }

    /// The keys that were declared.
    pub(crate) fn into_keys(self) -> Vec<(String, Kind)> {
        self.keys.into_inner()
    }

    /// The keys that were read.
    pub(crate) fn into_effective(self) -> Vec<Effective> {
        self.effective.into_inner()
    }
}

/// A section of the configuration.
pub(crate) struct Section<'r, 'a> {
    reader: &'r Reader<'a>,
    path: String,
    /// The name of an entry of a list, in place of its path.
    label: Option<String>,
    table: Option<&'a DeTable<'a>>,
}

impl<'r, 'a> Section<'r, 'a> {
    /// The section `name` with the keys `keys` below this one; `None` where nothing of it is
    /// written.
    pub(crate) fn section(&self, name: &str, keys: &[&str]) -> Option<Section<'r, 'a>> {
        let path = format!("{}.{name}", self.path);
        let value = self.table.and_then(|table| table.get_key_value(name));
        let table =
            value.and_then(|(name, value)| self.reader.open(&path, name.span().start, value));
        if table.is_none()
            && let Some(layers) = self.reader.layers
        {
            let mut paths = keys.iter().map(|key| format!("{path}.{key}"));
            let (_, source) = paths.find_map(|path| layers.outside_file(&path))?;
            self.reader.findings.record_source(&path, source);
        }
        Some(Section {
            reader: self.reader,
            path,
            label: None,
            table,
        })
    }

    /// Calls this entry of a list `caller "name"` in messages.
    pub(crate) fn name_entry(&mut self, kind: &str, name: &str) {
        let label = format!("{kind} {name:?}");
        // The name itself was read under the number of the entry.
        if let Some(one) = self.reader.effective.borrow_mut().last_mut() {
            one.key = format!("{label}: name");
        }
        self.label = Some(label);
    }

    /// The key `name`, or `default` where it is not written or cannot be used.
    pub(crate) fn get<T: Setting>(&self, name: &str, default: T) -> T {
        self.read(name, Some(&default), |_| Ok(()))
            .unwrap_or(default)
    }

    /// As [`get`](Self::get), for values that `check` accepts.
    pub(crate) fn get_checked<T: Setting>(
        &self,
        name: &str,
        default: T,
        check: impl Fn(&T) -> Result<(), Invalid>,
    ) -> T {
        self.read(name, Some(&default), check).unwrap_or(default)
    }

    /// The key `name`, which has no default.
    pub(crate) fn optional<T: Setting>(&self, name: &str) -> Option<T> {
        self.read(name, None, |_| Ok(()))
    }

    /// The key `name`, which must be written; `example` is a value.
    pub(crate) fn required<T: Setting>(&self, name: &str, example: &str) -> Option<T> {
        let found = self.optional(name);
        let path = self.path_of(name);
        let is_reported = || self.reader.findings.has_error(&path);
        if found.is_none() && self.reader.layers.is_some() && !is_reported() {
            self.reject(name, "it is missing", format!("write {name} = {example}"));
        }
        found
    }

    fn read<T: Setting>(
        &self,
        name: &str,
        default: Option<&T>,
        check: impl Fn(&T) -> Result<(), Invalid>,
    ) -> Option<T> {
        let path = self.path_of(name);
        let Some(layers) = self.reader.layers else {
            self.reader.keys.borrow_mut().push((path, T::KIND));
            return None;
        };
        let (value, origin) = match self.written(layers, &path, name, T::KIND) {
            Some((value, origin)) => (Some(value), origin),
            None => (None, ValueSource::Default),
        };
        if value.is_some() {
            self.reader.findings.record_source(&path, origin.clone());
        }
        let (shown, parsed) = match value {
            None => (default.map(Setting::to_toml), None),
            Some(Err(error)) => {
                self.reject_value::<T>(name, &Value::Boolean(false), error, false);
                (None, None)
            }
            Some(Ok(value)) => {
                let accept = |value: &Value| {
                    let parsed = T::parse(value)?;
                    check(&parsed).map(|()| parsed)
                };
                let parsed = accept(&value)
                    .map_err(|error| error.verify(accept))
                    .map_err(|error| self.reject_value::<T>(name, &value, error, true))
                    .ok();
                (Some(value), parsed)
            }
        };
        // Of an entry of a list, only what is written.
        if self.label.is_none() || origin != ValueSource::Default {
            self.reader.effective.borrow_mut().push(Effective {
                key: self.key(name),
                value: shown,
                origin,
                is_hidden: T::NEVER_SHOW,
            });
        }
        parsed
    }

    fn written(
        &self,
        layers: &Layers<'a>,
        path: &str,
        name: &str,
        kind: Kind,
    ) -> Option<(Result<Value, Invalid>, ValueSource)> {
        if self.label.is_none()
            && let Some((text, source)) = layers.outside_file(path)
        {
            return Some((value_of_text(text, kind), source));
        }
        let (key, value) = self.table?.get_key_value(name)?;
        Some((to_value(value), layers.position(key.span().start)))
    }

    fn reject_value<T: Setting>(&self, name: &str, value: &Value, error: Invalid, may_quote: bool) {
        // A secret may be written in place of any value of this section, but not such a short one.
        let is_harmless = |value: &Value| match value {
            Value::String(text) => {
                text.len() <= 6 && text.starts_with(|first: char| first.is_ascii_digit())
            }
            Value::Integer(number) => number.abs() < 1_000_000,
            Value::Boolean(_) => true,
            _ => false,
        };
        let is_secret_section = self.path == "token";
        let mut next = Some(error);
        while let Some(mut error) = next {
            next = error.take_next();
            let (message, fix) = error.describe(value, |value| {
                let may_be_secret = T::NEVER_QUOTE || (is_secret_section && !is_harmless(value));
                quote(value).filter(|_| may_quote && !may_be_secret)
            });
            self.reject(name, message, fix);
        }
    }

    /// Adds an error of the key `name`, or, where that is empty, of this section.
    pub(crate) fn reject(&self, name: &str, message: impl Into<String>, fix: impl Into<String>) {
        let path = self.path_of(name);
        let origin = self.reader.findings.source(&path);
        let key = self.key(name);
        self.reader
            .findings
            .add_error(&path, key, origin, message, fix);
    }

    /// Adds an error of the key `name` with which the proxy can start, but not work.
    pub(crate) fn add_defect(
        &self,
        name: &str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let problem = Problem::new(self.path_of(name), message, fix);
        self.reader.findings.add_defect(problem);
    }

    /// The value of `result`; its problem is added to the errors.
    pub(crate) fn accept<T>(&self, result: Result<T, Problem>) -> Option<T> {
        result
            .map_err(|problem| self.reader.findings.reject(problem))
            .ok()
    }

    /// Adds the problem of a secret.
    pub(crate) fn reject_secret(&self, problem: Problem) {
        self.reader.findings.reject_secret(problem);
    }

    pub(crate) fn warn(&self, warning: impl Into<String>) {
        self.reader.findings.warn(warning);
    }

    pub(crate) fn warn_all(&self, warnings: impl IntoIterator<Item = String>) {
        for warning in warnings {
            self.warn(warning);
        }
    }

    /// Returns true if every key of this section was read without an error: rules between keys can
    /// be checked then.
    pub(crate) fn is_sound(&self) -> bool {
        self.reader.layers.is_some() && !self.reader.findings.has_error(&self.path)
    }

    /// Returns true if the key or section `path` has an error: a rule that reads it cannot be
    /// checked.
    pub(crate) fn is_broken(&self, path: &str) -> bool {
        self.reader.findings.has_error(path)
    }

    pub(crate) fn is_written(&self, name: &str) -> bool {
        self.reader.findings.is_written(&self.path_of(name))
    }

    fn path_of(&self, name: &str) -> String {
        match name {
            "" => self.path.clone(),
            name => format!("{}.{name}", self.path),
        }
    }

    /// The key `name` in messages.
    fn key(&self, name: &str) -> String {
        match &self.label {
            Some(label) if name.is_empty() => label.clone(),
            Some(label) => format!("{label}: {name}"),
            None => self.path_of(name),
        }
    }
}
