//! Where values come from and which of them counts: `--set`, then the environment, then the file, then the default.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Error, Origin, Problem};
use super::keys::{fields, nearest};
use super::{Config, Drain, Limits, Log, listen, manual, token, upstream};
use crate::secret::Environment;

/// What the environment variables of keys begin with: `GBG_PROXY_TOKEN_SCOPE` is `token.scope`.
const ENV_PREFIX: &str = "GBG_PROXY_";

/// Where values may come from.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file; without one the defaults serve.
    pub file: Option<PathBuf>,
    /// Values of `--set`, each `section.key=value`.
    pub set: Vec<String>,
    /// The environment.
    pub env: Environment,
}

/// A configuration, and what is worth saying about it.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is legal, and perhaps not meant.
    pub warnings: Vec<String>,
}

/// Reads the configuration from `sources`.
///
/// # Errors
/// The first thing that is wrong, with its place and its mend.
pub fn load(sources: &Sources) -> Result<Loaded, Error> {
    let text = sources.file.as_deref().map(read_file).transpose()?.unwrap_or_default();
    let mut document = Document::parse(sources.file.as_deref().unwrap_or(Path::new("")), &text)?;
    let mut warnings = Vec::new();
    document.take_environment(&sources.env, &mut warnings)?;
    for assignment in &sources.set {
        document.take_set(assignment)?;
    }
    let raw = document.deserialize()?;
    let config = raw.resolve(&sources.env, &mut warnings).map_err(|problem| document.locate(problem))?;
    Ok(Loaded { config, warnings })
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Raw {
    listen: listen::Raw,
    upstream: upstream::Raw,
    token: token::Raw,
    limits: Limits,
    log: Log,
    drain: Drain,
}

impl Raw {
    fn resolve(mut self, env: &Environment, warnings: &mut Vec<String>) -> Result<Config, Problem> {
        let ca_file = self.upstream.ca_file.clone();
        let way_out = self.upstream.way_out(env)?;
        let listen = self.listen.resolve()?;
        Ok(Config {
            upstream: self.upstream.resolve(
                listen.header_case,
                self.limits.replay_body,
                &way_out,
                warnings,
            )?,
            listen,
            token: self.token.resolve(ca_file, &way_out, env)?,
            limits: self.limits,
            log: self.log,
            drain: self.drain,
        })
    }
}

/// Each section with the names of its keys.
fn sections() -> [(&'static str, &'static [&'static str]); 7] {
    [
        ("listen", fields::<listen::Raw>()),
        ("listen.tls", fields::<listen::RawTls>()),
        ("upstream", fields::<upstream::Raw>()),
        ("token", fields::<token::Raw>()),
        ("limits", fields::<Limits>()),
        ("log", fields::<Log>()),
        ("drain", fields::<Drain>()),
    ]
}

/// Every key, `section.key`.
pub fn keys() -> Vec<String> {
    let is_section = |path: &String| sections().iter().any(|(section, _)| section == path);
    sections()
        .iter()
        .flat_map(|(section, names)| names.iter().map(move |name| format!("{section}.{name}")))
        .filter(|path| !is_section(path))
        .collect()
}

fn read_file(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|error| Error {
        origin: Origin::File(path.to_owned()),
        key: String::new(),
        message: format!("cannot read the configuration: {error}"),
        mend: "check the path after --config and the permissions of the file".to_owned(),
    })
}

/// The values of all sources, and where each came from.
struct Document<'a> {
    file: &'a Path,
    text: &'a str,
    root: Spanned<DeTable<'a>>,
    origins: HashMap<String, Origin>,
    /// What `--set` and the environment say, as it was written.
    written: HashMap<String, &'a str>,
}

impl<'a> Document<'a> {
    fn parse(file: &'a Path, text: &'a str) -> Result<Self, Error> {
        let root = DeTable::parse(text).map_err(|error| Error {
            origin: Origin::place(file, text, error.span().map_or(0, |span| span.start)),
            key: String::new(),
            message: format!("this is no TOML: {}", error.message()),
            mend: "see https://toml.io; texts stand in double quotes".to_owned(),
        })?;
        let mut document = Document { file, text, root, origins: HashMap::new(), written: HashMap::new() };
        document.index()?;
        Ok(document)
    }

    /// Notes the place of every key, and refuses those that do not exist.
    fn index(&mut self) -> Result<(), Error> {
        let mut tables = vec![(String::new(), self.root.get_ref())];
        while let Some((section, table)) = tables.pop() {
            for (name, value) in table {
                let path = if section.is_empty() {
                    name.get_ref().to_string()
                } else {
                    format!("{section}.{}", name.get_ref())
                };
                let origin = Origin::place(self.file, self.text, name.span().start);
                // "token.scope" in quotes is one name with a dot, and none of ours.
                if name.get_ref().contains('.') {
                    return Err(unknown(format!("{section}\"{}\"", name.get_ref()), origin));
                }
                match value.get_ref() {
                    DeValue::Table(inner) if sections().iter().any(|(known, _)| *known == path) => {
                        tables.push((path.clone(), inner));
                    }
                    _ if keys().contains(&path) => {}
                    _ => return Err(unknown(path, origin)),
                }
                self.origins.insert(path, origin);
            }
        }
        Ok(())
    }

    /// Takes `GBG_PROXY_SECTION_KEY` over what the file says.
    fn take_environment(&mut self, env: &'a Environment, warnings: &mut Vec<String>) -> Result<(), Error> {
        let keys: HashMap<String, String> = keys().into_iter().map(|key| (variable(&key), key)).collect();
        for (name, value) in env.range(ENV_PREFIX.to_owned()..) {
            if !name.starts_with(ENV_PREFIX) {
                break;
            }
            match keys.get(name) {
                Some(key) => self.put(key, value, Origin::Env(name.clone())),
                None if is_service_link(name, value) => {}
                None => {
                    let near = nearest(name, keys.keys().map(String::as_str));
                    let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
                    warnings.push(format!("the environment variable {name} is no key and is ignored{hint}"));
                }
            }
        }
        Ok(())
    }

    /// Takes `section.key=value` over all else.
    fn take_set(&mut self, assignment: &'a str) -> Result<(), Error> {
        let Some((key, value)) = assignment.split_once('=') else {
            return Err(Error {
                origin: Origin::Set,
                key: String::new(),
                message: "there is no \"=\"".to_owned(),
                mend: "write --set section.key=value, such as --set log.level=debug".to_owned(),
            });
        };
        let key = key.trim();
        if !keys().iter().any(|known| known == key) {
            return Err(unknown(key.to_owned(), Origin::Set));
        }
        self.put(key, value.trim(), Origin::Set);
        Ok(())
    }

    /// Puts `text` at `key`: as the TOML value that it is, else as a plain text.
    fn put(&mut self, key: &str, text: &'a str, origin: Origin) {
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
        table.insert(Spanned::new(0..0, last.to_owned().into()), Spanned::new(0..0, value));
    }

    /// The sections as types. A value from `--set` or the environment that its key does not take as TOML is tried
    /// as a text, so that `--set token.client_id=12345` needs no quotes.
    fn deserialize(&mut self) -> Result<Raw, Error> {
        let mut first: HashMap<String, String> = HashMap::new();
        loop {
            let deserializer = toml::Deserializer::from(self.root.clone());
            let error = match serde_path_to_error::deserialize(deserializer) {
                Ok(raw) => return Ok(raw),
                Err(error) => error,
            };
            let path = error.path().to_string();
            let key = path.split('[').next().unwrap_or_default().to_owned();
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
            let missing = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
            let explained = missing.and_then(|name| manual::of(&format!("{key}.{name}")));
            let mend = explained.or_else(|| manual::of(&key)).unwrap_or_else(|| "write a section".to_owned());
            return Err(Error { origin: self.origin(&key), key, message, mend });
        }
    }

    /// Where `key` was written, or what is below it, if it is a section.
    fn origin(&self, key: &str) -> Origin {
        let below = format!("{key}.");
        let found = self.origins.get(key).or_else(|| {
            self.origins.iter().find(|(path, _)| path.starts_with(&below)).map(|(_, origin)| origin)
        });
        found.cloned().unwrap_or(Origin::Default)
    }

    fn locate(&self, problem: Problem) -> Error {
        let origin = self.origin(problem.key);
        Error { origin, key: problem.key.to_owned(), message: problem.message, mend: problem.mend }
    }
}

fn unknown(path: String, origin: Origin) -> Error {
    if sections().iter().any(|(section, _)| *section == path) {
        return Error {
            origin,
            mend: format!("write its keys, such as those below [{path}] in proxy.toml"),
            message: "this is a section, and takes no value".to_owned(),
            key: path,
        };
    }
    let known = keys();
    let names = known.iter().map(String::as_str).chain(sections().map(|(section, _)| section));
    let mend = match nearest(&path, names) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("the sections are {}", sections().map(|(section, _)| section).join(", ")),
    };
    Error { origin, key: path, message: "there is no such key".to_owned(), mend }
}

/// The environment variable of `key`.
fn variable(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// Whether Kubernetes made this variable, for a Service whose name begins with `gbg-proxy`.
fn is_service_link(name: &str, value: &str) -> bool {
    ["_SERVICE_HOST", "_SERVICE_PORT", "_TCP", "_UDP"].iter().any(|part| name.contains(part))
        || ["tcp://", "udp://"].iter().any(|scheme| value.starts_with(scheme))
}
