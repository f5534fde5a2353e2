//! One run of the load test: the target, the generator, the sampler, and the reconciliation at the
//! end.

use std::path::Path;
use std::time::{Duration, Instant};

use http::Method;
use serde::Serialize;

use crate::arithmetic::mix::Mix;
use crate::arithmetic::reconcile::{mismatches, total};
use crate::connections::Connections;
use crate::failure::Result;
use crate::figures::{Figures, Phase};
use crate::generator::Generator;
use crate::images::Images;
use crate::options::{LoadOptions, SetUpOptions};
use crate::probe::Probe;
use crate::requests::Requests;
use crate::resources::{Sampler, cpu, memory};
use crate::set_up::SetUp;

/// Journeys that start before the load.
const INITIAL_JOURNEYS: usize = 16;

/// Requirements of a mode besides the options.
pub(crate) struct ModeDefaults<'a> {
    /// Default mix.
    pub(crate) mix: &'a str,
    /// Settings of the proxy.
    pub(crate) set: Vec<String>,
    /// Faults of the sandbox, besides those of the options.
    pub(crate) faults: Vec<String>,
}

pub(crate) struct Run {
    pub(crate) mix: Mix,
    set_up: SetUp,
    generator: Generator,
    sandbox: Option<Probe>,
    admin: Option<Probe>,
    faults: Vec<String>,
    repeats_before: u64,
}

/// The measurements of consecutive phases.
pub(crate) struct Measured {
    /// By phase.
    pub(crate) figures: Vec<Figures>,
    /// Start of the first phase.
    pub(crate) began: Instant,
    /// CPU time of the proxy per request.
    pub(crate) cpu: Option<Duration>,
}

impl Run {
    /// Starts the target.
    pub(crate) async fn start(
        of: &SetUpOptions,
        load: &LoadOptions,
        needs: ModeDefaults<'_>,
    ) -> Result<Self> {
        let mix = load.mix(needs.mix)?;
        let set_up = SetUp::start(of, &needs.set, &load.directory()).await?;
        let target = set_up.target()?;
        let requests = Requests::new(
            &target.host()?,
            set_up.key.as_ref(),
            Images::new(load.images),
        )?;
        let connections = Connections::new(target, load.connections.get() as usize);
        let mut generator = Generator::new(requests, connections, mix, load.timeout)?;
        let (sandbox, mut admin) = (set_up.sandbox()?, set_up.admin()?);
        let repeats_before = match &mut admin {
            Some(admin) => admin.metrics().await?.repeats,
            None => 0,
        };
        generator.prepare(INITIAL_JOURNEYS).await?;
        let faults = needs
            .faults
            .into_iter()
            .chain(of.faults.iter().map(ToString::to_string))
            .collect();
        Ok(Run {
            mix,
            set_up,
            generator,
            sandbox,
            admin,
            faults,
            repeats_before,
        })
    }

    /// Injects the faults from now on: faults of a few calls have to hit measured ones.
    pub(crate) async fn inject_faults(&mut self) -> Result<()> {
        let Some(sandbox) = &mut self.sandbox else {
            return Ok(());
        };
        let list = serde_json::json!(self.faults).to_string();
        sandbox
            .ask(Method::PUT, "/sandbox/faults", list)
            .await
            .map(drop)
    }

    /// Drives the phases without a pause, until the last response.
    pub(crate) async fn drive(&mut self, phases: &[Phase]) -> Result<Measured> {
        let used = |set_up: &SetUp| set_up.pid.and_then(cpu);
        let (began, before, due) = (
            Instant::now(),
            used(&self.set_up),
            self.generator.ledger().due,
        );
        let figures = self.generator.drive(phases).await?;
        let requests = u32::try_from(self.generator.ledger().due - due)
            .unwrap_or(u32::MAX)
            .max(1);
        let cpu = used(&self.set_up)
            .zip(before)
            .map(|(after, before)| after.saturating_sub(before) / requests);
        self.set_up.check()?;
        Ok(Measured {
            figures,
            began,
            cpu,
        })
    }

    /// Samples the proxy's memory and token from now on.
    pub(crate) fn start_sampler(&self) -> Result<Sampler> {
        Ok(Sampler::start(self.set_up.pid, self.set_up.admin()?))
    }

    /// Resident memory of the proxy, in bytes.
    pub(crate) fn memory(&self) -> Option<u64> {
        self.set_up.pid.and_then(memory)
    }

    /// The directory of results.
    pub(crate) fn directory(&self) -> &Path {
        self.set_up.directory()
    }

    /// Compares the sent requests with those that the sandbox counted.
    pub(crate) async fn reconcile(&mut self) -> Result<Reconciliation> {
        let ledger = self.generator.ledger();
        let repeats = match &mut self.admin {
            Some(admin) => admin
                .metrics()
                .await?
                .repeats
                .saturating_sub(self.repeats_before),
            None => 0,
        };
        let seen = match &mut self.sandbox {
            Some(sandbox) => Some(sandbox.responses().await?),
            None => None,
        };
        Ok(Reconciliation {
            due: ledger.due,
            answered: ledger.answers(),
            refused: ledger.refused,
            unknown: ledger.unknowns(),
            repeats,
            sandbox: seen.as_ref().map(total),
            mismatches: seen
                .map(|seen| mismatches(&ledger, &seen, repeats))
                .unwrap_or_default(),
        })
    }
}

/// The outcomes of all requests, and the counts of the sandbox.
#[derive(Debug, Serialize)]
pub(crate) struct Reconciliation {
    due: u64,
    answered: u64,
    refused: u64,
    unknown: u64,
    repeats: u64,
    sandbox: Option<u64>,
    pub(crate) mismatches: Vec<String>,
}

impl Reconciliation {
    /// As text.
    pub(crate) fn lines(&self) -> Vec<String> {
        let Reconciliation {
            due,
            answered,
            refused,
            unknown,
            repeats,
            sandbox,
            mismatches,
        } = self;
        let mut lines = vec![format!(
            "{due} requests: {answered} answered by the API, {refused} refused by the proxy, {unknown} of unknown fate; \
             {repeats} sent once more by the proxy"
        )];
        match sandbox {
            None => lines.push("not reconciled: what arrived at the API is not known".to_owned()),
            Some(seen) if mismatches.is_empty() && *unknown == 0 => {
                lines.push(format!(
                    "the sandbox counted {seen}: nothing lost, nothing twice"
                ));
            }
            Some(seen) if mismatches.is_empty() => {
                lines.push(format!(
                    "the sandbox counted {seen}: nothing twice; {unknown} got no answer"
                ));
            }
            Some(seen) => {
                lines.push(format!("the sandbox counted {seen}, which does not fit:"));
                lines.extend(
                    mismatches
                        .iter()
                        .map(|mismatch| format!("MISMATCH: {mismatch}")),
                );
            }
        }
        lines
    }
}

/// The parts of a completed run that decide the exit code.
#[derive(Debug)]
pub(crate) struct RunOutcome {
    /// Whether a request was lost or processed twice.
    pub(crate) is_mismatched: bool,
    /// Requests that failed in a way that the mode does not provoke.
    pub(crate) failures: u64,
}
