//! Mode `soak`: one rate for a long time, while tokens are refreshed.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use gbg_proxy::config::parse_duration;
use serde::Serialize;

use crate::arithmetic::refreshes::{has_refresh, refresh_times};
use crate::failure::Result;
use crate::figures::{Figures, Phase, Span};
use crate::latency::{Latency, Percentiles, milliseconds};
use crate::options::{JOURNEY, LoadOptions, SetUpOptions};
use crate::plot::{Line, Panel};
use crate::report::{self, Memory, PERCENTILES, finish, mebibytes, micros, say};
use crate::run::{ModeDefaults, Run, RunOutcome};

/// Default lifetime of a token: refreshes every few seconds.
const TOKEN_LIFETIME: Duration = Duration::from_secs(10);

/// Time without measurements, while connections open and memory settles.
const WARM_UP: Duration = Duration::from_secs(3);

const SECOND: Duration = Duration::from_secs(1);

/// Hold one rate for long, while tokens are replaced every few seconds
///
/// It compares the seconds in which there was a new token with all others, and says whether the
/// memory of the proxy grows.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo bench --bench load -- soak --rate 200 --for 10m
  cargo bench --bench load -- soak --rate 1000 --mix state --token-lifetime 6s --fault token-delay=1s
  cargo bench --bench load -- soak --for 8h --target http://127.0.0.1:8080 --proxy-pid 4711 --admin http://127.0.0.1:8081")]
pub(crate) struct Soak {
    /// Requests a second
    #[arg(long, default_value = "100")]
    rate: u32,
    /// For how long
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    time: Duration,
    #[command(flatten)]
    load: LoadOptions,
    #[command(flatten)]
    set_up: SetUpOptions,
}

#[derive(Serialize)]
struct Results {
    asked: f64,
    achieved: f64,
    latency_ms: Percentiles,
    by_kind_ms: BTreeMap<&'static str, Percentiles>,
    failures: BTreeMap<String, u64>,
    late_ms: f64,
    cpu_us_per_request: Option<f64>,
    /// Times of new tokens in seconds; `null` if unknown.
    refreshes: Option<Vec<f64>>,
    /// The seconds with a new token.
    with_refresh: Seconds,
    /// The other seconds.
    without: Seconds,
    memory: Option<Memory>,
    seconds: Vec<Second>,
}

/// Latencies of a group of seconds.
#[derive(Serialize)]
struct Seconds {
    latency_ms: Percentiles,
    /// Median of the p99.9 of each second: stalls of the machine in a few seconds do not affect it.
    p999_of_a_second_ms: f64,
}

impl Seconds {
    fn of(numbered: &[(usize, &Span)]) -> Self {
        let (mut all, mut tails) = (Latency::small(), Vec::new());
        for (_, span) in numbered {
            all.add(&span.good);
            tails.extend(span.good.quantile(0.999));
        }
        tails.sort_unstable();
        let median = tails.get(tails.len() / 2).copied().unwrap_or_default();
        Seconds {
            latency_ms: all.percentiles(),
            p999_of_a_second_ms: milliseconds(median),
        }
    }
}

/// The figures of one second.
#[derive(Serialize)]
struct Second {
    latency_ms: Percentiles,
    failures: u64,
}

impl Soak {
    pub(crate) async fn run(mut self) -> Result<RunOutcome> {
        if self.set_up.target.is_none() {
            self.set_up.token_lifetime.get_or_insert(TOKEN_LIFETIME);
        }
        let needs = ModeDefaults {
            mix: JOURNEY,
            set: Vec::new(),
            faults: Vec::new(),
        };
        let mut run = Run::start(&self.set_up, &self.load, needs).await?;
        say(&format!(
            "{} a second of {}, for {}",
            self.rate,
            run.mix,
            humantime::format_duration(self.time)
        ))?;
        run.drive(&[self.phase(WARM_UP.min(self.time))]).await?;
        run.inject_faults().await?;
        let watch = run.start_sampler()?;
        let driven = run.drive(&[self.phase(self.time)]).await?;
        let generations: Vec<_> = watch
            .samples()
            .iter()
            .filter_map(|sample| {
                Some((
                    sample.at.checked_duration_since(driven.began)?,
                    sample.generation?,
                ))
            })
            .collect();
        let refreshes = (!generations.is_empty()).then(|| refresh_times(&generations));
        let memory = watch.memory(driven.began);
        let [figures] = &driven.figures[..] else {
            return Err("a phase is missing".into());
        };
        let results = results(figures, driven.cpu, refreshes, &memory);
        results.say()?;
        let reconciliation = run.reconcile().await?;
        finish(
            &run,
            "soak",
            &results,
            &reconciliation,
            &results.panels(&memory),
        )?;
        Ok(RunOutcome {
            is_mismatched: !reconciliation.mismatches.is_empty(),
            failures: figures.failed(),
        })
    }

