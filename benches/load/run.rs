//! One run of the load test: what is driven, who drives it, who watches, and the reckoning at the
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
use crate::resources::{Watch, cpu, memory};
use crate::set_up::SetUp;

/// Journeys that are there before the load begins.
const JOURNEYS: usize = 16;

/// What a mode needs of a run besides the options.
pub(crate) struct Needs<'a> {
    /// The mix, if none is asked for.
    pub(crate) mix: &'a str,
    /// Settings of the proxy's.
    pub(crate) set: Vec<String>,
    /// Faults of the sandbox's, besides those that are asked for.
    pub(crate) faults: Vec<String>,
}

/// A run.
pub(crate) struct Run {
    pub(crate) mix: Mix,
    set_up: SetUp,
    generator: Generator,
    sandbox: Option<Probe>,
    admin: Option<Probe>,
    faults: Vec<String>,
    repeats_before: u64,
}

/// What was driven at one go.
pub(crate) struct Driven {
    /// The figures of each phase.
    pub(crate) figures: Vec<Figures>,
    /// When the first phase began.
    pub(crate) began: Instant,
    /// The CPU time of the proxy, for each request.
    pub(crate) cpu: Option<Duration>,
}

impl Run {
    /// Starts what is driven.
    pub(crate) async fn begin(
        of: &SetUpOptions,
        load: &LoadOptions,
        needs: Needs<'_>,
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
        generator.prepare(JOURNEYS).await?;
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

    /// Lets go wrong what is to, from now on: faults for some calls alone are to strike what is
    /// measured.
    pub(crate) async fn let_go_wrong(&mut self) -> Result<()> {
        let Some(sandbox) = &mut self.sandbox else {
            return Ok(());
        };
        let list = serde_json::json!(self.faults).to_string();
        sandbox
            .ask(Method::PUT, "/sandbox/faults", list)
            .await
            .map(drop)
    }

    /// Drives these phases without a pause, until all has ended.
    pub(crate) async fn drive(&mut self, phases: &[Phase]) -> Result<Driven> {
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
        Ok(Driven {
            figures,
            began,
            cpu,
        })
    }

    /// Samples of the proxy's memory and token from now on.
    pub(crate) fn watch(&self) -> Result<Watch> {
        Ok(Watch::begin(self.set_up.pid, self.set_up.admin()?))
    }

    /// Resident memory of the proxy, in bytes.
    pub(crate) fn memory(&self) -> Option<u64> {
        self.set_up.pid.and_then(memory)
    }

    /// Where files go.
    pub(crate) fn directory(&self) -> &Path {
        self.set_up.directory()
    }

    /// Compares what was sent with what the sandbox counted.
    pub(crate) async fn reconcile(&mut self) -> Result<Reckoning> {
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
            Some(sandbox) => Some(sandbox.answered().await?),
            None => None,
        };
        Ok(Reckoning {
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

/// What became of all requests, beside what the sandbox counted.
#[derive(Debug, Serialize)]
pub(crate) struct Reckoning {
    due: u64,
    answered: u64,
    refused: u64,
    unknown: u64,
    repeats: u64,
    sandbox: Option<u64>,
    pub(crate) mismatches: Vec<String>,
}

impl Reckoning {
    /// In words.
    pub(crate) fn lines(&self) -> Vec<String> {
        let Reckoning {
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

/// That a run could be done, and what is to be told of it to whoever waits for its exit code.
#[derive(Debug)]
pub(crate) struct Done {
    /// Whether something was lost or done twice.
    pub(crate) is_mismatched: bool,
    /// Requests that ended in a way that the mode does not provoke.
    pub(crate) failures: u64,
}
