//! What was sent and answered, against what the sandbox counted: nothing may be lost, and nothing
//! done twice.

use std::collections::BTreeMap;

/// Calls by endpoint and status.
pub(crate) type Counts = BTreeMap<String, BTreeMap<u16, u64>>;

/// What became of all requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// Those that were due.
    pub(crate) due: u64,
    /// Those that the API answered.
    pub(crate) answered: Counts,
    /// Those of which the proxy says that it did not send them.
    pub(crate) refused: u64,
    /// Those that the API may or may not have had, by endpoint.
    pub(crate) unknown: BTreeMap<String, u64>,
}

impl Ledger {
    /// Those that the API answered.
    pub(crate) fn answers(&self) -> u64 {
        total(&self.answered)
    }

    /// Those that the API may or may not have had.
    pub(crate) fn unknowns(&self) -> u64 {
        self.unknown.values().sum()
    }
}

/// All calls.
pub(crate) fn total(counts: &Counts) -> u64 {
    counts.values().flat_map(BTreeMap::values).sum()
}

/// What does not fit, a line each, where the API counted `seen` and the proxy sent `repeats`
/// requests once more.
///
/// What the API counts beyond the answers must be requests whose fate nobody knows, or what the
/// proxy says it repeated.
pub(crate) fn mismatches(ledger: &Ledger, seen: &Counts, repeats: u64) -> Vec<String> {
    let mut found = Vec::new();
    let ended = ledger.answers() + ledger.refused + ledger.unknowns();
    if ledger.due != ended {
        found.push(format!(
            "{} requests were due, and {ended} ended",
            ledger.due
        ));
    }
    for (endpoint, status, answered) in each(&ledger.answered) {
        let seen = seen
            .get(endpoint)
            .and_then(|counts| counts.get(&status))
            .copied()
            .unwrap_or_default();
        if answered > seen {
            found.push(format!(
                "{endpoint}: {answered} answers {status}, of which the sandbox gave {seen}"
            ));
        }
    }
    let mut beyond = BTreeMap::new();
    for (endpoint, status, seen) in each(seen) {
        let answered = ledger
            .answered
            .get(endpoint)
            .and_then(|counts| counts.get(&status))
            .copied();
        *beyond.entry(endpoint).or_default() += seen.saturating_sub(answered.unwrap_or_default());
    }
    for (endpoint, &beyond) in &beyond {
        let unknown = ledger.unknown.get(*endpoint).copied().unwrap_or_default();
        if beyond > unknown + repeats {
            found.push(format!(
                "{endpoint}: the sandbox had {beyond} calls beyond those that were answered; {unknown} of unknown fate \
                 and {repeats} repeats explain no more"
            ));
        }
    }
    let (beyond, unknown) = (beyond.values().sum::<u64>(), ledger.unknowns());
    if found.is_empty() && beyond > unknown + repeats {
        found.push(format!(
            "the sandbox had {beyond} calls beyond those that were answered; {unknown} of unknown fate and {repeats} \
             repeats explain no more"
        ));
    }
    found
}

fn each(counts: &Counts) -> impl Iterator<Item = (&str, u16, u64)> {
    counts.iter().flat_map(|(endpoint, counts)| {
        counts
            .iter()
            .map(move |(&status, &count)| (endpoint.as_str(), status, count))
    })
}
