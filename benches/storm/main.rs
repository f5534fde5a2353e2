//! Storm: random requests with faults on all sides, through the real proxy. It must not pass a torn
//! body as complete, send a request twice, mix up responses, or lose one without a reason.
//!
//! ```text
//! plan (seed, id) ─┬─▶ callers ──▶ the proxy ──▶ apis
//!                  │      └────▶ ledger ◀──────────┘
//!                  └──────────────▶ verdict ──▶ report
//! ```
//!
//! Bodies derive from the id (`wire`), so each side detects a torn body whatever its framing says.
//! `http1` and `http2` are the codecs, `corked` puts several frames into one write, `faulty_proxy`
//! proves that each verdict can fail, and `run` starts everything.

mod apis;
mod callers;
mod corked;
mod faulty_proxy;
mod http1;
mod http2;
mod ledger;
mod plan;
mod report;
mod run;
mod storm;
mod tokens;
mod verdict;
mod wire;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use self::plan::{Http, Plans};
use self::storm::Storm;

/// Exit code of a usage error (EX_USAGE of sysexits.h), as in the program itself.
const USAGE: u8 = 64;

/// Seed of the short run without `STORM_SEED`.
const SEED: u64 = 1;

/// Requests of the short run for each API, and the time in which they begin.
const SHORT_REQUESTS: u64 = 2_400;
const SHORT_TIME: Duration = Duration::from_secs(4);

/// Requests to the faulty proxy: enough for each verdict to fail.
const PROOF_REQUESTS: u64 = 640;
const PROOF_SEEDS: u64 = 3;

const CONCURRENCY: usize = 64;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Send random requests with faults on all sides through the proxy, and compare what each side saw
///
/// The exit code is 1 if a torn body passed for a whole one, a request was doubled, or a response
/// was mixed up or lost.
#[derive(Debug, Parser)]
#[command(
    name = "storm",
    bin_name = "cargo bench --bench storm --",
    after_help = "Examples:
  cargo bench --bench storm -- run
  cargo bench --bench storm -- run --seed 7 --api 2 --requests 200000
  cargo bench --bench storm -- run --seed 7 --api 2 --id 4711 --requests 1000
  STORM_SEED=7 cargo test --bench storm

`cargo bench` without a mode makes a short run, as a test."
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
    /// Send so many requests before each API
    Run {
        /// Seed of all that is random, but for the order in which threads run; by default another
        /// one each time
        #[arg(long)]
        seed: Option<u64>,
        /// Requests before each API
        #[arg(long, default_value = "200000")]
        requests: u64,
        /// The HTTP that the API speaks
        #[arg(long, default_value = "both")]
        api: Apis,
        /// Send this request of the seed alone, time and again
        #[arg(long)]
        id: Option<u64>,
        /// Connections of callers at once
        #[arg(long, default_value_t = CONCURRENCY)]
        concurrency: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Apis {
    #[value(name = "1.1")]
    Http1,
    #[value(name = "2")]
    Http2,
    Both,
}

impl Apis {
    fn each(self) -> &'static [Http] {
        match self {
            Apis::Http1 => &[Http::One],
            Apis::Http2 => &[Http::Two],
            Apis::Both => &[Http::One, Http::Two],
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let has = |option: &str| arguments.iter().any(|argument| argument == option);
    let filter = filter(&arguments);
    let is_mode = has("--bench") && filter.is_some_and(|mode| mode == "run");
    let done = if has("--help") || has("-h") || (is_mode && !has("--test")) {
        match Arguments::try_parse() {
            Ok(Arguments { mode, .. }) => block_on(full_run(mode)),
            Err(error) => {
                // Help is an `Err` as well; it goes to standard output.
                let _ = error.print();
                return if error.use_stderr() {
                    ExitCode::from(USAGE)
                } else {
                    ExitCode::SUCCESS
                };
            }
        }
    } else if filter.is_some_and(|filter| !"storm".contains(filter.as_str()) && filter != "run") {
        // `cargo test NAME` and `cargo bench NAME` pass the filter to every target.
        Ok(())
    } else {
        block_on(short_run())
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // A closed standard error cannot be reported.
            let _ = writeln!(std::io::stderr(), "storm: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// The filter among the arguments of `cargo test` and `cargo bench`, or the mode.
fn filter(arguments: &[String]) -> Option<&String> {
    /// Options of libtest with a value.
    const WITH_VALUE: [&str; 7] = [
        "-Z",
        "--color",
        "--format",
        "--logfile",
        "--shuffle-seed",
        "--skip",
        "--test-threads",
    ];
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if WITH_VALUE.contains(&argument.as_str()) {
            arguments.next();
        } else if !argument.starts_with('-') {
            return Some(argument);
        }
    }
    None
}

async fn full_run(mode: Mode) -> Result<()> {
    let Mode::Run {
        seed,
        requests,
        api,
        id,
        concurrency,
    } = mode;
    let seed = seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let mut is_clean = true;
    for &api in api.each() {
        let plans = Plans {
            seed,
            api,
            only: id,
        };
        let storm = Storm {
            plans,
            requests,
            concurrency,
            time: None,
            is_faulty: false,
        };
        let report = storm.run().await?;
        print(&report.to_string())?;
        is_clean &= report.is_clean();
    }
    if is_clean {
        Ok(())
    } else {
        Err("a rule was broken".into())
    }
}

/// The test: each verdict can fail, and none does for the real proxy.
async fn short_run() -> Result<()> {
    let seed = std::env::var("STORM_SEED").map_or(Ok(SEED), |seed| seed.parse())?;
    for api in [Http::One, Http::Two] {
        prove(Plans {
            seed,
            api,
            only: None,
        })
        .await?;
    }
    for api in [Http::One, Http::Two] {
        let storm = Storm {
            plans: Plans {
                seed,
                api,
                only: None,
            },
            requests: SHORT_REQUESTS,
            concurrency: CONCURRENCY,
            time: Some(SHORT_TIME),
            is_faulty: false,
        };
        let report = storm.run().await?;
        print(&report.to_string())?;
        if !report.is_clean() {
            return Err("a rule was broken".into());
        }
    }
    Ok(())
}

/// Fails unless a proxy that breaks each rule makes each verdict fail. Tries a few seeds, since the
/// order of threads matters as well.
async fn prove(plans: Plans) -> Result<()> {
    let mut missed = Vec::new();
    for offset in 0..PROOF_SEEDS {
        let plans = Plans {
            seed: plans.seed + offset,
            ..plans
        };
        let storm = Storm {
            plans,
            requests: PROOF_REQUESTS,
            concurrency: CONCURRENCY * 2,
            time: None,
            is_faulty: true,
        };
        let proof = storm.run().await?;
        print(&proof.proof())?;
        missed = proof.missed().collect();
        if missed.is_empty() {
            return Ok(());
        }
    }
    Err(format!(
        "a proxy that breaks the rules is not found out: no {}",
        missed.join(", no ")
    )
    .into())
}

fn print(text: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    // Each connection is an open file. If the limit cannot be raised, connections fail and are
    // counted.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(work)
}
