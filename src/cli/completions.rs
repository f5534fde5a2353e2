//! `gbg-proxy completions`: prints the completions of a shell.

use clap::{Args, Command};
use clap_complete::{Shell, generate};

use super::error::CommandError;
use super::output::print;

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  gbg-proxy completions bash > /etc/bash_completion.d/gbg-proxy
  gbg-proxy completions zsh > ~/.zfunc/_gbg-proxy")]
pub(super) struct Completions {
    /// Shell that the script is for
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, mut gbg_proxy: Command) -> Result<(), CommandError> {
        let mut text = Vec::new();
        generate(self.shell, &mut gbg_proxy, "gbg-proxy", &mut text);
        print(text)
    }
}
