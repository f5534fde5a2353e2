//! The values of all sources in one table, and where each of them was written.

use std::collections::HashMap;
use std::path::Path;

use serde::de::{Deserialize, DeserializeOwned};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{LIST, is_section, keys, nearest, pattern, unknown};
use super::manual;
use super::resolved::{Effective, effective};
use super::serde_message::{quotes_long_value, without_value};
use super::variable::{ENV_PREFIX, is_service_link, variable};
use crate::config::error::{ConfigError, Problem, ValueSource};
use crate::config::sections::caller::parse_caller_name;
use crate::config::types::caller_key;
use crate::secret::Environment;

/// The message in place of one that may hold a secret.
const NOT_SHOWN: &str = "this value cannot be used (it is not shown: it may be a secret)";

/// A key is named by its path: `token.scope`, or, of the second caller, `caller[1].rate`.
pub(crate) struct Document<'a> {
    file: &'a Path,
    text: &'a str,
    root: Spanned<DeTable<'a>>,
    origins: HashMap<String, ValueSource>,
    /// What `--set` and the environment say, as it was written.
    written: HashMap<String, &'a str>,
}

impl<'a> Document<'a> {
    pub(crate) fn parse(file: &'a Path, text: &'a str) -> Result<Self, ConfigError> {
        let root = DeTable::parse(text).map_err(|error| ConfigError {
            origin: ValueSource::place(file, text, error.span().map_or(0, |span| span.start)),
            key: String::new(),
            message: format!("this is no TOML: {}", error.message()),
            fix: "see https://toml.io; texts stand in double quotes".to_owned(),
        })?;
        let mut document = Document {
            file,
            text,
            root,
            origins: HashMap::new(),
            written: HashMap::new(),
        };
        document.index()?;
        Ok(document)
    }

    /// Notes the place of every key, and refuses those that do not exist.
    fn index(&mut self) -> Result<(), ConfigError> {
        let mut origins = HashMap::new();
        let mut tables = vec![(String::new(), self.root.get_ref())];
        while let Some((section, table)) = tables.pop() {
            for (name, value) in table {
                let path = path_of(&section, name.get_ref());
                let origin = self.place(name.span().start);
                let below = tables_at(&path, value)
                    .map_err(|problem| self.error(problem, origin.clone()))?;
                for (path, start, table) in below {
                    origins.insert(path.clone(), self.place(start));
                    tables.push((path, table));
                }
                origins.insert(path, origin);
            }
        }
        self.origins = origins;
        Ok(())
    }

