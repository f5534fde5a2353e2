//! `gbg-proxy check`: validates a configuration and prints its main values; with `--all`, every key
//! with its effective value and source.

use clap::Args;
use http::{HeaderName, Method};
use humantime::format_rfc3339_seconds;
use serde_json::{Value, json};

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
            for Row { name, value, .. } in summary {
                object[name.replace(' ', "_")] = value;
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
        for Row { name, lines, .. } in summary {
            let names = std::iter::once(name).chain(std::iter::repeat(""));
            for (name, line) in names.zip(lines) {
                text += &format!("  {name:<15} {line}\n");
            }
        }
        print(text + &table(&keys.unwrap_or_default()))
    }
}

/// A value of the summary.
struct Row {
    name: &'static str,
    /// For scripts.
    value: Value,
    /// For people.
    lines: Vec<String>,
}

impl Row {
    fn text(name: &'static str, text: impl ToString) -> Self {
        let text = text.to_string();
        Row {
            name,
            value: json!(text),
            lines: vec![text],
        }
    }
}

/// Returns the values that an operator compares first.
fn summarize(config: &Config) -> Vec<Row> {
    let allow: Vec<_> = config
        .forward
        .allow
        .iter()
        .map(PathPrefix::as_str)
        .collect();
    let listen = &config.listen;
    let tls = if listen.tls.is_some() { " (TLS)" } else { "" };
    let admin = config.admin.address.as_ref();
    let admin = admin.map_or("off".to_owned(), ToString::to_string);
    let mut rows = vec![
        Row::text("listen", format!("{}{tls}", listen.address)),
        Row::text("admin", admin),
        Row::text("upstream", &config.upstream.origin),
        Row {
            name: "allow",
            value: json!(allow),
            lines: vec![allow.join(" ")],
        },
        Row::text("token endpoint", &config.token.endpoint),
        callers(config),
    ];
    let egress = match (&config.upstream.egress, &config.token.egress) {
        (Some(egress), Some(_)) => Some((egress, "")),
        (Some(egress), None) => Some((egress, " (API only)")),
        (None, Some(egress)) => Some((egress, " (token endpoint only)")),
        (None, None) => None,
    };
    if let Some((egress, scope)) = egress {
        rows.push(Row::text(
            "egress proxy",
            format!("{}{scope}", egress.origin),
        ));
    }
    rows
}

/// Lists the callers, each with what identifies it and what it may do.
fn callers(config: &Config) -> Row {
    let described = config.callers.iter().map(describe_caller);
    let (values, mut lines): (Vec<_>, Vec<_>) = described.unzip();
    if lines.is_empty() {
        lines = vec![format!("anyone who can reach {}", config.listen.address)];
    }
    Row {
        name: "callers",
        value: json!(values),
        lines,
    }
}

fn describe_caller(caller: &CallerConfig) -> (Value, String) {
    let marks = [
        (!caller.keys.is_empty()).then_some("key"),
        caller.certificate.as_ref().map(|_| "certificate"),
        caller.uid.map(|_| "uid"),
    ];
    let marks: Vec<_> = marks.into_iter().flatten().collect();
    let allow = caller.allow.as_ref();
    let allow = allow.map(|allow| allow.iter().map(PathPrefix::as_str).collect::<Vec<_>>());
    let methods = caller.methods.as_ref();
    let methods = methods.map(|methods| methods.iter().map(Method::as_str).collect::<Vec<_>>());
    let denied: Vec<_> = caller.deny_headers.iter().map(HeaderName::as_str).collect();
    let expires = caller
        .expires
        .map(|time| format_rfc3339_seconds(time).to_string());
    let parts = [
        Some(format!("{} ({})", caller.name, marks.join(", "))),
        caller.rate.map(|rate| format!("rate {rate}")),
        caller
            .max_in_flight
            .map(|max| format!("max_in_flight {max}")),
        allow
            .as_ref()
            .map(|allow| format!("allow {}", allow.join(" "))),
        methods
            .as_ref()
            .map(|methods| format!("methods {}", methods.join(" "))),
        (!denied.is_empty()).then(|| format!("deny_headers {}", denied.join(" "))),
        expires.as_ref().map(|time| format!("expires {time}")),
    ];
    let line: Vec<_> = parts.into_iter().flatten().collect();
    let value = json!({
        "name": caller.name,
        "identified_by": marks,
        "rate": caller.rate.map(|rate| rate.to_string()),
        "max_in_flight": caller.max_in_flight,
        "allow": allow,
        "methods": methods,
        "deny_headers": denied,
        "expires": expires,
    });
    (value, line.join("; "))
}

/// Returns a line for each key.
fn table(effective: &[Effective]) -> String {
    let line = |one: &Effective| {
        let value = one.shown().unwrap_or_else(|| "-".to_owned());
        format!("  {:<28} {value:<44} {}\n", one.key, one.origin)
    };
    effective.iter().map(line).collect()
}
