//! Output of a run: lines and tables on standard output, JSON and a plot in files.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use serde::Serialize;

use crate::arithmetic::trend;
use crate::failure::{Failure, Result};
use crate::latency::Percentiles;
use crate::plot::{self, Panel};
use crate::run::{Reconciliation, Run};

/// Shortest run whose memory shows a trend: pools and buffers grow with each stall of the machine.
const MIN_TREND_TIME: Duration = Duration::from_secs(295);

pub(crate) fn say(line: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{line}")
        .map_err(|error| Failure::new("cannot write to standard output", error))
}

/// Prints the reconciliation, and writes `results` and `panels` into files named after the mode.
pub(crate) fn finish(
    run: &Run,
    mode: &str,
    results: &impl Serialize,
    reconciliation: &Reconciliation,
    panels: &[Panel],
) -> Result<()> {
    #[derive(Serialize)]
    struct Report<'a, T> {
        mode: &'a str,
        version: &'static str,
        arguments: Vec<String>,
        mix: String,
        #[serde(flatten)]
        results: &'a T,
        reconciliation: &'a Reconciliation,
    }
    say("")?;
    for line in reconciliation.lines() {
        say(&line)?;
    }
    let report = Report {
        mode,
        version: env!("CARGO_PKG_VERSION"),
        arguments: std::env::args()
            .skip(1)
            .filter(|argument| argument != "--bench")
            .collect(),
        mix: run.mix.to_string(),
        results,
        reconciliation,
    };
    let (json, svg) = (
        run.directory().join(format!("{mode}.json")),
        run.directory().join(format!("{mode}.svg")),
    );
    let cannot = |error| {
        Failure::new(
            format!("cannot write to {}", run.directory().display()),
            error,
        )
    };
    let text =
        serde_json::to_string_pretty(&report).map_err(|error| Failure::new("no JSON", error))?;
    std::fs::write(&json, text + "\n").map_err(cannot)?;
    std::fs::write(&svg, plot::draw(panels)?).map_err(cannot)?;
    say(&format!("{}\n{}", json.display(), svg.display()))
}

/// The heads of [`percentiles`], in milliseconds.
pub(crate) const PERCENTILES: &str = "    p50 ms     p90     p99   p99.9     max";

pub(crate) fn percentiles(of: &Percentiles) -> String {
    let Percentiles {
        p50,
        p90,
        p99,
        p999,
        max,
        ..
    } = of;
    format!("{p50:>10.2} {p90:>7.1} {p99:>7.1} {p999:>7.1} {max:>7.1}")
}

/// Numbers of failures by reason.
pub(crate) fn failures(of: &BTreeMap<String, u64>) -> String {
    of.iter()
        .map(|(why, count)| format!("{count} × {why}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Whole microseconds, or a dash if unknown.
pub(crate) fn micros(time: Option<Duration>) -> String {
    time.map_or("-".to_owned(), |time| time.as_micros().to_string())
}

pub(crate) fn mebibytes(bytes: u64) -> f64 {
    (bytes as f64 / f64::from(1 << 20) * 100.0).round() / 100.0
}

/// Memory of a process over a run.
#[derive(Debug, Serialize)]
pub(crate) struct Memory {
    first_mib: f64,
    last_mib: f64,
    max_mib: f64,
    /// Smallest values in the first and last quarter, after a tenth in which buffers and pools
    /// fill; `null` as below.
    floor_mib: Option<[f64; 2]>,
    /// `null` if the run is too short.
    is_flat: Option<bool>,
}

impl Memory {
    /// Summarizes samples; `None` without any.
    pub(crate) fn summarize(samples: &[(Duration, u64)]) -> Option<Self> {
        let (first, last) = (samples.first()?, samples.last()?);
        let settled: Vec<_> = samples[samples.len() / 10..]
            .iter()
            .map(|sample| sample.1)
            .collect();
        let floors = trend::floors(&settled).filter(|_| last.0 - first.0 >= MIN_TREND_TIME);
        Some(Memory {
            first_mib: mebibytes(first.1),
            last_mib: mebibytes(last.1),
            max_mib: mebibytes(samples.iter().map(|sample| sample.1).max()?),
            floor_mib: floors.map(|(early, late)| [early, late].map(mebibytes)),
            is_flat: floors.map(trend::is_flat),
        })
    }

    /// One line of text.
    pub(crate) fn line(&self) -> String {
        let Memory {
            first_mib,
            last_mib,
            max_mib,
            floor_mib,
            is_flat,
        } = self;
        let trend = match floor_mib.zip(*is_flat) {
            None => "too short a time to tell a trend".to_owned(),
            Some(([early, late], is_flat)) => {
                let verdict = if is_flat { "flat" } else { "GROWING" };
                format!("at least {early:.1} early, {late:.1} late: {verdict}")
            }
        };
        format!(
            "memory of the proxy: first {first_mib:.1} MiB, last {last_mib:.1}, most {max_mib:.1}; {trend}"
        )
    }
}
