//! Command line: one file per command.

mod calls_view;
mod check;
mod completions;
mod config;
mod config_arguments;
mod demo;
mod doctor;
mod error;
mod hardening;
mod http;
mod key;
mod logging;
mod man;
mod open_files;
mod output;
mod reload;
mod run;
mod runtime;
mod sandbox;
mod wait;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use self::error::EXIT_USAGE;

/// Parses the arguments, runs the command and returns its exit code.
pub fn main() -> ExitCode {
    // Before anything else: all that follows may read secrets.
    let unprotected = hardening::protect();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are errors to clap, which go to standard output.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(EXIT_USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let result = match arguments.command {
        Command::Run(command) => command.run(unprotected),
        Command::Demo(command) => command.run(),
        Command::Sandbox(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Config(command) => command.run(),
        Command::Doctor(command) => command.run(),
        Command::Wait(command) => command.run(),
        Command::Completions(command) => command.run(Arguments::command()),
        Command::Man(command) => command.run(Arguments::command()),
        Command::Key(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}

/// An authenticating reverse proxy in front of the GBG GO API.
///
/// It fetches and refreshes the OAuth2 token itself, and sets it on every request that it forwards.
/// Your callers need no GBG credentials: only the proxy's address, and a key that you issue if you
/// want to authenticate them.
#[derive(Debug, Parser)]
#[command(
    name = "gbg-proxy",
    version = env!("GBG_PROXY_VERSION"),
    after_help = "Examples:
  gbg-proxy demo                       see it work with an embedded sandbox
  GBG_CLIENT_ID=… GBG_CLIENT_SECRET=… gbg-proxy run
                                       EU production on http://127.0.0.1:8080
  gbg-proxy config > proxy.toml        write the default configuration, with comments
  gbg-proxy check --config proxy.toml  validate a configuration
  gbg-proxy doctor                     diagnose the connection to GBG GO
  gbg-proxy wait --timeout 10s         wait until the proxy is ready
  gbg-proxy key new crm                create a key for the caller crm"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Demo(demo::Demo),
    Sandbox(sandbox::SandboxCommand),
    Check(check::Check),
    Config(config::PrintConfig),
    Doctor(doctor::Doctor),
    Wait(wait::Wait),
    Completions(completions::Completions),
    Man(man::Man),
    Key(key::Key),
}
