//! The load test: requests at a constant rate, open loop, against a proxy and a sandbox of this
//! build or a user's own proxy.
//!
//! ```text
//!             ┌──▶ set_up ──▶ process (sandbox, proxy)
//! mode ─▶ run ┼──▶ generator ──▶ requests, connections ──▶ the proxy
//!   │         └──▶ resources (/proc, admin)
//!   └──▶ report, plot
//! ```
//!
//! A mode is `steps`, `soak` or `overload`. What is computed without sockets and clocks is in
//! `arithmetic`. Everything runs in one thread, since it shares the machine with what it measures;
//! how late it was is told with each figure.

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
use self::harness::{Asked, MODES, asked};
use self::report::say;
use self::run::Done;

/// Wrong usage: EX_USAGE of sysexits.h, as of the program itself.
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
  cargo bench --bench load -- soak --rate 200 --for 10m --token-life 10s
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
    async fn run(self) -> Result<Done> {
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
    let done = match asked(&arguments) {
        Asked::Mode => match Arguments::try_parse() {
            Ok(arguments) => block_on(async {
                let done = arguments.mode.run().await?;
                if done.is_mismatched {
                    Err("what was sent and what arrived do not fit".into())
                } else {
                    Ok(())
                }
            }),
            Err(error) => {
                // Help comes this way as well; it goes to standard output, and is no failure.
                let _ = error.print();
                return if error.use_stderr() {
                    ExitCode::from(USAGE)
                } else {
                    ExitCode::SUCCESS
                };
            }
        },
        Asked::ShortRun => block_on(short_run::run()),
        Asked::Other(filter) => say(&format!(
            "load: nothing is called {filter:?}; there are the modes {}",
            MODES.join(", ")
        )),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to tell that standard error is closed.
            let _ = writeln!(std::io::stderr(), "load: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Runs `work` until it is done or a signal ends it; what it has started ends with it.
fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    // Each connection is an open file, here and in the proxy; if it cannot be raised, connections
    // fail and are counted.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::of("no runtime", error))?;
    runtime.block_on(async {
        let signalled = signals::signalled().map_err(|error| Failure::of("no signals", error))?;
        tokio::select! {
            done = work => done,
            signal = signalled => Err(format!("ended by {signal}").into()),
        }
    })
}
