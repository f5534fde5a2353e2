//! `gbg-proxy check`: checks a configuration, and prints its effective values.

use clap::Args;

use super::config_arguments::ConfigArguments;
use super::error::CommandError;
use super::output::print;
use crate::config::{CallerConfig, Config, Effective, Loaded};

/// Check a configuration without running it
///
/// Reads the file, the environment and the secrets as `run` would. Exit code 0 if `run` could use
/// them, 64 and the fix if not. Nothing is sent anywhere.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  gbg-proxy check
  gbg-proxy check --config /etc/gbg-proxy/proxy.toml
  gbg-proxy check --set upstream.region=us
  gbg-proxy check --all            every key with its effective value and source
  gbg-proxy check --json           every key as JSON, for scripts")]
pub(super) struct Check {
    #[command(flatten)]
    config: ConfigArguments,
    /// Show every key with its effective value and source
    #[arg(long)]
    all: bool,
    /// Print every key as JSON
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let (
            Loaded {
                config,
                warnings,
                effective,
            },
            file,
        ) = self.config.load()?;
        if self.json {
            let all = serde_json::json!({ "file": file, "warnings": warnings, "keys": effective });
            return print(format!("{all:#}\n"));
        }
        let mut text = String::new();
        for warning in warnings {
            text += &format!("warning: {warning}\n");
        }
        let allow: Vec<_> = config
            .forward
            .allow
            .iter()
            .map(|prefix| prefix.as_str())
            .collect();
        text += &format!(
            "the configuration is good: {}\n  listens on      {}\n  forwards        {} to {}\n  token from      {}\n  lets in         {}\n",
            file,
            config.listen.address,
            allow.join(" "),
            config.upstream.origin,
            config.token.endpoint,
            callers(&config),
        );
        let way = match (config.upstream.egress, config.token.egress) {
            (Some(egress), Some(_)) => Some((egress, "")),
            (Some(egress), None) => Some((egress, " (the API alone)")),
            (None, Some(egress)) => Some((egress, " (the token endpoint alone)")),
            (None, None) => None,
        };
        if let Some((egress, whose)) = way {
            text += &format!("  by way of       {}{whose}\n", egress.origin);
        }
        if self.all {
            text += &table(&effective);
        }
        print(&text)
    }
}

/// Returns a line for each key.
fn table(effective: &[Effective]) -> String {
    let line = |one: &Effective| {
        let value = one.shown().unwrap_or_else(|| "-".to_owned());
        format!("  {:<28} {value:<44} {}\n", one.key, one.origin)
    };
    effective.iter().map(line).collect()
}

/// Lists the callers, and the ways in which each authenticates.
fn callers(config: &Config) -> String {
    let described = |caller: &CallerConfig| {
        let ways = [
            (!caller.keys.is_empty()).then_some("key"),
            caller.certificate.as_ref().map(|_| "certificate"),
            caller.uid.map(|_| "uid"),
        ];
        let ways: Vec<_> = ways.into_iter().flatten().collect();
        format!("{} ({})", caller.name, ways.join(", "))
    };
    match config.callers.as_slice() {
        [] => format!("everybody who reaches {}", config.listen.address),
        callers => callers.iter().map(described).collect::<Vec<_>>().join(", "),
    }
}
