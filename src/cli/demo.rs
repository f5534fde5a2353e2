//! `gbg-proxy demo`: wip
use super::Failure;
use clap::Args;
/// wip
#[derive(Debug, Args)]
pub(super) struct Demo {}
impl Demo {
    pub(super) fn run(self) -> Result<(), Failure> {
        Ok(())
    }
}