    fn phase(&self, time: Duration) -> Phase {
        Phase {
            rate: f64::from(self.rate),
            time,
            span: SECOND,
            grace: SECOND,
        }
    }
}

fn results(
    figures: &Figures,
    cpu: Option<Duration>,
    refreshes: Option<Vec<Duration>>,
    memory: &[(Duration, u64)],
) -> Results {
    let refresh_times = refreshes.as_deref().unwrap_or_default();
    let (with_refresh, without): (Vec<_>, Vec<_>) = figures
        .spans
        .iter()
        .enumerate()
        .partition(|&(second, _)| has_refresh(second, refresh_times));
    let second = |span: &Span| Second {
        latency_ms: span.good.percentiles(),
        failures: span.bad,
    };
    Results {
        asked: figures.asked(),
        achieved: (figures.achieved() * 10.0).round() / 10.0,
        latency_ms: figures.good().percentiles(),
        by_kind_ms: figures
            .by_kind()
            .map(|(kind, latency)| (kind.name(), latency.percentiles()))
            .collect(),
        failures: figures.failures.clone(),
        late_ms: milliseconds(figures.late),
        cpu_us_per_request: cpu.map(|cpu| cpu.as_nanos() as f64 / 1e3),
        refreshes: refreshes
            .as_ref()
            .map(|refresh_times| refresh_times.iter().map(Duration::as_secs_f64).collect()),
        with_refresh: Seconds::of(&with_refresh),
        without: Seconds::of(&without),
        memory: Memory::summarize(memory),
        seconds: figures.spans.iter().map(second).collect(),
    }
}

impl Results {
    fn say(&self) -> Result<()> {
        let row = |name: &str, of: &Percentiles| {
            say(&format!(
                "{name:<24} {:>9} {}",
                of.count,
                report::percentiles(of)
            ))
        };
        say(&format!("\n{:<24} {:>9} {PERCENTILES}", "", "good"))?;
        row("all", &self.latency_ms)?;
        for (kind, latency) in &self.by_kind_ms {
            row(&format!("  {kind}"), latency)?;
        }
        match &self.refreshes {
            None => say("new tokens are not known: name the admin listener")?,
            Some(refreshes) => {
                let count = format!("seconds of {} new tokens", refreshes.len());
                row(&count, &self.with_refresh.latency_ms)?;
                row("the other seconds", &self.without.latency_ms)?;
                say(&format!(
                    "p99.9 of a second, the median: {} ms with a new token, {} ms without",
                    self.with_refresh.p999_of_a_second_ms, self.without.p999_of_a_second_ms
                ))?;
            }
        }
        let failures = match self.failures.is_empty() {
            true => "none failed".to_owned(),
            false => format!("FAILED: {}", report::failures(&self.failures)),
        };
        let cpu = micros(
            self.cpu_us_per_request
                .map(|cpu| Duration::from_secs_f64(cpu / 1e6)),
        );
        say(&format!(
            "\n{} a second asked, {} achieved; {failures}; the generator was late by {} ms at most; {cpu} µs of CPU a request",
            self.asked, self.achieved, self.late_ms
        ))?;
        self.memory
            .as_ref()
            .map_or(Ok(()), |memory| say(&memory.line()))
    }

    fn panels(&self, memory: &[(Duration, u64)]) -> Vec<Panel> {
        let line = |name, value: fn(&Second) -> f64| Line {
            name,
            points: self
                .seconds
                .iter()
                .enumerate()
                .map(|(at, second)| (at as f64, value(second)))
                .collect(),
        };
        let marks = self.refreshes.clone().unwrap_or_default();
        let latency = Panel {
            title: format!(
                "Latency of each second at {} requests / s; new tokens are marked",
                self.asked
            ),
            x: "s",
            y: "ms",
            is_log: true,
            lines: vec![
                line("p50", |second| second.latency_ms.p50),
                line("p99", |second| second.latency_ms.p99),
                line("p99.9", |second| second.latency_ms.p999),
            ],
            marks: marks.clone(),
        };
        let resident = memory
            .iter()
            .map(|&(at, bytes)| (at.as_secs_f64(), mebibytes(bytes)));
        let memory = Panel {
            title: "Resident memory of the proxy".to_owned(),
            x: "s",
            y: "MiB",
            is_log: false,
            lines: vec![Line {
                name: "resident",
                points: resident.collect(),
            }],
            marks,
        };
        vec![latency, memory]
    }
}
