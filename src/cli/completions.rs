//! `gbg-proxy completions`: for a shell.

use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::{Arguments, Failure};

/// Print completions for a shell
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  gbg-proxy completions bash > /etc/bash_completion.d/gbg-proxy
  gbg-proxy completions zsh > ~/.zfunc/_gbg-proxy")]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut text = Vec::new();
        generate(
            self.shell,
            &mut Arguments::command(),
            "gbg-proxy",
            &mut text,
        );
        std::io::stdout()
            .write_all(&text)
            .map_err(|error| Failure::failed(&error))
    }
}
