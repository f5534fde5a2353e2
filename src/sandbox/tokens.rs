//! Tokens that a sandbox issued, with their kinds and lifetimes.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::random;

/// About the lifetime of GBG's connect tokens.
pub(super) const CONNECT_LIFETIME: Duration = Duration::from_secs(120);

pub(super) const END_USER_LIFETIME: Duration = Duration::from_secs(3600);

/// The number of access tokens whose text is kept after they expire.
const MAX_KEPT_TOKENS: usize = 10_000;

/// The calls that a token is valid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// All calls of a server; issued by the token endpoint.
    Access {
        /// The number of the access token, counted from 1.
        generation: u64,
    },
    /// One `device/connect`; issued by `device/start`.
    Connect,
    /// The calls of an end user's device; issued by `device/connect`.
    EndUser,
}

#[derive(Default)]
pub(super) struct Tokens {
    /// All tokens that have not expired, and some that have.
    by_text: HashMap<String, IssuedToken>,
    access_count: u64,
    /// The newest access tokens, oldest first.
    access: VecDeque<String>,
    /// The size of `by_text` at which expired tokens are removed.
    sweep_at: usize,
}

struct IssuedToken {
    kind: TokenKind,
    expires: Instant,
}

impl Tokens {
    /// The number of access tokens so far, which is the generation of the newest.
    pub(super) fn access_count(&self) -> u64 {
        self.access_count
    }

    /// Issues an access token. Earlier ones stay valid until they expire.
    pub(super) fn issue_access(&mut self, lifetime: Duration) -> String {
        self.access_count += 1;
        let token = self.issue(
            TokenKind::Access {
                generation: self.access_count,
            },
            lifetime,
        );
        if self.access.len() == MAX_KEPT_TOKENS {
            self.access.pop_front();
        }
        self.access.push_back(token.clone());
        token
    }

    /// Returns the newest 10,000 access tokens, valid or not, oldest first.
    pub(super) fn all_access(&self) -> Vec<String> {
        self.access.iter().cloned().collect()
    }

    /// Returns the newest access token and its remaining lifetime, unless it has expired.
    pub(super) fn newest_access(&self) -> Option<(String, Duration)> {
        let token = self.access.back()?;
        let left = self
            .by_text
            .get(token)?
            .expires
            .checked_duration_since(Instant::now())?;
        (!left.is_zero()).then(|| (token.clone(), left))
    }

    /// Revokes every access token, and returns the number of those that were valid.
    pub(super) fn revoke_access(&mut self) -> usize {
        let now = Instant::now();
        let mut revoked = 0;
        self.by_text.retain(|_, token| {
            let is_access = matches!(token.kind, TokenKind::Access { .. });
            revoked += usize::from(is_access && token.expires > now);
            !is_access
        });
        revoked
    }

    pub(super) fn issue_connect(&mut self) -> String {
        self.issue(TokenKind::Connect, CONNECT_LIFETIME)
    }

    pub(super) fn issue_end_user(&mut self) -> String {
        self.issue(TokenKind::EndUser, END_USER_LIFETIME)
    }

    /// Returns the kind of `token`; `None` if it is unknown or has expired.
    pub(super) fn find(&self, token: &str) -> Option<TokenKind> {
        self.by_text
            .get(token)
            .filter(|token| token.expires > Instant::now())
            .map(|token| token.kind)
    }

    /// Uses up a connect token; returns false if there is none with this text.
    pub(super) fn consume_connect(&mut self, connect_token: &str) -> bool {
        self.find(connect_token) == Some(TokenKind::Connect)
            && self.by_text.remove(connect_token).is_some()
    }

    fn issue(&mut self, kind: TokenKind, lifetime: Duration) -> String {
        let now = Instant::now();
        // At a doubled size only, so that a token is checked twice on average and not at each issue.
        if self.by_text.len() >= self.sweep_at {
            self.by_text.retain(|_, token| token.expires > now);
            self.sweep_at = (2 * self.by_text.len()).max(64);
        }
        let token = random::token();
        self.by_text.insert(
            token.clone(),
            IssuedToken {
                kind,
                expires: now + lifetime,
            },
        );
        token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Duration = Duration::from_secs(300);

    #[test]
    fn a_token_stays_valid_beside_a_newer_one() {
        let mut tokens = Tokens::default();
        let first = tokens.issue_access(LIFETIME);
        let expired = tokens.issue_access(Duration::ZERO);
        assert_eq!(
            tokens.find(&first),
            Some(TokenKind::Access { generation: 1 })
        );
        assert_eq!(tokens.find(&expired), None);
        assert_eq!(tokens.access_count(), 2);
    }

    #[test]
    fn only_expired_tokens_are_removed() {
        let mut tokens = Tokens::default();
        let valid: Vec<_> = (0..100).map(|_| tokens.issue_access(LIFETIME)).collect();
        for _ in 0..1000 {
            tokens.issue_access(Duration::ZERO);
        }
        assert!(tokens.by_text.len() <= 200, "{}", tokens.by_text.len());
        assert!(valid.iter().all(|token| tokens.find(token).is_some()));
    }

    #[test]
    fn the_newest_is_returned_until_it_expires() {
        let mut tokens = Tokens::default();
        assert_eq!(tokens.newest_access(), None);
        let token = tokens.issue_access(LIFETIME);
        let (newest, left) = tokens.newest_access().unwrap();
        assert!(newest == token && left <= LIFETIME && left > LIFETIME / 2);
        tokens.issue_access(Duration::ZERO);
        assert_eq!(tokens.newest_access(), None);
    }

    #[test]
    fn only_access_tokens_are_revoked() {
        let mut tokens = Tokens::default();
        let (access, connect) = (tokens.issue_access(LIFETIME), tokens.issue_connect());
        tokens.issue_access(Duration::ZERO);
        assert_eq!((tokens.revoke_access(), tokens.revoke_access()), (1, 0));
        assert_eq!((tokens.find(&access), tokens.newest_access()), (None, None));
        assert!(tokens.find(&connect).is_some());
        assert_eq!(tokens.all_access()[0], access);
    }

    #[test]
    fn only_a_connect_token_is_used_up_once() {
        let mut tokens = Tokens::default();
        let (connect, access) = (tokens.issue_connect(), tokens.issue_access(LIFETIME));
        assert!(tokens.consume_connect(&connect));
        assert!(!tokens.consume_connect(&connect));
        assert!(!tokens.consume_connect(&access));
        assert!(tokens.find(&access).is_some());
    }
}
