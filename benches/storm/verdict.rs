//! Verdicts on the proxy, from the entries of the ledger alone.

use crate::http1::Ended;
use crate::ledger::{Act, Entry, Outcome, Sent};
use crate::plan::{ApiFault, CallerFault, Plan};
use crate::wire::Content;

/// A rule that the proxy broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    TornRequest,
    TornResponse,
    Doubled,
    Mixed,
    Multiplied,
    NoError,
    Lost,
    Misread,
}

impl Verdict {
    pub(crate) const ALL: [Verdict; 8] = [
        Verdict::TornRequest,
        Verdict::TornResponse,
        Verdict::Doubled,
        Verdict::Mixed,
        Verdict::Multiplied,
        Verdict::NoError,
        Verdict::Lost,
        Verdict::Misread,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Verdict::TornRequest => "torn requests that reached the API as complete",
            Verdict::TornResponse => "torn responses that reached the caller as complete",
            Verdict::Doubled => "requests that the API may have acted on more often than is right",
            Verdict::Mixed => "requests or responses with the content of another",
            Verdict::Multiplied => "requests that were refused (REFUSED_STREAM) more than twice",
            Verdict::NoError => "partial responses that ended with RST_STREAM(NO_ERROR)",
            Verdict::Lost => {
                "whole responses to whole requests that did not arrive, without a reason"
            }
            Verdict::Misread => "whole requests that were refused with a 4xx of the proxy's own",
        }
    }
}

/// The outcome of a request whose caller and API have no fault.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Faultless {
    Answered,
    /// A response of the proxy itself, with its reason.
    Own(String),
    /// The proxy closed a reused HTTP/1.1 connection without reading the request. It may after an
    /// early response, and the API has not received the request.
    Closed,
    /// The fault of another request ended the connection.
    Collateral,
    Lost,
}

/// The rules that the proxy broke with the request `id`.
pub(crate) fn judge(id: u64, plan: &Plan, entry: &Entry) -> Vec<Verdict> {
    let mut found = Vec::new();
    let is_torn = |content| content == Content::Torn;
    if entry.exchanges.iter().any(|exchange| {
        exchange.is_framed && (entry.request == Sent::Torn || is_torn(exchange.content))
    }) {
        found.push(Verdict::TornRequest);
    }
    if entry
        .exchanges
        .iter()
        .any(|exchange| exchange.content == Content::Foreign)
    {
        found.push(Verdict::Mixed);
    }
    // The proxy may repeat a safe request once.
    if entry.count(Act::Done) > if plan.is_safe { 2 } else { 1 } {
        found.push(Verdict::Doubled);
    }
    if entry.count(Act::Refused) > 2 {
        found.push(Verdict::Multiplied);
    }
    match &entry.outcome {
        Outcome::Response {
            tag,
            content,
            ended,
            ..
        } => {
            let exchange = tag
                .filter(|tag| tag.id == id)
                .and_then(|tag| entry.exchanges.get((tag.attempt as usize).checked_sub(1)?));
            match exchange {
                None => found.push(Verdict::Mixed),
                Some(_) if *content == Content::Foreign => found.push(Verdict::Mixed),
                Some(exchange) if *ended == Ended::Whole => {
                    if exchange.response == Sent::Torn || is_torn(*content) {
                        found.push(Verdict::TornResponse);
                    }
                }
                Some(_) => {}
            }
            if *ended == Ended::Reset(0) {
                found.push(Verdict::NoError);
            }
        }
        Outcome::NoHead(Ended::Reset(0)) => found.push(Verdict::NoError),
        _ => {}
    }
    match faultless(plan, entry) {
        Some(Faultless::Lost) => found.push(Verdict::Lost),
        Some(Faultless::Own(reason)) if reason.starts_with('4') => found.push(Verdict::Misread),
        _ => {}
    }
    found
}

/// The outcome, if neither the caller nor the API has a fault.
pub(crate) fn faultless(plan: &Plan, entry: &Entry) -> Option<Faultless> {
    if plan.caller != CallerFault::None || plan.api != ApiFault::None {
        return None;
    }
    Some(match &entry.outcome {
        Outcome::Response {
            ended: Ended::Whole,
            ..
        } => Faultless::Answered,
        Outcome::Own(reason) => Faultless::Own(reason.clone()),
        Outcome::None | Outcome::GaveUp => Faultless::Collateral,
        _ if entry
            .exchanges
            .iter()
            .any(|exchange| exchange.connection.is_set()) =>
        {
            Faultless::Collateral
        }
        Outcome::Closed if entry.exchanges.is_empty() => Faultless::Closed,
        Outcome::Silent | Outcome::NoHead(_) | Outcome::Closed | Outcome::Response { .. } => {
            Faultless::Lost
        }
    })
}
