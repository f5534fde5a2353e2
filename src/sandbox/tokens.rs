//! The tokens that a sandbox issued: opaque, numbered and mortal.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::random;

/// How long a connect token lives; GBG's live about as long.
pub(super) const CONNECT_LIFE: Duration = Duration::from_secs(120);

/// How long an end-user token lives.
pub(super) const END_USER_LIFE: Duration = Duration::from_secs(3600);

/// The access tokens whose text is kept after their end; older ones are forgotten.
const KEPT: usize = 10_000;

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Everything on the server side; the token endpoint gave it.
    Access {
        /// Which access token it is, counted from 1.
        generation: u64,
    },
    /// One `device/connect`; `device/start` gave it.
    Connect,
    /// What an end user's device does; `device/connect` gave it.
    EndUser,
}

/// Every living token, and how many there were.
#[derive(Default)]
pub(super) struct Tokens {
    living: HashMap<String, Token>,
    issued: u64,
    access: VecDeque<String>,
    bury_at: usize,
}

struct Token {
    kind: Kind,
    expires: Instant,
}

impl Tokens {
    /// Access tokens issued so far, which is also the generation of the newest.
    pub(super) fn issued(&self) -> u64 {
        self.issued
    }

    /// Issues the next access token. The ones before it stay good until they expire.
    pub(super) fn issue_access(&mut self, life: Duration) -> String {
        self.issued += 1;
        let token = self.issue(
            Kind::Access {
                generation: self.issued,
            },
            life,
        );
        if self.access.len() == KEPT {
            self.access.pop_front();
        }
        self.access.push_back(token.clone());
        token
    }

    /// The newest 10,000 access tokens, dead or alive, oldest first.
    pub(super) fn all_access(&self) -> Vec<String> {
        self.access.iter().cloned().collect()
    }

    /// The access token that was issued last and the life it has left, if it has any.
    pub(super) fn newest_access(&self) -> Option<(String, Duration)> {
        let token = self.access.back()?;
        let left = self
            .living
            .get(token)?
            .expires
            .checked_duration_since(Instant::now())?;
        (!left.is_zero()).then(|| (token.clone(), left))
    }

    /// Ends every access token; tells how many there were.
    pub(super) fn revoke_access(&mut self) -> usize {
        let now = Instant::now();
        let mut revoked = 0;
        self.living.retain(|_, token| {
            let is_access = matches!(token.kind, Kind::Access { .. });
            revoked += usize::from(is_access && token.expires > now);
            !is_access
        });
        revoked
    }

    /// Issues a connect token.
    pub(super) fn issue_connect(&mut self) -> String {
        self.issue(Kind::Connect, CONNECT_LIFE)
    }

    /// Issues an end-user token.
    pub(super) fn issue_end_user(&mut self) -> String {
        self.issue(Kind::EndUser, END_USER_LIFE)
    }

    /// What `token` is good for; `None` if it was not issued here, or has expired.
    pub(super) fn find(&self, token: &str) -> Option<Kind> {
        self.living
            .get(token)
            .filter(|token| token.expires > Instant::now())
            .map(|token| token.kind)
    }

    /// Ends a connect token; false if there is none of this text.
    pub(super) fn use_up(&mut self, connect_token: &str) -> bool {
        self.find(connect_token) == Some(Kind::Connect)
            && self.living.remove(connect_token).is_some()
    }

    fn issue(&mut self, kind: Kind, life: Duration) -> String {
        let now = Instant::now();
        // Only when their number has doubled, so that a token is looked at twice on average and not
        // at each issue.
        if self.living.len() >= self.bury_at {
            self.living.retain(|_, token| token.expires > now);
            self.bury_at = (2 * self.living.len()).max(64);
        }
        let token = random::token();
        self.living.insert(
            token.clone(),
            Token {
                kind,
                expires: now + life,
            },
        );
        token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(300);

    #[test]
    fn a_token_lives_as_long_as_it_says_also_beside_a_newer_one() {
        let mut tokens = Tokens::default();
        let first = tokens.issue_access(LIFE);
        let dead = tokens.issue_access(Duration::ZERO);
        assert_eq!(tokens.find(&first), Some(Kind::Access { generation: 1 }));
        assert_eq!(tokens.find(&dead), None);
        assert_eq!(tokens.issued(), 2);
    }

    #[test]
    fn the_dead_are_forgotten_and_the_living_are_not() {
        let mut tokens = Tokens::default();
        let living: Vec<_> = (0..100).map(|_| tokens.issue_access(LIFE)).collect();
        for _ in 0..1000 {
            tokens.issue_access(Duration::ZERO);
        }
        assert!(tokens.living.len() <= 200, "{}", tokens.living.len());
        assert!(living.iter().all(|token| tokens.find(token).is_some()));
    }

    #[test]
    fn the_newest_is_known_while_it_lives() {
        let mut tokens = Tokens::default();
        assert_eq!(tokens.newest_access(), None);
        let token = tokens.issue_access(LIFE);
        let (newest, left) = tokens.newest_access().unwrap();
        assert!(newest == token && left <= LIFE && left > LIFE / 2);
        tokens.issue_access(Duration::ZERO);
        assert_eq!(tokens.newest_access(), None);
    }

    #[test]
    fn access_tokens_are_revoked_and_no_others() {
        let mut tokens = Tokens::default();
        let (access, connect) = (tokens.issue_access(LIFE), tokens.issue_connect());
        tokens.issue_access(Duration::ZERO);
        assert_eq!((tokens.revoke_access(), tokens.revoke_access()), (1, 0));
        assert_eq!((tokens.find(&access), tokens.newest_access()), (None, None));
        assert!(tokens.find(&connect).is_some());
        assert_eq!(tokens.all_access()[0], access);
    }

    #[test]
    fn a_connect_token_is_good_once_and_nothing_else_is_used_up() {
        let mut tokens = Tokens::default();
        let (connect, access) = (tokens.issue_connect(), tokens.issue_access(LIFE));
        assert!(tokens.use_up(&connect));
        assert!(!tokens.use_up(&connect));
        assert!(!tokens.use_up(&access));
        assert!(tokens.find(&access).is_some());
    }
}
