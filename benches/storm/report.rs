//! The report: what was planned, what became of it, the verdicts, and how to see a failure again.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use crate::ledger::{Act, Ledger, Outcome};
use crate::plan::{ApiFault, CallerFault, Http, Plan, ResetAt, Writes};
use crate::run::Storm;
use crate::verdict::{Faultless, Verdict, faultless, judge};

/// Failures of one verdict that are shown.
const SHOWN: usize = 5;

/// The result of one storm.
pub(crate) struct Report {
    storm: Storm,
    sent: u64,
    /// Requests that were not begun in time.
    unsettled: u64,
    time: Duration,
    /// Whether all connections to the API have ended.
    is_over: bool,
    tokens: u64,
    reloads: u64,
    callers: BTreeMap<String, u64>,
    apis: BTreeMap<String, u64>,
    /// Resets by code, of callers and of the API.
    codes: BTreeMap<u32, [u64; 2]>,
    acts: BTreeMap<&'static str, u64>,
    faultless: BTreeMap<Faultless, u64>,
    pub(crate) verdicts: BTreeMap<Verdict, u64>,
    shown: Vec<String>,
}

impl Report {
    /// Judges what `ledger` has of the storm.
    pub(crate) fn new(
        storm: Storm,
        ledger: &Ledger,
        time: Duration,
        is_over: bool,
        tokens: u64,
        reloads: u64,
    ) -> Self {
        let mut report = Report {
            storm,
            sent: 0,
            unsettled: 0,
            time,
            is_over,
            tokens,
            reloads,
            callers: BTreeMap::new(),
            apis: BTreeMap::new(),
            codes: BTreeMap::new(),
            acts: BTreeMap::new(),
            faultless: BTreeMap::new(),
            verdicts: Verdict::ALL.map(|verdict| (verdict, 0)).into(),
            shown: Vec::new(),
        };
        for (id, entry) in ledger.entries() {
            if matches!(entry.outcome, Outcome::None) {
                report.unsettled += 1;
                continue;
            }
            report.sent += 1;
            let plan = storm.plans.plan(id);
            report.count(&plan);
            for exchange in &entry.exchanges {
                *report.acts.entry(act(exchange.act)).or_default() += 1;
            }
            if let Some(what) = faultless(&plan, &entry) {
                *report.faultless.entry(what).or_default() += 1;
            }
            for verdict in judge(id, &plan, &entry) {
                let count = report.verdicts.entry(verdict).or_default();
                *count += 1;
                if *count <= SHOWN as u64 {
                    let caller = storm.plans.caller_http(id / crate::plan::SESSION);
                    let before = id
                        .checked_sub(1)
                        .and_then(|before| ledger.change(before, |entry| entry.clone()));
                    report.shown.push(format!(
                        "{}: request {id}, caller over HTTP {caller:?}\n    {plan:?}\n    {entry:?}\n    before it: {:?} {before:?}\n    again: {}",
                        verdict.name(),
                        storm.plans.plan(id.saturating_sub(1)),
                        storm.command(Some(id))
                    ));
                }
            }
        }
        report
    }

    fn count(&mut self, plan: &Plan) {
        let (caller, api) = (caller_kind(plan.caller), api_kind(plan.api));
        *self.callers.entry(caller).or_default() += 1;
        *self.apis.entry(api).or_default() += 1;
        let code = match plan.caller {
            CallerFault::Reset(reset) => Some(reset.code),
            _ => None,
        };
        if let Some(code) = code {
            self.codes.entry(code).or_default()[0] += 1;
        }
        let code = match plan.api {
            ApiFault::Reset(reset) => Some(reset.code),
            ApiFault::ResetBefore { code, .. } => Some(code),
            _ => None,
        };
        if let Some(code) = code {
            self.codes.entry(code).or_default()[1] += 1;
        }
    }

    /// Whether no rule was broken, in a storm in which the proxy served.
    pub(crate) fn is_clean(&self) -> bool {
        let is_all = self.unsettled == 0 || self.storm.time.is_some();
        self.is_over
            && is_all
            && self.is_served()
            && self.verdicts.values().all(|&count| count == 0)
    }

    /// Whether most requests without a fault were answered by the API: a proxy that refuses
    /// everything breaks no rule. There may be none, if one request is repeated.
    pub(crate) fn is_served(&self) -> bool {
        if self.storm.plans.only.is_some() {
            return true;
        }
        let answered = self
            .faultless
            .get(&Faultless::Answered)
            .copied()
            .unwrap_or(0);
        answered > 0 && answered * 2 > self.faultless.values().sum()
    }
}

