//! Mode `overload`: more load than the proxy admits, and its recovery.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use gbg_proxy::config::parse_duration;
use serde::Serialize;

use crate::arithmetic::recovery;
use crate::failure::Result;
use crate::figures::{Figures, Phase};
use crate::latency::{Percentiles, milliseconds};
use crate::options::{LoadOptions, SetUpOptions};
use crate::plot::{Line, Panel};
use crate::report::{self, Memory, PERCENTILES, finish, micros, say};
use crate::run::{ModeDefaults, Run, RunOutcome};

/// Only short calls, so that the admitted rate depends on the API's latency alone.
const MIX: &str = "start=1,fetch=2,state=3";

/// Resolution of the recovery time.
const SPAN: Duration = Duration::from_millis(100);

/// The reason of shed requests.
const SHED_REASON: &str = "overloaded";

/// Drive more than the proxy lets through, and watch it come back
///
/// The API answers after a fixed time, so that max-in-flight divided by that time is what is let
/// through. Three phases take equally long: below that, above, and below again. With --target the
/// options say what the set-up has.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo bench --bench load -- overload
  cargo bench --bench load -- overload --max-in-flight 8 --queue 0 --api-delay 50ms --over 3")]
pub(crate) struct Overload {
    /// Requests that the proxy answers at once (limits.max_in_flight)
    #[arg(long, value_name = "COUNT", default_value = "16")]
    max_in_flight: u32,
    /// How many more wait (limits.queue)
    #[arg(long, value_name = "COUNT", default_value = "16")]
    queue: u32,
    /// For how long (limits.queue_timeout)
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = parse_duration)]
    queue_timeout: Duration,
    /// How long the API takes for an answer
    #[arg(long, value_name = "TIME", default_value = "20ms", value_parser = parse_duration)]
    api_delay: Duration,
    /// What is driven in the middle, as a share of what is let through
    #[arg(long, value_name = "SHARE", default_value = "1.5")]
    over: f64,
    /// What is driven before and after, as a share of what is let through
    #[arg(long, value_name = "SHARE", default_value = "0.5")]
    below: f64,
    /// How long each of the three phases takes
    #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    time: Duration,
    #[command(flatten)]
    load: LoadOptions,
    #[command(flatten)]
    set_up: SetUpOptions,
}

#[derive(Serialize)]
struct Results {
    /// Computed rate of admitted requests per second.
    capacity: f64,
    phases: [PhaseResult; 3],
    /// Time from the reduction of the rate to recovery; `null` without recovery.
    recovery_s: Option<f64>,
    cpu_us_per_request: Option<f64>,
    memory: Option<Memory>,
}

/// The figures of one phase.
#[derive(Serialize)]
struct PhaseResult {
    asked: f64,
    admitted_a_second: f64,
    admitted_ms: Percentiles,
    refused_ms: Percentiles,
    failures: BTreeMap<String, u64>,
    late_ms: f64,
    connections: usize,
}

impl Overload {
    pub(crate) async fn run(self) -> Result<RunOutcome> {
        let capacity = f64::from(self.max_in_flight) / self.api_delay.as_secs_f64();
        if !capacity.is_finite() || capacity * self.over.min(self.below) <= 0.0 {
            return Err("the API must take some time, and all rates must be above 0".into());
        }
        let needs = ModeDefaults {
            mix: MIX,
            set: vec![
                format!("limits.max_in_flight={}", self.max_in_flight),
                format!("limits.queue={}", self.queue),
                format!(
                    "limits.queue_timeout={}",
                    humantime::format_duration(self.queue_timeout)
                ),
            ],
            faults: vec![format!(
                "api-delay={}",
                humantime::format_duration(self.api_delay)
            )],
        };
        let mut run = Run::start(&self.set_up, &self.load, needs).await?;
        say(&format!(
            "{capacity} a second of {} are let through\n",
            run.mix
        ))?;
        let phases = [self.below, self.over, self.below].map(|share| Phase {
            rate: capacity * share,
            time: self.time,
            span: SPAN,
            grace: self.time,
        });
        run.inject_faults().await?;
        let watch = run.start_sampler()?;
        let driven = run.drive(&phases).await?;
        let [before, above, after] = &driven.figures[..] else {
            return Err("a phase is missing".into());
        };
        let memory = watch.memory(driven.began);
        let results = Results {
            capacity,
            phases: [before, above, after].map(phase_result),
            recovery_s: recovery(before, after).map(|time| time.as_secs_f64()),
            cpu_us_per_request: driven.cpu.map(|cpu| cpu.as_nanos() as f64 / 1e3),
            memory: Memory::summarize(&memory),
        };
        results.say()?;
        let failures = driven.figures.iter().flat_map(|figures| &figures.failures);
        let failures = failures
            .filter(|(why, _)| *why != SHED_REASON)
            .map(|(_, count)| count)
            .sum();
        let reconciliation = run.reconcile().await?;
        finish(
            &run,
            "overload",
            &results,
            &reconciliation,
            &panels(&driven.figures),
        )?;
        Ok(RunOutcome {
            is_mismatched: !reconciliation.mismatches.is_empty(),
            failures,
        })
    }
}

