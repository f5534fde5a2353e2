//! Ledger of each request: what its caller sent, what the API received and sent, and what the
//! caller received.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::sleep;

use crate::http1::Ended;
use crate::wire::{Content, Tag};

const BEGUN_POLLS: usize = 20;
const BEGUN_POLL_INTERVAL: Duration = Duration::from_millis(1);

/// The part of a message that a side has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Incomplete.
    #[default]
    Torn,
    /// All of the declared length, without a proper end: the proxy may treat it either way.
    ByLength,
    Whole,
}

/// The action of the API on a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Act {
    /// The API may have acted on the request.
    #[default]
    Done,
    /// 401.
    Unauthorized,
    /// REFUSED_STREAM.
    Refused,
    /// A stream above the last one of GOAWAY.
    AboveGoAway,
}

/// Whether a scripted fault has ended a connection that other requests share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Killed(Arc<AtomicBool>);

impl Killed {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// One exchange of the request with the API.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exchange {
    pub(crate) act: Act,
    /// Whether the request was complete by its framing.
    pub(crate) is_framed: bool,
    pub(crate) content: Content,
    pub(crate) response: Sent,
    pub(crate) connection: Killed,
    /// Whether the planned fault happened.
    pub(crate) is_faulty: bool,
}

/// The outcome of a request for its caller.
#[derive(Clone, Debug, Default)]
pub(crate) enum Outcome {
    /// The request did not begin.
    #[default]
    None,
    /// The caller did not wait for the response, or ended the shared connection.
    GaveUp,
    /// The response timed out.
    Silent,
    /// No response head arrived.
    NoHead(Ended),
    /// A response of the proxy itself, with its reason.
    Own(String),
    /// HTTP/1.1: a reused connection closed without a response.
    Closed,
    /// A response of the API, maybe incomplete.
    Response {
        #[expect(dead_code, reason = "shown with a failure")]
        status: u16,
        tag: Option<Tag>,
        content: Content,
        ended: Ended,
    },
}

/// The record of one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entry {
    pub(crate) request: Sent,
    pub(crate) exchanges: Vec<Exchange>,
    pub(crate) outcome: Outcome,
}

impl Entry {
    /// The number of exchanges with `act`.
    pub(crate) fn count(&self, act: Act) -> usize {
        self.exchanges
            .iter()
            .filter(|exchange| exchange.act == act)
            .count()
    }
}

/// The entries of all requests.
pub(crate) struct Ledger(Vec<Mutex<Entry>>);

impl Ledger {
    pub(crate) fn new(requests: u64) -> Self {
        Ledger((0..requests).map(|_| Mutex::default()).collect())
    }

    /// Changes the entry of `id`; `None` if there is none.
    pub(crate) fn change<T>(&self, id: u64, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let entry = self.0.get(usize::try_from(id).ok()?)?;
        Some(change(&mut entry.lock()))
    }

    pub(crate) fn record_sent(&self, id: u64, sent: Sent) {
        self.change(id, |entry| entry.request = sent);
    }

    /// Waits until the API has received the head of `id`, but not for long: faults have to hit the
    /// proxy in every state.
    pub(crate) async fn wait_until_begun(&self, id: u64) {
        for _ in 0..BEGUN_POLLS {
            if self.change(id, |entry| !entry.exchanges.is_empty()) != Some(false) {
                return;
            }
            sleep(BEGUN_POLL_INTERVAL).await;
        }
    }

    pub(crate) fn record_outcome(&self, id: u64, outcome: Outcome) {
        self.change(id, |entry| entry.outcome = outcome);
    }

    /// Copies of all entries with their ids.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (u64, Entry)> {
        (0..)
            .zip(&self.0)
            .map(|(id, entry)| (id, entry.lock().clone()))
    }
}

/// The API's side of one exchange.
#[derive(Clone)]
pub(crate) struct ExchangeRecord {
    ledger: Arc<Ledger>,
    pub(crate) id: u64,
    index: usize,
    /// Whether the planned fault applies: it has not happened yet, or happens each time.
    pub(crate) is_due: bool,
}

impl ExchangeRecord {
    /// Begins the next exchange of `id`.
    pub(crate) fn begin(
        ledger: &Arc<Ledger>,
        id: u64,
        connection: &Killed,
        persists: bool,
    ) -> Option<Self> {
        let (index, is_due) = ledger.change(id, |entry| {
            let is_due = persists || entry.exchanges.iter().all(|exchange| !exchange.is_faulty);
            entry.exchanges.push(Exchange {
                connection: connection.clone(),
                ..Exchange::default()
            });
            (entry.exchanges.len() - 1, is_due)
        })?;
        Some(ExchangeRecord {
            ledger: Arc::clone(ledger),
            id,
            index,
            is_due,
        })
    }

    /// The number of the exchange, from 1 on.
    pub(crate) fn attempt(&self) -> u32 {
        self.index as u32 + 1
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Exchange)) {
        self.ledger.change(self.id, |entry| {
            entry.exchanges.get_mut(self.index).map(change)
        });
    }

    pub(crate) fn record_request(&self, tag: Option<Tag>, body: &[u8], ended: Ended) {
        let content = tag.map_or(Content::Foreign, |tag| tag.inspect(body));
        self.change(|exchange| {
            exchange.is_framed = ended == Ended::Whole;
            exchange.content = content;
        });
    }

    pub(crate) fn record_response(&self, sent: Sent) {
        self.change(|exchange| exchange.response = sent);
    }
}
