//! Options of all modes.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use gbg_proxy::config::parse_duration;
use gbg_proxy::sandbox::Fault;

use crate::arithmetic::mix::Mix;
use crate::images::Lengths;

/// Mix of a journey: it starts, the interaction is fetched until it is there, documents are
/// submitted, and the state is fetched until it is final.
pub(crate) const JOURNEY: &str = "start=1,fetch=2,submit=1,state=3";

/// What is driven.
#[derive(Debug, Args)]
#[command(next_help_heading = "What is driven: by default a sandbox and a proxy of this build")]
pub(crate) struct SetUpOptions {
    /// The proxy's threads (listen.workers); by default one per core
    #[arg(long, value_name = "COUNT", conflicts_with = "target")]
    pub(crate) workers: Option<NonZeroU32>,
    /// A setting of the proxy's; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE", conflicts_with = "target")]
    pub(crate) set: Vec<String>,
    /// Lifetime of a token
    #[arg(long, value_name = "TIME", value_parser = parse_duration, conflicts_with = "target")]
    pub(crate) token_lifetime: Option<Duration>,
    /// What goes wrong in the sandbox, from when the load begins; may be repeated (`gbg-proxy
    /// sandbox --help` lists them)
    #[arg(
        long = "fault",
        value_name = "FAULT[*CALLS]",
        conflicts_with = "target"
    )]
    pub(crate) faults: Vec<Fault>,
    /// CPUs of each process, such as proxy=1,sandbox=0,load=0 or proxy=1-3 (taskset)
    #[arg(
        long,
        value_name = "PROCESS=CPUS,…",
        default_value = "",
        hide_default_value = true,
        conflicts_with = "target"
    )]
    pub(crate) pin: Pins,
    /// Drive this proxy, such as http://127.0.0.1:8080, and start nothing; what arrives at the API
    /// is not reconciled then
    #[arg(long, value_name = "URL")]
    pub(crate) target: Option<String>,
    /// The certificates (PEM) that an https target's must be signed by; by default those that this
    /// machine trusts
    #[arg(long, value_name = "FILE", requires = "target")]
    pub(crate) target_ca: Option<PathBuf>,
    /// The process of the target, for its CPU and memory
    #[arg(long, value_name = "PID", requires = "target")]
    pub(crate) proxy_pid: Option<u32>,
    /// The admin listener of the target, such as http://127.0.0.1:8081, which reports new tokens
    #[arg(long, value_name = "URL", requires = "target")]
    pub(crate) admin: Option<String>,
    /// The caller key that requests show, in a file
    #[arg(long, value_name = "FILE", requires = "target")]
    pub(crate) caller_key_file: Option<PathBuf>,
}

/// What is sent, and where the results go.
#[derive(Debug, Args)]
#[command(next_help_heading = "What is sent, and where the results go")]
pub(crate) struct LoadOptions {
    /// Kinds of calls and their weights, of start, fetch, submit and state; or one alone, such as
    /// submit. By default a journey: start=1,fetch=2,submit=1,state=3; for overload without submit
    #[arg(long, value_name = "KIND=WEIGHT,…")]
    mix: Option<Mix>,
    /// Lengths of the images of a submission
    #[arg(long, value_name = "LEAST..MOST", default_value = "100KB..5MB")]
    pub(crate) images: Lengths,
    /// Connections to the proxy, at most; one more is opened whenever all are in use
    #[arg(long, value_name = "COUNT", default_value = "1000")]
    pub(crate) connections: NonZeroU32,
    /// How long an answer may take, from when its request was due
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
    /// Where JSON, plot and logs go; by default load/ in the target directory
    #[arg(long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,
}

impl LoadOptions {
    /// The mix of calls, `usual` by default.
    pub(crate) fn mix(&self, usual: &str) -> Result<Mix, String> {
        self.mix.map_or_else(|| usual.parse(), Ok)
    }

    /// The directory of results.
    pub(crate) fn directory(&self) -> PathBuf {
        // Cargo's directory of temporary files is in the target directory.
        self.out
            .clone()
            .unwrap_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("load"))
    }
}

/// CPUs of each process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pins {
    pub(crate) proxy: Option<String>,
    pub(crate) sandbox: Option<String>,
    pub(crate) load: Option<String>,
}

impl FromStr for Pins {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut pins = Pins::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let place = match part.split_once('=') {
                Some(("proxy", cpus)) => (&mut pins.proxy, cpus),
                Some(("sandbox", cpus)) => (&mut pins.sandbox, cpus),
                Some(("load", cpus)) => (&mut pins.load, cpus),
                _ => {
                    return Err(format!(
                        "{part:?} is none of proxy=CPUS, sandbox=CPUS, load=CPUS"
                    ));
                }
            };
            *place.0 = Some(place.1.to_owned());
        }
        Ok(pins)
    }
}
