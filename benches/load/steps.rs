//! Mode `steps`: raises the rate step by step until past the knee.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use gbg_proxy::config::parse_duration;
use serde::Serialize;

use crate::arithmetic::knee::{Step, is_past, knee};
use crate::failure::Result;
use crate::figures::{Figures, Phase};
use crate::latency::{Percentiles, milliseconds};
use crate::options::{JOURNEY, LoadOptions, SetUpOptions};
use crate::plot::{Line, Panel};
use crate::report::{self, PERCENTILES, finish, mebibytes, micros, say};
use crate::run::{ModeDefaults, Run, RunOutcome};

/// Time without measurements, while connections open and memory settles.
const WARM_UP: Duration = Duration::from_secs(2);

/// Raise the rate step by step until the knee is found
///
/// The knee is the last step of which 99 % were answered in time and as they should be, without a
/// failure, and whose p99 is below the bound. Two steps in a row that do not hold end the search.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo bench --bench load -- steps
  cargo bench --bench load -- steps --mix state --from 1000 --by 500 --workers 1 --pin proxy=1,sandbox=0,load=0
  cargo bench --bench load -- steps --target http://127.0.0.1:8080 --proxy-pid 4711 --admin http://127.0.0.1:8081")]
pub(crate) struct Steps {
    /// Requests a second in the first step
    #[arg(long, value_name = "RATE", default_value = "100")]
    from: u32,
    /// How many more in each further step
    #[arg(long, value_name = "RATE", default_value = "100")]
    by: u32,
    /// Where it ends at the latest
    #[arg(long, value_name = "RATE", default_value = "10000")]
    to: u32,
    /// How long a step takes
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    step_time: Duration,
    /// What p99 must stay below
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = parse_duration)]
    bound: Duration,
    #[command(flatten)]
    load: LoadOptions,
    #[command(flatten)]
    set_up: SetUpOptions,
}

#[derive(Serialize)]
struct Results {
    bound_ms: f64,
    steps: Vec<StepResult>,
    /// The rate of the knee.
    knee: Option<f64>,
}

/// The figures of one step.
#[derive(Serialize)]
struct StepResult {
    asked: f64,
    achieved: f64,
    latency_ms: Percentiles,
    by_kind_ms: BTreeMap<&'static str, Percentiles>,
    failures: BTreeMap<String, u64>,
    late_ms: f64,
    connections: usize,
    cpu_us_per_request: Option<f64>,
    memory_mib: Option<f64>,
    /// The reason why the step does not hold.
    broken_by: Option<&'static str>,
}

impl Steps {
    pub(crate) async fn run(self) -> Result<RunOutcome> {
        let needs = ModeDefaults {
            mix: JOURNEY,
            set: Vec::new(),
            faults: Vec::new(),
        };
        let mut run = Run::start(&self.set_up, &self.load, needs).await?;
        say(&format!(
            "steps of {} of {}:\n",
            humantime::format_duration(self.step_time),
            run.mix
        ))?;
        say(&format!(
            "  asked/s  achieved{PERCENTILES}  late ms  connections  CPU µs  RSS MiB  failures"
        ))?;
        run.drive(&[self.phase(self.from, WARM_UP.min(self.step_time))])
            .await?;
        run.inject_faults().await?;
        let (mut steps, mut step_results) = (Vec::new(), Vec::new());
        for rate in (self.from..=self.to).step_by(self.by.max(1) as usize) {
            let driven = run.drive(&[self.phase(rate, self.step_time)]).await?;
            let [figures] = &driven.figures[..] else {
                return Err("a phase is missing".into());
            };
            let step = Step {
                asked: figures.asked(),
                achieved: figures.achieved(),
                failures: figures.failed(),
                p99: figures.good().quantile(0.99).unwrap_or_default(),
            };
            let one = self.step_result(&run, figures, driven.cpu, step);
            say(&one.row())?;
            steps.push(step);
            step_results.push(one);
            if is_past(&steps, self.bound) {
                break;
            }
        }
        let found = knee(&steps, self.bound);
        say("")?;
        say(&match found.and_then(|index| steps.get(index)) {
            Some(step) if is_past(&steps, self.bound) => {
                format!("the knee is at {} requests a second", step.asked)
            }
            Some(step) => format!("no knee up to {} requests a second", step.asked),
            None => "no step holds".to_owned(),
        })?;
        let failures = steps.iter().map(|step| step.failures).sum();
        let panels = panels(&step_results);
        let knee = found
            .and_then(|index| steps.get(index))
            .map(|step| step.asked);
        let results = Results {
            bound_ms: milliseconds(self.bound),
            steps: step_results,
            knee,
        };
        let reconciliation = run.reconcile().await?;
        finish(&run, "steps", &results, &reconciliation, &panels)?;
        Ok(RunOutcome {
            is_mismatched: !reconciliation.mismatches.is_empty(),
            failures,
        })
    }

