//! Loading of the configuration. A value comes from `--set`, else the environment, else the file, else
//! the default.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::{ConfigError, Problem, ValueSource};
use super::sections::{admin, caller, listen, token, trace, upstream};
use super::source::layers::Document;
use super::source::resolved::Effective;
use super::types::address::Address;
use super::{Config, Drain, Limits, Log, cross_checks};
use crate::secret::Environment;

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
    /// Every key with its effective value.
    pub effective: Vec<Effective>,
}

/// Reads the configuration from `sources`.
///
/// # Errors
/// The first thing that is wrong, with its place and its fix.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let mut warnings = Vec::new();
    let text = text(sources)?;
    let mut document = document(sources, &text, &mut warnings)?;
    let raw: RawConfig = document.deserialize()?;
    let config = raw
        .resolve(&sources.env, &mut warnings)
        .map_err(|problem| document.locate(problem))?;
    Ok(Loaded {
        config,
        warnings,
        effective: document.effective()?,
    })
}

/// The address of `[admin]` alone; `None` where it is off.
///
/// # Errors
/// As those of [`load`], as far as they are about how it is written.
pub fn admin_address(sources: &Sources) -> Result<Option<Address>, ConfigError> {
    let text = text(sources)?;
    let raw: RawConfig = document(sources, &text, &mut Vec::new())?.deserialize()?;
    Ok(raw.admin.address())
}

fn text(sources: &Sources) -> Result<String, ConfigError> {
    Ok(sources
        .file
        .as_deref()
        .map(read_file)
        .transpose()?
        .unwrap_or_default())
}

fn document<'a>(
    sources: &'a Sources,
    text: &'a str,
    warnings: &mut Vec<String>,
) -> Result<Document<'a>, ConfigError> {
    let mut document = Document::parse(sources.file.as_deref().unwrap_or(Path::new("")), text)?;
    document.take_environment(&sources.env, warnings)?;
    for assignment in &sources.set {
        document.take_set(assignment)?;
    }
    Ok(document)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawConfig {
    listen: listen::RawListen,
    upstream: upstream::RawUpstream,
    token: token::RawToken,
    caller: Vec<caller::RawCaller>,
    limits: Limits,
    admin: admin::RawAdmin,
    log: Log,
    trace: trace::RawTrace,
    drain: Drain,
}

impl RawConfig {
    fn resolve(mut self, env: &Environment, warnings: &mut Vec<String>) -> Result<Config, Problem> {
        let ca_file = self.upstream.ca_file.clone();
        let way_out = self.upstream.way_out(env, warnings)?;
        let callers = listen::CallerSummary {
            is_empty: self.caller.is_empty(),
            has_keys: self.caller.iter().any(caller::RawCaller::has_key),
        };
        let listen = self.listen.resolve(callers, warnings)?;
        let (upstream, forward) = self
            .upstream
            .resolve(listen.header_case, &way_out, warnings)?;
        let config = Config {
            callers: caller::resolve(self.caller, &listen, &forward, warnings)?,
            admin: self.admin.resolve(&listen)?,
            listen,
            upstream,
            forward,
            token: self.token.resolve(ca_file, &way_out, env, warnings)?,
            limits: self.limits,
            log: self.log,
            trace: self.trace.resolve()?,
            drain: self.drain,
        };
        warnings.extend(cross_checks::warnings(&config));
        Ok(config)
    }
}

fn read_file(path: &Path) -> Result<String, ConfigError> {
    /// No configuration is longer; a device without an end is.
    const LONGEST: u64 = 16 << 20;
    let read = || {
        let mut text = String::new();
        File::open(path)?.take(LONGEST).read_to_string(&mut text)?;
        io::Result::Ok(text)
    };
    read().map_err(|error| ConfigError {
        origin: ValueSource::File(path.to_owned()),
        key: String::new(),
        message: format!("cannot read the configuration: {error}"),
        fix: "check the path after --config and the permissions of the file".to_owned(),
    })
}