impl Storm {
    /// The command that repeats it, or one request of it.
    fn command(&self, id: Option<u64>) -> String {
        let api = if self.plans.api == Http::One {
            "1.1"
        } else {
            "2"
        };
        let which = id.map_or(format!("--requests {}", self.requests), |id| {
            format!("--requests 1000 --id {id}")
        });
        format!(
            "cargo bench --bench storm -- run --seed {} --api {api} {which}",
            self.plans.seed
        )
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let api = if self.storm.plans.api == Http::One {
            "HTTP/1.1"
        } else {
            "HTTP/2"
        };
        writeln!(
            f,
            "{} requests before an API over {api} in {:.1} s ({:.0} a second), seed {}; {} tokens, {} reloads",
            self.sent,
            self.time.as_secs_f64(),
            self.sent as f64 / self.time.as_secs_f64(),
            self.storm.plans.seed,
            self.tokens,
            self.reloads
        )?;
        for (title, counts) in [("callers", &self.callers), ("API", &self.apis)] {
            writeln!(f, "  {title}:")?;
            counts
                .iter()
                .try_for_each(|(kind, count)| writeln!(f, "    {count:>7}  {kind}"))?;
        }
        if !self.codes.is_empty() {
            write!(f, "  resets by code (of callers/of the API):")?;
            for (code, [callers, api]) in &self.codes {
                write!(f, " {code}: {callers}/{api}")?;
            }
            writeln!(f)?;
        }
        writeln!(f, "  exchanges with the API:")?;
        self.acts
            .iter()
            .try_for_each(|(act, count)| writeln!(f, "    {count:>7}  {act}"))?;
        writeln!(f, "  pairs without a fault of their own:")?;
        self.faultless
            .iter()
            .try_for_each(|(what, count)| writeln!(f, "    {count:>7}  {what:?}"))?;
        writeln!(f, "  verdicts:")?;
        for (verdict, count) in &self.verdicts {
            writeln!(f, "    {count:>7}  {}", verdict.name())?;
        }
        if self.unsettled > 0 {
            writeln!(f, "  {} requests were not sent", self.unsettled)?;
        }
        if !self.is_over {
            writeln!(f, "  connections to the API did not end with the proxy")?;
        }
        if !self.is_served() {
            writeln!(f, "  the API did not answer most requests without a fault")?;
        }
        self.shown
            .iter()
            .try_for_each(|failure| writeln!(f, "  {failure}"))?;
        if !self.is_clean() {
            writeln!(f, "  again: {}", self.storm.command(None))?;
        }
        Ok(())
    }
}

fn act(act: Act) -> &'static str {
    match act {
        Act::Done => "acted on",
        Act::Unauthorized => "answered with 401",
        Act::Refused => "refused (REFUSED_STREAM)",
        Act::AboveGoAway => "above the last stream of GOAWAY",
    }
}

fn place(at: ResetAt) -> &'static str {
    match at {
        ResetAt::AfterHead => "after the head",
        ResetAt::MidBody => "in the middle of the body",
        ResetAt::NoEnd => "after the data, before its end",
    }
}

fn writes(writes: Writes) -> &'static str {
    match writes {
        Writes::One => "one write",
        Writes::HeadApart => "head, then one write",
        Writes::Each => "several writes",
    }
}

fn caller_kind(fault: CallerFault) -> String {
    match fault {
        CallerFault::Reset(reset) => {
            format!("HTTP/2 reset {}, {}", place(reset.at), writes(reset.writes))
        }
        CallerFault::Leave(end, _) => format!("Leave({end:?})"),
        fault => format!("{fault:?}"),
    }
}

fn api_kind(fault: ApiFault) -> String {
    match fault {
        ApiFault::Reset(reset) => {
            format!("reset {}, {}", place(reset.at), writes(reset.writes))
        }
        ApiFault::ResetBefore { is_read, .. } => {
            format!("reset before the response, request read: {is_read}")
        }
        ApiFault::GoAwayBefore(_) => "GoAwayBefore".to_owned(),
        ApiFault::GoAwayNow(_) => "GoAwayNow".to_owned(),
        fault => format!("{fault:?}"),
    }
}

impl Report {
    /// That each verdict can fail, in a line.
    pub(crate) fn proof(&self) -> String {
        let counts: Vec<_> = self.verdicts.values().map(u64::to_string).collect();
        format!(
            "a proxy that breaks the rules, {} requests before an API over HTTP {:?} in {:.1} s: {} failures by verdict\n",
            self.sent,
            self.storm.plans.api,
            self.time.as_secs_f64(),
            counts.join(", ")
        )
    }

    /// The verdicts that found nothing, of those that can find something before this API.
    pub(crate) fn missed(&self) -> impl Iterator<Item = &'static str> {
        let is_http1 = self.storm.plans.api == Http::One;
        let missed = self
            .verdicts
            .iter()
            .filter(|(_, count)| **count == 0)
            .map(|(verdict, _)| *verdict);
        // Only HTTP/2 refuses streams.
        missed
            .filter(move |verdict| !(is_http1 && *verdict == Verdict::Multiplied))
            .map(Verdict::name)
    }
}
