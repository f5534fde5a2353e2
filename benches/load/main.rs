//! Load test: requests at a constant rate, in an open loop, against a proxy and a sandbox of this
//! build or against the user's own proxy.
//!
//! ```text
//!             ┌──▶ set_up ──▶ process (sandbox, proxy)
//! mode ─▶ run ┼──▶ generator ──▶ requests, connections ──▶ the proxy
//!   │         └──▶ resources (/proc, admin)
//!   └──▶ report, plot
//! ```
//!
//! A mode is `steps`, `soak` or `overload`. `arithmetic` contains the computations without sockets
//! and clocks. Everything runs in one thread, since it shares the machine with what it measures;
//! each figure reports how late the generator was.

mod arithmetic;
mod axis;
mod connections;
mod failure;
mod figures;
mod generator;
mod harness;
mod images;
mod latency;
mod options;
mod origin;
mod overload;
mod pieces;
mod plot;
mod probe;
mod process;
mod report;
mod requests;
mod resources;
mod run;
mod set_up;
mod short_run;
mod soak;
mod steps;
mod timer;

use std::future::Future;
use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use gbg_proxy::app::signals;

use self::failure::{Failure, Result};
use self::harness::{Invocation, MODES, parse_invocation};
use self::report::say;
use self::run::RunOutcome;

/// Exit code of a usage error (EX_USAGE of sysexits.h), as in the program itself.
const USAGE: u8 = 64;

/// Drive the proxy at a constant rate, and see what comes of it
///
/// Each request is sent when it is due, whatever became of those before, and its latency counts
/// from then. What was answered is compared with what the sandbox counted; if something was lost or
/// done twice, the exit code is 1.
#[derive(Debug, Parser)]
#[command(
    name = "load",
    bin_name = "cargo bench --bench load --",
    after_help = "Examples:
  cargo bench --bench load -- steps
  cargo bench --bench load -- soak --rate 200 --for 10m --token-lifetime 10s
  cargo bench --bench load -- overload --max-in-flight 16 --queue 16
  cargo bench --bench load -- soak --help

JSON, plot (SVG) and logs go to target/load/. `cargo bench` without a mode makes a short run of each, as a test."
)]
struct Arguments {
    #[command(subcommand)]
    mode: Mode,
    /// What `cargo bench` says to every bench
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Debug, Subcommand)]
enum Mode {
    Steps(steps::Steps),
    Soak(soak::Soak),
    Overload(overload::Overload),
}

impl Mode {
    async fn run(self) -> Result<RunOutcome> {
        match self {
            Mode::Steps(mode) => mode.run().await,
            Mode::Soak(mode) => mode.run().await,
            Mode::Overload(mode) => mode.run().await,
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let done = match parse_invocation(&arguments) {
        Invocation::Mode => match Arguments::try_parse() {
            Ok(arguments) => block_on(async {
                let done = arguments.mode.run().await?;
                if done.is_mismatched {
                    Err("what was sent and what arrived do not fit".into())
                } else {
                    Ok(())
                }
            }),
            Err(error) => {
                // Help is an `Err` as well; it goes to standard output.
                let _ = error.print();
                return if error.use_stderr() {
                    ExitCode::from(USAGE)
                } else {
                    ExitCode::SUCCESS
                };
            }
        },
        Invocation::ShortRun => block_on(short_run::run()),
        Invocation::Other(filter) => say(&format!(
            "load: nothing is called {filter:?}; there are the modes {}",
            MODES.join(", ")
        )),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // A closed standard error cannot be reported.
            let _ = writeln!(std::io::stderr(), "load: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Runs `work` until it ends or a signal arrives. The processes that it has started end with it.
fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    // Each connection is an open file, here and in the proxy. If the limit cannot be raised,
    // connections fail and are counted.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("no runtime", error))?;
    runtime.block_on(async {
        let signalled = signals::signalled().map_err(|error| Failure::new("no signals", error))?;
        tokio::select! {
            done = work => done,
            signal = signalled => Err(format!("ended by {signal}").into()),
        }
    })
}
