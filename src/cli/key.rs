//! `gbg-proxy key new`: creates a key for a caller, and the lines that configure it.

use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::json;

use super::error::CommandError;
use super::output::print_line;
use crate::config::{key_digest, new_key, parse_caller_name};

const EXAMPLES: &str = "Examples:
  gbg-proxy key new crm
  gbg-proxy key new crm > crm.key  write the key to a file, its [[caller]] to the terminal
  gbg-proxy key new crm --json     name, key and key_sha256, for scripts";

/// Create keys that authenticate callers
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Key {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    New(New),
}

/// Create a key for the caller NAME
///
/// Prints the key to standard output; it is not stored anywhere. Prints its `[[caller]]` section for
/// the configuration file to standard error; this contains only the SHA-256 of the key.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct New {
    /// Name of the caller in the configuration, logs and metrics
    #[arg(value_name = "NAME", value_parser = parse_caller_name)]
    name: String,
    /// Print only a JSON object with name, key and key_sha256, to standard output
    #[arg(long)]
    json: bool,
}

impl Key {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let KeyCommand::New(New { name, json }) = self.command;
        let key = new_key()?;
        let key = key.expose();
        let digest = key_digest(key.as_bytes()).unwrap_or_default();
        let key_sha256: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        if json {
            let object = json!({ "name": name, "key": key, "key_sha256": key_sha256 });
            return print_line(&object.to_string());
        }
        // The key first: its SHA-256 is useless to a user who did not get it.
        print_line(key)?;
        let lines = caller_lines(&name, &key_sha256);
        Ok(std::io::stderr().write_all(lines.as_bytes())?)
    }
}

/// Returns valid TOML, which can be copied whole.
fn caller_lines(name: &str, key_sha256: &str) -> String {
    format!(
        "
# The key of {name} is printed once, to standard output, and not stored. {name} sends it as X-Api-Key, as
# Authorization: Bearer, or as the Basic password. Add these lines to the configuration file:
[[caller]]
name = \"{name}\"
key_sha256 = \"{key_sha256}\"
"
    )
}