    fn phase(&self, rate: u32, time: Duration) -> Phase {
        Phase {
            rate: f64::from(rate),
            time,
            span: time,
            grace: self.bound,
        }
    }

    fn step_result(
        &self,
        run: &Run,
        figures: &Figures,
        cpu: Option<Duration>,
        step: Step,
    ) -> StepResult {
        StepResult {
            asked: step.asked,
            achieved: (step.achieved * 10.0).round() / 10.0,
            latency_ms: figures.good().percentiles(),
            by_kind_ms: figures
                .by_kind()
                .map(|(kind, latency)| (kind.name(), latency.percentiles()))
                .collect(),
            failures: figures.failures.clone(),
            late_ms: milliseconds(figures.late),
            connections: figures.connections,
            cpu_us_per_request: cpu.map(|cpu| cpu.as_nanos() as f64 / 1e3),
            memory_mib: run.memory().map(mebibytes),
            broken_by: step.broken_by(self.bound),
        }
    }
}

impl StepResult {
    fn row(&self) -> String {
        let cpu = micros(
            self.cpu_us_per_request
                .map(|cpu| Duration::from_secs_f64(cpu / 1e6)),
        );
        let memory = self
            .memory_mib
            .map_or("-".to_owned(), |memory| format!("{memory:.1}"));
        format!(
            "{:>9} {:>9.1} {}  {:>7.2}  {:>11}  {cpu:>6}  {memory:>7}  {}{}",
            self.asked,
            self.achieved,
            report::percentiles(&self.latency_ms),
            self.late_ms,
            self.connections,
            report::failures(&self.failures),
            self.broken_by
                .map_or(String::new(), |why| format!("  ✗ {why}")),
        )
    }
}

fn panels(results: &[StepResult]) -> Vec<Panel> {
    let line = |name, value: fn(&StepResult) -> f64| Line {
        name,
        points: results
            .iter()
            .map(|step| (step.asked, value(step)))
            .collect(),
    };
    let latency = Panel {
        title: "Latency over the rate".to_owned(),
        x: "requests / s",
        y: "ms",
        is_log: true,
        lines: vec![
            line("p50", |step| step.latency_ms.p50),
            line("p90", |step| step.latency_ms.p90),
            line("p99", |step| step.latency_ms.p99),
            line("p99.9", |step| step.latency_ms.p999),
            line("max", |step| step.latency_ms.max),
            line("generator late", |step| step.late_ms),
        ],
        marks: Vec::new(),
    };
    let rate = Panel {
        title: "Achieved rate, and failures a step".to_owned(),
        x: "requests / s",
        y: "requests / s, failures",
        is_log: false,
        lines: vec![
            line("asked", |step| step.asked),
            line("achieved", |step| step.achieved),
            line("failures", |step| {
                step.failures.values().sum::<u64>() as f64
            }),
        ],
        marks: Vec::new(),
    };
    vec![latency, rate]
}