    /// Takes `GBG_PROXY_SECTION_KEY` over what the file says.
    pub(crate) fn take_environment(
        &mut self,
        env: &'a Environment,
        warnings: &mut Vec<String>,
    ) -> Result<(), ConfigError> {
        let keys: HashMap<String, String> = keys()
            .into_iter()
            .map(|key| (variable(&key), key))
            .collect();
        for (name, value) in env.range(ENV_PREFIX.to_owned()..) {
            let Some(rest) = name.strip_prefix(ENV_PREFIX) else {
                break;
            };
            let origin = ValueSource::Env(name.clone());
            // From a file of variables with other line ends, or from `$(cat …)`.
            let value = value.trim_end_matches(['\r', '\n']);
            match keys.get(name) {
                Some(key) if is_of_caller(key) => {
                    return Err(self.error(callers_stand_in_the_file(), origin));
                }
                Some(key) => self.put(key, value, origin),
                None if is_service_link(name, value) => {}
                None if names_a_caller(rest) => {
                    return Err(self.error(callers_stand_in_the_file(), origin));
                }
                None => {
                    let near = nearest(name, keys.keys().map(String::as_str));
                    let hint = near
                        .map(|near| format!("; did you mean {near}?"))
                        .unwrap_or_default();
                    warnings.push(format!(
                        "the environment variable {name} is no key and is ignored{hint}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Takes `section.key=value` over all else.
    pub(crate) fn take_set(&mut self, assignment: &'a str) -> Result<(), ConfigError> {
        let Some((key, value)) = assignment.split_once('=') else {
            let fix = "write --set section.key=value, such as --set log.level=debug";
            return Err(self.error(Problem::new("", "there is no \"=\"", fix), ValueSource::Set));
        };
        let key = key.trim();
        if is_of_caller(key) {
            return Err(self.error(callers_stand_in_the_file(), ValueSource::Set));
        }
        if !keys().iter().any(|known| known == key) {
            return Err(self.error(unknown(key), ValueSource::Set));
        }
        self.put(key, value.trim(), ValueSource::Set);
        Ok(())
    }

    /// Puts `text` at `key`: as the TOML value that it is, else as a plain text.
    fn put(&mut self, key: &str, text: &'a str, origin: ValueSource) {
        let value = match DeValue::parse(text) {
            Ok(value) => value.into_inner(),
            Err(_) => DeValue::String(text.into()),
        };
        self.insert(key, value);
        self.origins.insert(key.to_owned(), origin);
        self.written.insert(key.to_owned(), text);
    }

    fn insert(&mut self, key: &str, value: DeValue<'a>) {
        let mut names: Vec<&str> = key.split('.').collect();
        let Some(last) = names.pop() else { return };
        let mut table = self.root.get_mut();
        for name in names {
            let entry = table
                .entry(Spanned::new(0..0, name.to_owned().into()))
                .or_insert_with(|| Spanned::new(0..0, DeValue::Table(DeTable::new())));
            match entry.get_mut() {
                DeValue::Table(inner) => table = inner,
                // `index` lets only tables stand where a section is expected.
                _ => return,
            }
        }
        table.insert(
            Spanned::new(0..0, last.to_owned().into()),
            Spanned::new(0..0, value),
        );
    }

    /// The sections as types. A value from `--set` or the environment that its key does not take as
    /// TOML is tried as a text, so that `--set token.client_id=12345` needs no quotes.
    pub(crate) fn deserialize<T: DeserializeOwned>(&mut self) -> Result<T, ConfigError> {
        let mut first: HashMap<String, String> = HashMap::new();
        loop {
            let deserializer = toml::Deserializer::from(self.root.clone());
            let error = match serde_path_to_error::deserialize(deserializer) {
                Ok(sections) => return Ok(sections),
                Err(error) => error,
            };
            let key = key_of(&error.path().to_string()).to_owned();
            let mut message = error.inner().message().trim_end().to_owned();
            if let Some(text) = self.written.remove(&key) {
                self.insert(&key, DeValue::String(text.into()));
                first.insert(key, message);
                continue;
            }
            if message.starts_with("invalid type: string") {
                // The text was no better.
                message = first.remove(&key).unwrap_or(message);
            }
            let is_pem = message.contains("-----") || message.contains(char::is_control);
            if caller_key::may_be_in(&message) || key.starts_with("token.params") || is_pem {
                message = NOT_SHOWN.to_owned();
            } else if key.starts_with("token.") || quotes_long_value(&message) {
                message = without_value(&message);
            }
            let missing = message
                .strip_prefix("missing field `")
                .and_then(|rest| rest.strip_suffix('`'));
            let known = pattern(&key);
            let explained = missing.and_then(|name| manual::of(&format!("{known}.{name}")));
            let fix = explained
                .or_else(|| manual::of(&known))
                .unwrap_or_else(|| "write a section".to_owned());
            return Err(self.locate(Problem::new(key, message, fix)));
        }
    }

    /// Every key with its effective value.
    ///
    /// # Errors
    /// None that [`deserialize`](Self::deserialize) does not find first.
    pub(crate) fn effective(&self) -> Result<Vec<Effective>, ConfigError> {
        let root = toml::Table::deserialize(toml::Deserializer::from(self.root.clone()));
        let root = root.map_err(|error| {
            self.error(
                Problem::new("", error.message().to_owned(), ""),
                ValueSource::Default,
            )
        })?;
        Ok(effective(
            &root,
            |path| self.origin(path),
            |path| self.called(path),
        ))
    }

    /// Where `key` was written, or what is below it, if it is a section.
    fn origin(&self, key: &str) -> ValueSource {
        let below = format!("{key}.");
        let found = self.origins.get(key).or_else(|| {
            self.origins
                .iter()
                .find(|(path, _)| path.starts_with(&below))
                .map(|(_, origin)| origin)
        });
        found.cloned().unwrap_or(ValueSource::Default)
    }

    fn place(&self, offset: usize) -> ValueSource {
        ValueSource::place(self.file, self.text, offset)
    }

    /// `key` as a person calls it: a caller by its name, if it has one that can be shown, else by
    /// its number.
    fn called(&self, key: &str) -> String {
        let parts = key
            .strip_prefix(LIST)
            .and_then(|rest| rest.strip_prefix('[')?.split_once(']'));
        let Some((index, rest)) =
            parts.and_then(|(index, rest)| Some((index.parse::<usize>().ok()?, rest)))
        else {
            return key.to_owned();
        };
        let callers = self
            .root
            .get_ref()
            .get(LIST)
            .and_then(|callers| callers.get_ref().as_array());
        let caller = callers.and_then(|callers| callers.get(index)?.get_ref().as_table());
        let name = caller.and_then(|caller| caller.get("name")?.get_ref().as_str());
        let caller = match name.map(parse_caller_name) {
            Some(Ok(name)) => format!("{LIST} {name:?}"),
            _ => format!("{LIST} {}", index + 1),
        };
        match rest.strip_prefix('.') {
            Some(name) => format!("{caller}: {name}"),
            None => caller,
        }
    }

    /// `problem` with the place of its key.
    pub(crate) fn locate(&self, problem: Problem) -> ConfigError {
        let origin = self.origin(&problem.key);
        self.error(problem, origin)
    }

    /// `problem` without a key that somebody wrote in place of a name or a value.
    fn error(&self, problem: Problem, origin: ValueSource) -> ConfigError {
        let Problem { key, message, fix } = problem;
        let shown = |text: String| Some(text).filter(|text| !caller_key::is_secret(text));
        ConfigError {
            origin,
            message: shown(message)
                .filter(|_| !caller_key::is_secret(&key))
                .unwrap_or_else(|| NOT_SHOWN.to_owned()),
            key: shown(self.called(&key)).unwrap_or_default(),
            fix: shown(fix).unwrap_or_default(),
        }
    }
}

/// The path of what is called `name` in `section`.
fn path_of(section: &str, name: &str) -> String {
    // "token.scope" in quotes is one name with a dot, which is not a known key.
    let name = if name.contains(['.', '[']) {
        format!("{name:?}")
    } else {
        name.to_owned()
    };
    if section.is_empty() {
        name
    } else {
        format!("{section}.{name}")
    }
}

/// The tables that are `value`, which stands at `path`: one of a section, those of the callers,
/// none of a key. Each with its path and where its values begin.
fn tables_at<'t, 'a>(
    path: &str,
    value: &'t Spanned<DeValue<'a>>,
) -> Result<Vec<(String, usize, &'t DeTable<'a>)>, Problem> {
    const BRACKETS: &str =
        "begin each caller with a line [[caller]], in two brackets, and its keys below";
    let caller = |(index, value): (usize, &'t Spanned<DeValue<'a>>)| {
        let path = format!("{LIST}[{index}]");
        match value.get_ref() {
            DeValue::Table(table) => Ok((path, value.span().start, table)),
            _ => Err(Problem::new(path, "this is no caller", BRACKETS)),
        }
    };
    let pattern = pattern(path);
    match value.get_ref() {
        DeValue::Array(callers) if path == LIST => callers.iter().enumerate().map(caller).collect(),
        _ if path == LIST => Err(Problem::new(LIST, "there may be several callers", BRACKETS)),
        DeValue::Table(table) if is_section(&pattern) => {
            Ok(vec![(path.to_owned(), value.span().start, table)])
        }
        _ if keys().contains(&pattern) => Ok(Vec::new()),
        _ => Err(unknown(path)),
    }
}

/// Whether `key` is of a caller: `caller.rate`, `caller[0].rate`, or all of them.
fn is_of_caller(key: &str) -> bool {
    key.strip_prefix(LIST)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Whether a variable is meant for a key of some caller: `CALLER`, `CALLER_0_NAME`.
fn names_a_caller(variable: &str) -> bool {
    let rest = variable
        .strip_prefix("CALLER")
        .map(|rest| rest.trim_start_matches('_'));
    rest.is_some_and(|rest| {
        rest.is_empty() || rest.starts_with(|first: char| first.is_ascii_digit())
    })
}

fn callers_stand_in_the_file() -> Problem {
    Problem::new(
        LIST,
        "callers stand in the file alone, so that it says all about who may call",
        "write [[caller]] in the file that --config names; the SHA-256 of a key is no secret, and may stand there",
    )
}

/// The key in serde's path of a value: `upstream.allow` of `upstream.allow[1]`, `caller[0].allow`
/// of `caller[0].allow[1]`.
fn key_of(path: &str) -> &str {
    let caller = path
        .strip_prefix(LIST)
        .filter(|rest| rest.starts_with('['))
        .and_then(|rest| rest.find(']'));
    let start = caller.map_or(0, |end| LIST.len() + end + 1);
    let end = path[start..]
        .find('[')
        .map_or(path.len(), |end| start + end);
    &path[..end]
}
