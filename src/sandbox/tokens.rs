//! Tokens that a sandbox issued, with their kinds and lifetimes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::random;

/// About the lifetime of GBG's connect tokens.
pub(super) const CONNECT_LIFETIME: Duration = Duration::from_secs(120);

pub(super) const END_USER_LIFETIME: Duration = Duration::from_secs(3600);

/// GBG's is not published. Here a device can resume for as long as a journey is of use in a test.
const RESUME_LIFETIME: Duration = Duration::from_secs(2 * 3600);

/// The number of access tokens whose text is kept after they expire.
const MAX_KEPT_TOKENS: usize = 10_000;

/// The calls that a token is valid for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// All calls of a server; issued by the token endpoint.
    Access {
        /// The number of the access token, counted from 1.
        generation: u64,
    },
    /// One `device/connect`; issued by `device/start` and `handoff-token`.
    Connect {
        /// The id of the journey.
        journey: String,
    },
    /// The calls of an end user's device; issued by `device/connect` and `device/refresh`.
    EndUser(Arc<DeviceSession>),
    /// `device/refresh`; issued by `device/connect`.
    Resume(Arc<DeviceSession>),
}

/// A device that is connected to one journey.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DeviceSession {
    pub(super) id: String,
    /// The id of the journey.
    pub(super) journey: String,
    /// Whether another device was connected to the journey before.
    pub(super) is_joined: bool,
    pub(super) resume_credential: String,
    pub(super) resume_until: Instant,
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

    pub(super) fn issue_connect(&mut self, journey: &str) -> String {
        let journey = journey.to_owned();
        self.issue(TokenKind::Connect { journey }, CONNECT_LIFETIME)
    }

    pub(super) fn issue_end_user(&mut self, session: &Arc<DeviceSession>) -> String {
        self.issue(TokenKind::EndUser(Arc::clone(session)), END_USER_LIFETIME)
    }

    /// Connects a device, and issues the credential that refreshes its token.
    pub(super) fn connect(&mut self, journey: String, is_joined: bool) -> Arc<DeviceSession> {
        let session = Arc::new(DeviceSession {
            id: random::uuid(),
            journey,
            is_joined,
            resume_credential: random::token(),
            resume_until: Instant::now() + RESUME_LIFETIME,
        });
        let text = session.resume_credential.clone();
        self.insert(
            text,
            TokenKind::Resume(Arc::clone(&session)),
            RESUME_LIFETIME,
        );
        session
    }

    /// Returns the kind of `token`; `None` if it is unknown or has expired.
    pub(super) fn find(&self, token: &str) -> Option<&TokenKind> {
        self.valid(token).map(|token| &token.kind)
    }

    /// Returns the session of an end-user token, and the remaining lifetime of the token.
    pub(super) fn end_user(&self, token: &str) -> Option<(&Arc<DeviceSession>, Duration)> {
        let token = self.valid(token)?;
        match &token.kind {
            TokenKind::EndUser(session) => Some((session, token.expires - Instant::now())),
            _ => None,
        }
    }

    /// Uses up a connect token, and returns the id of its journey; `None` if there is none with this
    /// text.
    pub(super) fn consume_connect(&mut self, connect_token: &str) -> Option<String> {
        let TokenKind::Connect { journey } = self.find(connect_token)? else {
            return None;
        };
        let journey = journey.clone();
        self.by_text.remove(connect_token);
        Some(journey)
    }

    fn valid(&self, token: &str) -> Option<&IssuedToken> {
        let token = self.by_text.get(token)?;
        (token.expires > Instant::now()).then_some(token)
    }

    fn issue(&mut self, kind: TokenKind, lifetime: Duration) -> String {
        let token = random::token();
        self.insert(token.clone(), kind, lifetime);
        token
    }

    fn insert(&mut self, token: String, kind: TokenKind, lifetime: Duration) {
        let now = Instant::now();
        // At a doubled size only, so that a token is checked twice on average and not at each issue.
        if self.by_text.len() >= self.sweep_at {
            self.by_text.retain(|_, token| token.expires > now);
            self.sweep_at = (2 * self.by_text.len()).max(64);
        }
        let expires = now + lifetime;
        self.by_text.insert(token, IssuedToken { kind, expires });
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
            Some(&TokenKind::Access { generation: 1 })
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
        let (access, connect) = (tokens.issue_access(LIFETIME), tokens.issue_connect("a"));
        tokens.issue_access(Duration::ZERO);
        assert_eq!((tokens.revoke_access(), tokens.revoke_access()), (1, 0));
        assert_eq!((tokens.find(&access), tokens.newest_access()), (None, None));
        assert!(tokens.find(&connect).is_some());
        assert_eq!(tokens.all_access()[0], access);
    }

    #[test]
    fn only_a_connect_token_is_used_up_once() {
        let mut tokens = Tokens::default();
        let (connect, access) = (tokens.issue_connect("a"), tokens.issue_access(LIFETIME));
        assert_eq!(tokens.consume_connect(&connect), Some("a".to_owned()));
        assert_eq!(tokens.consume_connect(&connect), None);
        assert_eq!(tokens.consume_connect(&access), None);
        assert!(tokens.find(&access).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_user_token_ends_before_its_session() {
        let mut tokens = Tokens::default();
        let session = tokens.connect("a".to_owned(), false);
        let end_user = tokens.issue_end_user(&session);
        assert_eq!(
            tokens.end_user(&end_user),
            Some((&session, END_USER_LIFETIME))
        );
        tokio::time::advance(END_USER_LIFETIME).await;
        assert_eq!(tokens.end_user(&end_user), None);
        let resume = TokenKind::Resume(Arc::clone(&session));
        assert_eq!(tokens.find(&session.resume_credential), Some(&resume));
        assert_eq!(tokens.end_user(&session.resume_credential), None);
    }
}
