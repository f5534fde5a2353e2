//! `gbg-proxy sandbox`: wip
use super::Failure;
use clap::Args;
/// wip
#[derive(Debug, Args)]
pub(super) struct SandboxCommand {}
impl SandboxCommand {
    pub(super) fn run(self) -> Result<(), Failure> {
        Ok(())
    }
}
