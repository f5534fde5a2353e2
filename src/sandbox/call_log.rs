//! What a sandbox saw, so that a test or a person can look: each API call, without any secret.

use std::collections::{BTreeMap, VecDeque};

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, Method, StatusCode};
use tokio::sync::broadcast;

use super::tokens::{Kind, Tokens};
use crate::gbg;

/// The calls that are kept; older ones are forgotten.
const KEPT: usize = 10_000;

/// How far a subscriber may fall behind before it loses calls.
const BEHIND: usize = 1024;

/// What arrived with one API call, and how it was answered. Never a token itself.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The method.
    pub method: Method,
    /// Path and query, byte for byte.
    pub path: String,
    /// The status of the answer, also of one that a fault keeps back.
    pub status: StatusCode,
    /// Who called, by its Authorization.
    pub authorization: Authorization,
    /// The `User-Agent`.
    pub user_agent: Option<String>,
    /// The `X-GBG-Source`.
    pub source: Option<String>,
    /// The names of all header fields that came, each once.
    pub fields: Vec<HeaderName>,
    /// The body's length as it arrived.
    pub body_bytes: u64,
    /// The `X-Request-ID` of the answer.
    pub request_id: String,
}

/// What a call's Authorization field says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// There is none.
    None,
    /// An access token of ours, alive.
    Bearer {
        /// Which one, counted from 1.
        generation: u64,
        /// Whether it is the newest.
        current: bool,
    },
    /// A connect token of ours that is not used up.
    ConnectToken,
    /// An end-user token of ours, alive.
    EndUserToken,
    /// A bearer that we did not issue, or that has expired or is used up.
    Unknown,
    /// Another scheme, by its name; empty where the field is one word, which may be a secret.
    OtherScheme(String),
    /// More than one Authorization field, which no call may have.
    Several(usize),
}

impl Authorization {
    /// What `headers` say to a sandbox that issued `tokens`.
    pub(super) fn of(headers: &HeaderMap, tokens: &Tokens) -> Self {
        let count = headers.get_all(AUTHORIZATION).iter().count();
        if count > 1 {
            return Authorization::Several(count);
        }
        let Some(value) = headers.get(AUTHORIZATION) else {
            return Authorization::None;
        };
        let Some(token) = bearer(headers) else {
            let value = String::from_utf8_lossy(value.as_bytes());
            let scheme = value.split_once(' ').map_or("", |(scheme, _)| scheme);
            return Authorization::OtherScheme(scheme.to_owned());
        };
        match tokens.find(token) {
            Some(Kind::Access { generation }) => Authorization::Bearer {
                generation,
                current: generation == tokens.issued(),
            },
            Some(Kind::Connect) => Authorization::ConnectToken,
            Some(Kind::EndUser) => Authorization::EndUserToken,
            None => Authorization::Unknown,
        }
    }
}

/// The token of `Authorization: Bearer`, the scheme in any case (RFC 9110 section 11.1).
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// How many calls were answered, by endpoint as `gbg` names it, and by status.
pub(super) type Answered = BTreeMap<&'static str, BTreeMap<u16, u64>>;

/// The newest calls, how many there were, and whoever waits for the next one.
pub(super) struct Record {
    calls: VecDeque<Seen>,
    answered: Answered,
    news: broadcast::Sender<Seen>,
}

impl Record {
    pub(super) fn new() -> Self {
        Record {
            calls: VecDeque::new(),
            answered: Answered::new(),
            news: broadcast::Sender::new(BEHIND),
        }
    }

    pub(super) fn add(&mut self, seen: Seen) {
        let path = seen.path.split('?').next().unwrap_or_default();
        *self
            .answered
            .entry(gbg::endpoint_name(path))
            .or_default()
            .entry(seen.status.as_u16())
            .or_default() += 1;
        if self.news.receiver_count() > 0 {
            // It fails only when the last subscriber has just left.
            let _ = self.news.send(seen.clone());
        }
        if self.calls.len() == KEPT {
            self.calls.pop_front();
        }
        self.calls.push_back(seen);
    }

    /// Calls so far, forgotten ones as well.
    pub(super) fn count(&self) -> u64 {
        self.answered.values().flat_map(BTreeMap::values).sum()
    }

    /// The same by endpoint and status; as many entries as there are endpoints and statuses,
    /// however many calls come.
    pub(super) fn answered(&self) -> &Answered {
        &self.answered
    }

    pub(super) fn all(&self) -> Vec<Seen> {
        self.calls.iter().cloned().collect()
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Seen> {
        self.news.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn told(values: &[&str], tokens: &Tokens) -> Authorization {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        Authorization::of(&headers, tokens)
    }

    #[test]
    fn an_authorization_is_told_by_what_was_issued() {
        let mut tokens = Tokens::default();
        let old = tokens.issue_access(Duration::from_secs(60));
        let new = tokens.issue_access(Duration::from_secs(60));
        let connect = tokens.issue_connect();
        let bearer = |token: &str| told(&[&format!("Bearer {token}")], &tokens);
        assert_eq!(
            bearer(&old),
            Authorization::Bearer {
                generation: 1,
                current: false
            }
        );
        assert_eq!(
            bearer(&new),
            Authorization::Bearer {
                generation: 2,
                current: true
            }
        );
        assert_eq!(bearer(&connect), Authorization::ConnectToken);
        assert_eq!(bearer("somebody else's"), Authorization::Unknown);
        assert_eq!(told(&[&format!("bearer {new}")], &tokens), bearer(&new));
        assert_eq!(told(&[], &tokens), Authorization::None);
        assert_eq!(
            told(&["Bearer a", "Basic b"], &tokens),
            Authorization::Several(2)
        );
    }

    #[test]
    fn another_scheme_is_named_and_its_secret_is_not() {
        let tokens = Tokens::default();
        assert_eq!(
            told(&["Basic c2VjcmV0"], &tokens),
            Authorization::OtherScheme("Basic".to_owned())
        );
        assert_eq!(
            told(&["c2VjcmV0"], &tokens),
            Authorization::OtherScheme(String::new())
        );
    }
}
