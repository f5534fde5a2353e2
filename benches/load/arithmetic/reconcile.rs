//! Reconciliation of the generator's ledger with the sandbox's counts: no request may be lost or
//! processed twice.

use std::collections::BTreeMap;

/// Calls by endpoint and status.
pub(crate) type Counts = BTreeMap<String, BTreeMap<u16, u64>>;

/// The outcomes of all requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// Requests that were due.
    pub(crate) due: u64,
    /// Requests with a response of the API.
    pub(crate) answered: Counts,
    /// Requests that the proxy reports as not sent.
    pub(crate) refused: u64,
    /// Requests that the API may or may not have received, by endpoint.
    pub(crate) unknown: BTreeMap<String, u64>,
}

impl Ledger {
    /// Those that the API answered.
    pub(crate) fn answers(&self) -> u64 {
        total(&self.answered)
    }

    /// Number of requests that the API may or may not have received.
    pub(crate) fn unknowns(&self) -> u64 {
        self.unknown.values().sum()
    }
}

/// Number of all calls.
pub(crate) fn total(counts: &Counts) -> u64 {
    counts.values().flat_map(BTreeMap::values).sum()
}

/// The mismatches, one line each, if the API counted `seen` and the proxy repeated `repeats`
/// requests.
///
/// Calls beyond the responses must be requests with an unknown outcome, or ones that the proxy
/// repeated.
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
