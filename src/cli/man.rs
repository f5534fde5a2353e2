//! `gbg-proxy man`: prints the manual page.

use clap::{Args, Command};

use super::error::CommandError;
use super::output::print;

/// Print the manual page
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  gbg-proxy man > /usr/local/share/man/man1/gbg-proxy.1")]
pub(super) struct Man {}

impl Man {
    pub(super) fn run(self, gbg_proxy: Command) -> Result<(), CommandError> {
        let mut text = Vec::new();
        clap_mangen::Man::new(gbg_proxy).render(&mut text)?;
        print(text)
    }
}
