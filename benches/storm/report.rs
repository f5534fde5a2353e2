//! Report of a storm: plans and outcomes by kind, the verdicts, and commands that repeat failures.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use crate::ledger::{Act, Ledger, Outcome};
use crate::plan::{ApiFault, CallerFault, Http, Plan, ResetAt, Writes};
use crate::storm::Storm;
use crate::verdict::{Faultless, Verdict, faultless, judge};

/// Failures of one verdict that are printed.
const MAX_EXAMPLES: usize = 5;

/// The result of one storm.
pub(crate) struct Report {
    storm: Storm,
    sent: u64,
    /// Requests that did not begin in time.
    unsent: u64,
    time: Duration,
    /// Whether all connections to the API have ended.
    has_ended: bool,
    tokens: u64,
    reloads: u64,
    callers: BTreeMap<String, u64>,
    apis: BTreeMap<String, u64>,
    /// Resets by code, of callers and of the API.
    codes: BTreeMap<u32, [u64; 2]>,
    acts: BTreeMap<&'static str, u64>,
    faultless: BTreeMap<Faultless, u64>,
    pub(crate) verdicts: BTreeMap<Verdict, u64>,
    examples: Vec<String>,
}

impl Report {
    /// Judges the entries of `ledger`.
    pub(crate) fn new(
        storm: Storm,
        ledger: &Ledger,
        time: Duration,
        has_ended: bool,
        tokens: u64,
        reloads: u64,
    ) -> Self {
        let mut report = Report {
            storm,
            sent: 0,
            unsent: 0,
            time,
            has_ended,
            tokens,
            reloads,
            callers: BTreeMap::new(),
            apis: BTreeMap::new(),
            codes: BTreeMap::new(),
            acts: BTreeMap::new(),
            faultless: BTreeMap::new(),
            verdicts: Verdict::ALL.map(|verdict| (verdict, 0)).into(),
            examples: Vec::new(),
        };
        for (id, entry) in ledger.entries() {
            if matches!(entry.outcome, Outcome::None) {
                report.unsent += 1;
                continue;
            }
            report.sent += 1;
            let plan = storm.plans.plan(id);
            report.count(&plan);
            for exchange in &entry.exchanges {
                *report.acts.entry(describe_act(exchange.act)).or_default() += 1;
            }
            if let Some(what) = faultless(&plan, &entry) {
                *report.faultless.entry(what).or_default() += 1;
            }
            for verdict in judge(id, &plan, &entry) {
                let count = report.verdicts.entry(verdict).or_default();
                *count += 1;
                if *count <= MAX_EXAMPLES as u64 {
                    let caller = storm.plans.caller_http(id / crate::plan::SESSION_REQUESTS);
                    let before = id
                        .checked_sub(1)
                        .and_then(|before| ledger.change(before, |entry| entry.clone()));
                    report.examples.push(format!(
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

    /// Whether the proxy served, and broke no rule.
    pub(crate) fn is_clean(&self) -> bool {
        let all_sent = self.unsent == 0 || self.storm.time.is_some();
        self.has_ended
            && all_sent
            && self.has_served()
            && self.verdicts.values().all(|&count| count == 0)
    }

    /// Whether most requests without a fault got the API's response: a proxy that refuses
    /// everything breaks no rule. A storm that repeats one request may have none.
    pub(crate) fn has_served(&self) -> bool {
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

    /// The failures that a faulty proxy caused, in one line.
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

    /// The verdicts without a failure, of those that can fail before this API.
    pub(crate) fn missed(&self) -> impl Iterator<Item = &'static str> {
        let is_http1 = self.storm.plans.api == Http::One;
        let missed = self
            .verdicts
            .iter()
            .filter(|(_, count)| **count == 0)
            .map(|(verdict, _)| *verdict);
        // REFUSED_STREAM exists only in HTTP/2.
        missed
            .filter(move |verdict| !(is_http1 && *verdict == Verdict::Multiplied))
            .map(Verdict::name)
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
        if self.unsent > 0 {
            writeln!(f, "  {} requests were not sent", self.unsent)?;
        }
        if !self.has_ended {
            writeln!(f, "  connections to the API did not end with the proxy")?;
        }
        if !self.has_served() {
            writeln!(f, "  the API did not answer most requests without a fault")?;
        }
        self.examples
            .iter()
            .try_for_each(|failure| writeln!(f, "  {failure}"))?;
        if !self.is_clean() {
            writeln!(f, "  again: {}", self.storm.command(None))?;
        }
        Ok(())
    }
}

fn describe_act(act: Act) -> &'static str {
    match act {
        Act::Done => "acted on",
        Act::Unauthorized => "answered with 401",
        Act::Refused => "refused (REFUSED_STREAM)",
        Act::AboveGoAway => "above the last stream of GOAWAY",
    }
}

fn describe_reset(at: ResetAt) -> &'static str {
    match at {
        ResetAt::AfterHead => "after the head",
        ResetAt::MidBody => "in the middle of the body",
        ResetAt::NoEnd => "after the data, before its end",
    }
}

fn describe_writes(writes: Writes) -> &'static str {
    match writes {
        Writes::One => "one write",
        Writes::HeadApart => "head, then one write",
        Writes::Each => "several writes",
    }
}

fn caller_kind(fault: CallerFault) -> String {
    match fault {
        CallerFault::Reset(reset) => {
            format!(
                "HTTP/2 reset {}, {}",
                describe_reset(reset.at),
                describe_writes(reset.writes)
            )
        }
        CallerFault::Leave(end, _) => format!("Leave({end:?})"),
        fault => format!("{fault:?}"),
    }
}

fn api_kind(fault: ApiFault) -> String {
    match fault {
        ApiFault::Reset(reset) => {
            format!(
                "reset {}, {}",
                describe_reset(reset.at),
                describe_writes(reset.writes)
            )
        }
        ApiFault::ResetBefore { is_read, .. } => {
            format!("reset before the response, request read: {is_read}")
        }
        ApiFault::GoAwayBefore(_) => "GoAwayBefore".to_owned(),
        ApiFault::GoAwayNow(_) => "GoAwayNow".to_owned(),
        fault => format!("{fault:?}"),
    }
}
