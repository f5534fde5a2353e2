//! Requests by kind: their content, their journey, and the check of their responses.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use gbg_proxy::gbg::V2;
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderValue, Method, Request};
use parking_lot::Mutex;
use serde::Deserialize;

use crate::arithmetic::mix::Kind;
use crate::failure::{Failure, Result};
use crate::images::Images;
use crate::pieces::Pieces;

/// Journeys in use. The sandbox remembers far more, so it forgets none of them.
const MAX_JOURNEYS: usize = 1024;

const START: &str = r#"{"resourceId":"load@latest","context":{"config":{"delivery":"api"},"subject":{"identity":{"firstName":"Ada","lastNames":["Lovelace"]}}}}"#;

/// Names no participant, so the journey keeps its state, and submissions need not match starts.
const SUBMIT: &str = r#"","interactionId":"grn:::gbg:design:interaction:sandbox@latest","participants":[],"context":{"subject":{"documents":[{"side1Image":""#;

const SUBMIT_END: &str = r#""}]}}}"#;

/// Source of all requests.
pub(crate) struct Requests {
    heads: [Parts; 4],
    images: Images,
    journeys: Mutex<Journeys>,
    turn: AtomicUsize,
}

/// The most recently started journeys.
#[derive(Default)]
struct Journeys {
    ids: Vec<Bytes>,
    oldest: usize,
}

/// One request to send.
pub(crate) struct PlannedRequest {
    pub(crate) kind: Kind,
    pub(crate) request: Request<Pieces>,
    journey: Bytes,
}

impl Requests {
    /// Requests to `host`, with the caller key `key`.
    pub(crate) fn new(
        host: &HeaderValue,
        key: Option<&HeaderValue>,
        images: Images,
    ) -> Result<Self> {
        let head = |kind: Kind| {
            let mut request = Request::new(());
            *request.method_mut() = Method::POST;
            let path = format!("{V2}{}", kind.endpoint());
            *request.uri_mut() = path
                .parse()
                .map_err(|error| Failure::new("no path", error))?;
            let headers = request.headers_mut();
            headers.insert(HOST, host.clone());
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
            if let Some(key) = key {
                headers.insert("x-api-key", key.clone());
            }
            Ok::<_, Failure>(request.into_parts().0)
        };
        let [start, fetch, submit, state] = Kind::ALL.map(head);
        Ok(Requests {
            heads: [start?, fetch?, submit?, state?],
            images,
            journeys: Mutex::default(),
            turn: AtomicUsize::new(0),
        })
    }

    /// The next request of this kind. Journeys take turns.
    pub(crate) fn next(&self, kind: Kind) -> PlannedRequest {
        let turn = self.turn.fetch_add(1, Relaxed);
        let journey = match kind {
            Kind::Start => Bytes::new(),
            Kind::Fetch | Kind::Submit | Kind::State => self.journeys.lock().at(turn),
        };
        let body = match kind {
            Kind::Start => Bytes::from_static(START.as_bytes()).into(),
            Kind::Fetch | Kind::State => Bytes::from(with_id(&journey, "\"}")).into(),
            Kind::Submit => {
                let begin = Bytes::from(with_id(&journey, SUBMIT));
                Pieces::new([
                    begin,
                    self.images.next(),
                    Bytes::from_static(SUBMIT_END.as_bytes()),
                ])
            }
        };
        PlannedRequest {
            kind,
            request: Request::from_parts(self.heads[kind as usize].clone(), body),
            journey,
        }
    }

    /// Whether `body` is the response to this request, and not to another. Remembers a started
    /// journey.
    pub(crate) fn accept(&self, kind: Kind, journey: &[u8], body: &[u8]) -> bool {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Started {
            instance_id: String,
        }
        match kind {
            Kind::Start => match serde_json::from_slice::<Started>(body) {
                Ok(started) => {
                    self.journeys.lock().add(started.instance_id.into());
                    true
                }
                Err(_) => false,
            },
            Kind::Fetch | Kind::State => body.windows(journey.len()).any(|part| part == journey),
            // The response names no journey.
            Kind::Submit => body.starts_with(b"{"),
        }
    }
}

impl PlannedRequest {
    /// Its journey; empty for a start.
    pub(crate) fn journey(&self) -> Bytes {
        self.journey.clone()
    }
}

impl Journeys {
    fn at(&self, turn: usize) -> Bytes {
        // Without journeys the id is unknown to the API.
        self.ids
            .get(turn % self.ids.len().max(1))
            .cloned()
            .unwrap_or_else(|| Bytes::from_static(b"none"))
    }

    fn add(&mut self, id: Bytes) {
        if self.ids.len() < MAX_JOURNEYS {
            self.ids.push(id);
        } else {
            self.ids[self.oldest] = id;
            self.oldest = (self.oldest + 1) % MAX_JOURNEYS;
        }
    }
}

fn with_id(id: &[u8], rest: &str) -> Vec<u8> {
    [br#"{"instanceId":""#, id, rest.as_bytes()].concat()
}
