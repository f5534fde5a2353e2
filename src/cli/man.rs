//! `gbg-proxy man`: the manual page.

use std::io::Write;

use clap::{Args, CommandFactory};

use super::{Arguments, Failure};

/// Print the manual page
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  gbg-proxy man > /usr/local/share/man/man1/gbg-proxy.1")]
pub(super) struct Man {}

impl Man {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut text = Vec::new();
        let rendered = clap_mangen::Man::new(Arguments::command()).render(&mut text);
        let written = rendered.and_then(|()| std::io::stdout().write_all(&text));
        written.map_err(|error| Failure::failed(&error))
    }
}
