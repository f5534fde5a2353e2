//! The commands, one file each, and what they share: the sources of the configuration, and the exit
//! codes.

mod check;
mod completions;
mod demo;
mod doctor;
mod key;
mod man;
mod memory;
mod reload;
mod run;
mod sandbox;
mod wait;

use std::collections::BTreeMap;
use std::future::Future;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tracing::level_filters::LevelFilter;

use crate::app::App;
use crate::app::signals;
use crate::config::{self, Address, Level, LogFormat, Sources};
use crate::error::chain;
use crate::telemetry;

/// The file that is read when none is named and it exists.
const DEFAULT_FILE: &str = "proxy.toml";

/// Wrong usage or configuration: EX_USAGE of sysexits.h.
const USAGE: u8 = 64;

/// Reads the arguments, runs the command, and says how it went.
pub fn main() -> ExitCode {
    // First: from here on secrets are read.
    let unprotected = memory::protect();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version come this way as well; they go to standard output, and are no
            // failure.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let done = match arguments.command {
        Command::Run(command) => command.run(unprotected),
        Command::Demo(command) => command.run(),
        Command::Sandbox(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Doctor(command) => command.run(),
        Command::Wait(command) => command.run(),
        Command::Completions(command) => command.run(),
        Command::Man(command) => command.run(),
        Command::Key(command) => command.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}

/// An authenticating reverse proxy in front of the GBG GO API.
///
/// It gets and refreshes the OAuth2 token itself, and puts it on each request that it forwards:
/// your callers need none of GBG's credentials, only its address, and a key of yours if you want to
/// know who calls.
#[derive(Debug, Parser)]
#[command(
    name = "gbg-proxy",
    version = env!("GBG_PROXY_VERSION"),
    after_help = "Examples:
  gbg-proxy demo                      see it work, on an embedded sandbox
  GBG_CLIENT_ID=… GBG_CLIENT_SECRET=… gbg-proxy run
                                      EU production on http://127.0.0.1:8080
  gbg-proxy check --config proxy.toml say what is wrong with a configuration
  gbg-proxy doctor                    say where the way to GBG GO is broken
  gbg-proxy wait --timeout 10s        until the proxy is ready
  gbg-proxy key new crm               make a key for the caller crm"
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
    Doctor(doctor::Doctor),
    Wait(wait::Wait),
    Completions(completions::Completions),
    Man(man::Man),
    Key(key::Key),
}

/// Where the configuration comes from: `--set`, then the environment (GBG_PROXY_SECTION_KEY), then
/// the file, then the defaults.
#[derive(Debug, Args)]
struct ConfigArguments {
    /// The configuration; without it ./proxy.toml if it exists, else the built-in defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A value that counts more than the file's and the environment's; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

impl ConfigArguments {
    /// The configuration, and the file it came from in words.
    fn load(self) -> Result<(config::Loaded, String), Failure> {
        load(&self.sources()?)
    }

    /// Where the proxy of this configuration tells how it is; neither secrets nor certificates are
    /// looked at for it.
    fn admin_address(self) -> Result<Address, Failure> {
        let address = config::admin_address(&self.sources()?);
        address.map_err(|error| Failure::Usage(error.to_string()))?.ok_or_else(|| {
            Failure::Usage(
                "admin.address is \"off\": there is nobody to ask\n  fix: write an address, such as \"127.0.0.1:8081\""
                    .to_owned(),
            )
        })
    }

    /// The sources of the configuration.
    ///
    /// # Errors
    /// When a variable that sets a key is not UTF-8.
    fn sources(self) -> Result<Sources, Failure> {
        let file = self.config.or_else(|| {
            Some(PathBuf::from(DEFAULT_FILE)).filter(|file| file.symlink_metadata().is_ok())
        });
        // In any other value, U+FFFD replaces what is not UTF-8: a secret with it is refused rather
        // than taken for unset, and a misspelt key is warned of.
        let mut env = BTreeMap::new();
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else {
                continue;
            };
            if value.to_str().is_none() && config::is_key_variable(&name) {
                return Err(Failure::Usage(format!(
                    "the environment variable {name} is not UTF-8 text\n  fix: set {name} to UTF-8 text, or unset it"
                )));
            }
            env.insert(name, value.to_string_lossy().into_owned());
        }
        Ok(Sources {
            file,
            set: self.set,
            env,
        })
    }
}

/// The configuration that `sources` come to, and the file it came from in words.
fn load(sources: &Sources) -> Result<(config::Loaded, String), Failure> {
    let named = sources.file.as_ref();
    let named = named.map_or("built-in defaults".to_owned(), |file| {
        file.display().to_string()
    });
    let loaded = config::load(sources).map_err(|error| Failure::Usage(error.to_string()))?;
    Ok((loaded, named))
}

/// Why a command did not do what it was asked to.
#[derive(Debug)]
enum Failure {
    /// Wrong usage or configuration.
    Usage(String),
    /// Anything else.
    Failed(String),
    /// The command has told it already; the exit code is left to give.
    Told(u8),
}

impl Failure {
    fn failed(error: &(dyn std::error::Error + 'static)) -> Self {
        Failure::Failed(chain(error))
    }

    fn tell(self) -> ExitCode {
        let (text, code) = match self {
            Failure::Usage(text) => (text, USAGE),
            Failure::Failed(text) => (text, 1),
            Failure::Told(code) => return ExitCode::from(code),
        };
        // Nobody is left to tell that standard error is closed.
        let _ = writeln!(std::io::stderr(), "gbg-proxy: {text}");
        ExitCode::from(code)
    }
}

/// Runs `command` on the control runtime: tokens, signals, and whatever is no request.
fn block_on<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(&error))?;
    let done = runtime.block_on(command);
    // Dropped, it would wait for the threads that wait for the workers: a second signal is not to
    // wait for those.
    runtime.shutdown_background();
    done
}

/// Raises the limit of open files, which is 1,024 in most places and not enough for 10,000
/// connections, and gives it; `None` where it is not known.
#[cfg(unix)]
fn raise_open_files() -> Option<u64> {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => Some(limit),
        Err(error) => {
            tracing::warn!(%error, "the limit of open files could not be raised");
            None
        }
    }
}

#[cfg(not(unix))]
fn raise_open_files() -> Option<u64> {
    None
}

/// Drains `app`, or ends at once with a second signal.
async fn shut_down(app: App) {
    let second = async {
        match signals::signalled() {
            Ok(signalled) => signalled.await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = app.shut_down() => tracing::info!("done"),
        _ = second => tracing::warn!("a second signal: what was in flight is cut off"),
    }
}

fn log_settings(log: &config::Log) -> telemetry::LogSettings {
    let level = telemetry::LogLevel::new(log_level(log));
    telemetry::LogSettings {
        level,
        json: log.format == LogFormat::Json,
        file: log.file.clone(),
    }
}

fn log_level(log: &config::Log) -> LevelFilter {
    match log.level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    }
}
