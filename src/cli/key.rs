//! `gbg-proxy key new`: makes a key for a caller, and the lines that configure it.

use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::json;

use super::error::CommandError;
use super::output::print_line;
use crate::config::{key_digest, new_key, parse_caller_name};

const EXAMPLES: &str = "Examples:
  gbg-proxy key new crm
  gbg-proxy key new crm > crm.key  the key into the file, its [[caller]] on the terminal
  gbg-proxy key new crm --json     both for a script: name, key, key_sha256";

/// Make the keys that callers are known by
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

/// Make a key for the caller NAME
///
/// The key goes to standard output, once: it is kept nowhere. What else there is to say goes to
/// standard error, and is the `[[caller]]` of the configuration's file, which holds the key's
/// SHA-256 alone.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct New {
    /// The caller's name in the configuration, in logs and metrics
    #[arg(value_name = "NAME", value_parser = parse_caller_name)]
    name: String,
    /// Print one JSON object with name, key and key_sha256 to standard output, and nothing else
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
# The key of {name} is shown once, on standard output, and kept nowhere. {name} sends it as X-Api-Key, as
# Authorization: Bearer, or as the password of Basic. These lines in the configuration's file let it in:
[[caller]]
name = \"{name}\"
key_sha256 = \"{key_sha256}\"
"
    )
}
