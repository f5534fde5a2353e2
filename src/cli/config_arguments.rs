//! Arguments that name the sources of the configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;

use super::error::{CommandError, with_fix};
use crate::config::{self, Address, ConfigError, Sources, ValueSource};

/// Read if no file is named and it exists.
const DEFAULT_FILE: &str = "proxy.toml";

/// Sources of the configuration: `--set` before the environment (GBG_PROXY_SECTION_KEY) before the
/// file before the defaults.
#[derive(Debug, Args)]
pub(super) struct ConfigArguments {
    /// Configuration file; without it ./proxy.toml if that exists, else the built-in defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set a key, overriding the environment and the file; repeatable
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub(super) set: Vec<String>,
}

impl ConfigArguments {
    /// Loads the configuration, and returns it with a description of its file.
    pub(super) fn load(self) -> Result<(config::Loaded, String), CommandError> {
        load(&self.sources()?)
    }

    /// Returns the address of the admin listener, without reading secrets or certificates.
    pub(super) fn admin_address(self) -> Result<Address, CommandError> {
        let address = config::admin_address(&self.sources()?).map_err(CommandError::Config)?;
        address.ok_or_else(|| {
            CommandError::Usage(with_fix(
                "admin.address is \"off\": there is no admin listener to ask",
                "write an address, such as \"127.0.0.1:8081\"",
            ))
        })
    }

    /// # Errors
    /// When a variable that sets a key is not UTF-8.
    pub(super) fn sources(self) -> Result<Sources, CommandError> {
        let file = self.config.or_else(|| {
            Some(PathBuf::from(DEFAULT_FILE)).filter(|file| file.symlink_metadata().is_ok())
        });
        // In any other value, U+FFFD replaces bytes that are not UTF-8: the secret is then refused
        // rather than taken for unset, and a misspelt key gets its warning.
        let mut env = BTreeMap::new();
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else {
                continue;
            };
            if value.to_str().is_none() && config::is_key_variable(&name) {
                let error = ConfigError {
                    fix: format!("set {name} to UTF-8 text, or unset it"),
                    origin: ValueSource::Env(name),
                    key: String::new(),
                    message: "the value is not UTF-8 text".to_owned(),
                };
                return Err(CommandError::Config(error.into()));
            }
            env.insert(name, value.to_string_lossy().into_owned());
        }
        Ok(Sources {
            file,
            set: self.set,
            env,
        })
    }
}

/// Loads the configuration of `sources`, and returns it with a description of its file.
fn load(sources: &Sources) -> Result<(config::Loaded, String), CommandError> {
    let loaded = config::load(sources).map_err(CommandError::Config)?;
    Ok((loaded, describe_file(sources)))
}

pub(super) fn describe_file(sources: &Sources) -> String {
    let file = sources.file.as_ref();
    file.map_or("built-in defaults".to_owned(), |file| {
        file.display().to_string()
    })
}
