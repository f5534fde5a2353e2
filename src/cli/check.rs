//! `gbg-proxy check`: validates a configuration and prints its main values; with `--all`, every key
//! with its effective value and source.

use clap::Args;
use serde_json::json;

use super::config_arguments::ConfigArguments;
use super::error::CommandError;
use super::output::print;
use crate::config::{CallerConfig, Config, ConfigErrors, Effective, PathPrefix};

/// Validate the configuration without running the proxy
///
/// Reads the file, the environment and the secrets as `run` does; opens no listener and sends
/// nothing. It also rejects what `run` only warns of because it cannot work, such as an expired
/// certificate. Exit code: 0 if the configuration is valid, 64 with every error and its fix if not.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  gbg-proxy check
  gbg-proxy check --config /etc/gbg-proxy/proxy.toml
  gbg-proxy check --set upstream.region=us
  gbg-proxy check --strict         fail on warnings, too: for a pipeline
  gbg-proxy check --all            show every key with its effective value and source
  gbg-proxy check --all --json     the same as JSON, for scripts")]
pub(super) struct Check {
    #[command(flatten)]
    config: ConfigArguments,
    /// Show every key with its effective value and source
    #[arg(long)]
    all: bool,
    /// Reject a configuration that causes warnings
    #[arg(long)]
    strict: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let (loaded, file) = self.config.load()?;
        let warnings = loaded.warnings;
        if !loaded.defects.is_empty() {
            return Err(CommandError::Config(ConfigErrors {
                errors: loaded.defects,
                warnings,
            }));
        }
        if self.strict && !warnings.is_empty() {
            let lines: String = warnings
                .iter()
                .map(|one| format!("\nwarning: {one}"))
                .collect();
            let text = format!("the configuration has warnings, which --strict rejects{lines}");
            return Err(CommandError::Usage(text));
        }
        let keys = self.all.then_some(loaded.effective);
        let summary = summarize(&loaded.config);
        if self.json {
            let mut object = json!({ "file": file, "warnings": warnings });
            for (name, value) in summary {
                object[name.replace(' ', "_")] = value.into();
            }
            if let Some(keys) = keys {
                object["keys"] = json!(keys);
            }
            return print(format!("{object:#}\n"));
        }
        let mut text = String::new();
        for warning in warnings {
            text += &format!("warning: {warning}\n");
        }
        text += &format!("the configuration is valid: {file}\n");
        for (name, value) in summary {
            text += &format!("  {name:<15} {value}\n");
        }
        print(text + &table(&keys.unwrap_or_default()))
    }
}

/// Returns the values that an operator compares first, each with its name.
fn summarize(config: &Config) -> Vec<(&'static str, String)> {
    let allow: Vec<_> = config
        .forward
        .allow
        .iter()
        .map(PathPrefix::as_str)
        .collect();
    let mut summary = vec![
        ("listen", config.listen.address.to_string()),
        ("upstream", config.upstream.origin.to_string()),
        ("allow", allow.join(" ")),
        ("token endpoint", config.token.endpoint.to_string()),
        ("callers", callers(config)),
    ];
    let egress = match (&config.upstream.egress, &config.token.egress) {
        (Some(egress), Some(_)) => Some((egress, "")),
        (Some(egress), None) => Some((egress, " (API only)")),
        (None, Some(egress)) => Some((egress, " (token endpoint only)")),
        (None, None) => None,
    };
    if let Some((egress, scope)) = egress {
        summary.push(("egress proxy", format!("{}{scope}", egress.origin)));
    }
    summary
}

/// Returns a line for each key.
fn table(effective: &[Effective]) -> String {
    let line = |one: &Effective| {
        let value = one.shown().unwrap_or_else(|| "-".to_owned());
        format!("  {:<28} {value:<44} {}\n", one.key, one.origin)
    };
    effective.iter().map(line).collect()
}

/// Lists the callers, each with its authentication methods.
fn callers(config: &Config) -> String {
    let described = |caller: &CallerConfig| {
        let methods = [
            (!caller.keys.is_empty()).then_some("key"),
            caller.certificate.as_ref().map(|_| "certificate"),
            caller.uid.map(|_| "uid"),
        ];
        let methods: Vec<_> = methods.into_iter().flatten().collect();
        format!("{} ({})", caller.name, methods.join(", "))
    };
    match config.callers.as_slice() {
        [] => format!("anyone who can reach {}", config.listen.address),
        callers => callers.iter().map(described).collect::<Vec<_>>().join(", "),
    }
}
