//! `gbg-proxy config`: prints the commented default file, or a JSON Schema of it.

use clap::Args;

use super::error::CommandError;
use super::output::print;
use crate::config;

/// Print the default configuration with a comment for every key
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  gbg-proxy config > proxy.toml
  gbg-proxy config --schema > proxy.schema.json
                                   for editors: write `#:schema ./proxy.schema.json`
                                   in the first line of proxy.toml")]
pub(super) struct PrintConfig {
    /// Print a JSON Schema of the file instead
    #[arg(long)]
    schema: bool,
}

impl PrintConfig {
    pub(super) fn run(self) -> Result<(), CommandError> {
        if self.schema {
            print(format!("{:#}\n", config::schema()))
        } else {
            print(config::DEFAULT_FILE)
        }
    }
}