fn phase_result(figures: &Figures) -> PhaseResult {
    PhaseResult {
        asked: figures.asked(),
        admitted_a_second: (figures.achieved() * 10.0).round() / 10.0,
        admitted_ms: figures.good().percentiles(),
        refused_ms: figures.bad.percentiles(),
        failures: figures.failures.clone(),
        late_ms: milliseconds(figures.late),
        connections: figures.connections,
    }
}

/// The time from the reduction of the rate to recovery.
fn recovery(before: &Figures, after: &Figures) -> Option<Duration> {
    let spans: Vec<_> = after
        .spans
        .iter()
        .map(|span| recovery::Span {
            failed: span.bad,
            median: span.good.quantile(0.5),
        })
        .collect();
    let index = recovery::recovered(&spans, before.good().quantile(0.5)?)?;
    Some(SPAN * u32::try_from(index).ok()?)
}

impl Results {
    fn say(&self) -> Result<()> {
        say(&format!(
            "        asked/s  admitted/s{PERCENTILES}  late ms  connections  refused (their p99, ms)"
        ))?;
        for (name, phase) in ["below", "above", "below"].into_iter().zip(&self.phases) {
            let refused = match phase.failures.is_empty() {
                true => "none".to_owned(),
                false => format!(
                    "{} ({:.1})",
                    report::failures(&phase.failures),
                    phase.refused_ms.p99
                ),
            };
            say(&format!(
                "{name:<5} {:>9.0} {:>11.1} {}  {:>7.2}  {:>11}  {refused}",
                phase.asked,
                phase.admitted_a_second,
                report::percentiles(&phase.admitted_ms),
                phase.late_ms,
                phase.connections,
            ))?;
        }
        say("")?;
        say(&match self.recovery_s {
            Some(time) => format!(
                "all was well again within {:.1} s of the rate being brought back",
                time + SPAN.as_secs_f64()
            ),
            None => "NOT RECOVERED: requests were still refused or slow at the end".to_owned(),
        })?;
        let cpu = micros(
            self.cpu_us_per_request
                .map(|cpu| Duration::from_secs_f64(cpu / 1e6)),
        );
        say(&format!("{cpu} µs of CPU a request, refused ones as well"))?;
        self.memory
            .as_ref()
            .map_or(Ok(()), |memory| say(&memory.line()))
    }
}

fn panels(phases: &[Figures]) -> Vec<Panel> {
    let spans: Vec<_> = phases.iter().flat_map(|figures| &figures.spans).collect();
    let at = |index: usize| index as f64 * SPAN.as_secs_f64();
    let line = |name, value: &dyn Fn(usize) -> f64| Line {
        name,
        points: (0..spans.len())
            .map(|index| (at(index), value(index)))
            .collect(),
    };
    let marks: Vec<_> = phases
        .iter()
        .scan(0, |sum, figures| {
            *sum += figures.spans.len();
            Some(at(*sum))
        })
        .take(phases.len().saturating_sub(1))
        .collect();
    let a_second = 1.0 / SPAN.as_secs_f64();
    let rates = Panel {
        title: "Admitted and refused, by when they were due".to_owned(),
        x: "s",
        y: "requests / s",
        is_log: false,
        lines: vec![
            line("admitted", &|index| {
                spans[index].good.count() as f64 * a_second
            }),
            line("refused", &|index| spans[index].bad as f64 * a_second),
        ],
        marks: marks.clone(),
    };
    let quantile =
        |index: usize, share| milliseconds(spans[index].good.quantile(share).unwrap_or_default());
    let latency = Panel {
        title: "Latency of what was admitted".to_owned(),
        x: "s",
        y: "ms",
        is_log: false,
        lines: vec![
            line("p50", &|index| quantile(index, 0.5)),
            line("p99", &|index| quantile(index, 0.99)),
        ],
        marks,
    };
    vec![rates, latency]
}
