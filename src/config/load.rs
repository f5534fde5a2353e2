//! Loading of the configuration: each value comes from `--set`, else the environment, else the
//! file, else the default.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, ConfigErrors, MissingSecret, ValueSource};
use super::keys::keys;
use super::sections::admin;
use super::source::effective::Effective;
use super::source::findings::Findings;
use super::source::layers::Layers;
use super::source::section::Reader;
use super::types::address::Address;
use super::{Config, read, unknown_names};
use crate::secret::Environment;

/// Sources of the values.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file; `None` for the defaults.
    pub file: Option<PathBuf>,
    /// Assignments of `--set`, each `section.key=value`.
    pub set: Vec<String>,
    /// The environment.
    pub env: Environment,
}

/// A configuration with warnings about it.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Values that are valid but probably not intended.
    pub warnings: Vec<String>,
    /// Errors with which the proxy can start, but not work, such as an expired certificate. A restart
    /// or a reload must not fail because of them.
    pub defects: Vec<ConfigError>,
    /// Every key with its effective value.
    pub effective: Vec<Effective>,
}

impl Loaded {
    /// The defects and the warnings, each in one line.
    pub fn remarks(&self) -> impl Iterator<Item = String> {
        let defects = self.defects.iter().map(ConfigError::to_line);
        defects.chain(self.warnings.iter().cloned())
    }
}

/// Loads the configuration from `sources`.
///
/// # Errors
/// Everything that is wrong, each with its source and its fix.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigErrors> {
    ReadValues::read(sources)?.finish()
}

/// Loads the configuration for a process that may not have the secrets of `[token]` and of
/// `listen.tls`: missing ones are not errors.
///
/// # Errors
/// As for [`load`].
pub fn load_for_diagnosis(sources: &Sources) -> Result<(Loaded, Vec<MissingSecret>), ConfigErrors> {
    let read = ReadValues::read(sources)?;
    let missing = read.findings.take_missing();
    Ok((read.finish()?, missing))
}

/// The values of all sources, with what is wrong with them.
struct ReadValues {
    config: Option<Config>,
    effective: Vec<Effective>,
    findings: Findings,
}

impl ReadValues {
    fn read(sources: &Sources) -> Result<Self, ConfigErrors> {
        let text = read_text(sources)?;
        let layers = layers(sources, &text)?;
        let findings = Findings::default();
        check_names(sources, &layers, &findings);
        let reader = Reader::new(&layers, &findings);
        let config = read::read(&reader, &findings, &sources.env);
        let effective = reader.into_effective();
        Ok(ReadValues {
            config,
            effective,
            findings,
        })
    }

    fn finish(self) -> Result<Loaded, ConfigErrors> {
        let (warnings, defects) = self.findings.finish()?;
        let config = self.config.ok_or_else(|| {
            ConfigErrors::from(ConfigError {
                origin: ValueSource::Default,
                key: String::new(),
                message: "the configuration cannot be used".to_owned(),
                fix: String::new(),
            })
        })?;
        Ok(Loaded {
            config,
            warnings,
            defects,
            effective: in_order(self.effective),
        })
    }
}

/// Loads the address of `[admin]` alone; `None` for nowhere.
///
/// # Errors
/// When the file cannot be read, a name is not a key, or the address is invalid.
pub fn admin_address(sources: &Sources) -> Result<Option<Address>, ConfigErrors> {
    let text = read_text(sources)?;
    let layers = layers(sources, &text)?;
    let findings = Findings::default();
    check_names(sources, &layers, &findings);
    let reader = Reader::new(&layers, &findings);
    let address = admin::read_address(&reader.section("admin"));
    findings.finish().map(|_| address)
}

fn check_names(sources: &Sources, layers: &Layers<'_>, findings: &Findings) {
    unknown_names::check_file(layers, findings);
    unknown_names::check_environment(&sources.env, findings);
    unknown_names::check_set(&sources.set, findings);
}

fn layers<'a>(sources: &'a Sources, text: &'a str) -> Result<Layers<'a>, ConfigErrors> {
    let file = sources.file.as_deref().unwrap_or(Path::new(""));
    Layers::parse(file, text, &sources.env, &sources.set)
}

/// The values in the order of the keys, with those of sections that are not written; values of
/// callers last.
fn in_order(effective: Vec<Effective>) -> Vec<Effective> {
    let (mut entries, mut plain): (Vec<_>, Vec<_>) = effective
        .into_iter()
        .partition(|one| one.key.starts_with("caller "));
    let is_plain = |key: &&String| !key.starts_with("caller.");
    let mut all: Vec<_> = keys()
        .iter()
        .filter(is_plain)
        .map(|key| match plain.iter().position(|one| one.key == *key) {
            Some(at) => plain.swap_remove(at),
            None => Effective::unwritten(key.clone()),
        })
        .collect();
    all.append(&mut entries);
    all
}

fn read_text(sources: &Sources) -> Result<String, ConfigErrors> {
    sources.file.as_deref().map_or(Ok(String::new()), read_file)
}

fn read_file(path: &Path) -> Result<String, ConfigErrors> {
    /// No configuration is longer, but a device may be endless.
    const MAX_FILE_BYTES: u64 = 16 << 20;
    let error = |message: String, fix: &str| {
        ConfigErrors::from(ConfigError {
            origin: ValueSource::File(path.to_owned()),
            key: String::new(),
            message,
            fix: fix.to_owned(),
        })
    };
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?
            .take(MAX_FILE_BYTES)
            .read_to_end(&mut bytes)?;
        std::io::Result::Ok(bytes)
    };
    if path.is_dir() {
        let message = "this is a directory, not a file".to_owned();
        return Err(error(
            message,
            "name the file in it, such as proxy.toml, after --config",
        ));
    }
    let bytes = read().map_err(|cause| {
        error(
            format!("cannot read the configuration: {cause}"),
            "check the path after --config and the permissions of the file",
        )
    })?;
    let is_utf_16 = bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF");
    String::from_utf8(bytes).map_err(|_| {
        let encoding = if is_utf_16 {
            "the file is UTF-16 text, not UTF-8"
        } else {
            "the file is not UTF-8 text (it may be Latin-1 or Windows-1252)"
        };
        error(encoding.to_owned(), "save it as UTF-8")
    })
}
