//! Authorization field of a request, compared with the tokens that the sandbox issued.

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue};

use super::tokens::{TokenKind, Tokens};

/// The classified Authorization field of a request; it never holds a token or a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// There is no such field.
    None,
    /// A valid access token.
    Bearer {
        /// The number of the token, counted from 1.
        generation: u64,
        /// True for the newest token.
        current: bool,
    },
    /// A valid connect token, not used yet.
    ConnectToken,
    /// A valid end-user token.
    EndUserToken,
    /// A bearer that is expired, used up, or issued elsewhere.
    Unknown,
    /// The name of another scheme; empty for a field of one word, which may be a secret.
    OtherScheme(String),
    /// The number of Authorization fields, of which a call may have only one.
    Several(usize),
}

impl Authorization {
    /// Classifies the field in `headers` by the issued `tokens`.
    pub(super) fn classify(headers: &HeaderMap, tokens: &Tokens) -> Self {
        let count = headers.get_all(AUTHORIZATION).iter().count();
        if count > 1 {
            return Authorization::Several(count);
        }
        let Some(value) = headers.get(AUTHORIZATION) else {
            return Authorization::None;
        };
        let Some(token) = credentials(value, "bearer") else {
            let value = String::from_utf8_lossy(value.as_bytes());
            let scheme = value.split_once(' ').map_or("", |(scheme, _)| scheme);
            return Authorization::OtherScheme(scheme.to_owned());
        };
        match tokens.find(token) {
            Some(&TokenKind::Access { generation }) => Authorization::Bearer {
                generation,
                current: generation == tokens.access_count(),
            },
            Some(TokenKind::Connect { .. }) => Authorization::ConnectToken,
            Some(TokenKind::EndUser(_)) => Authorization::EndUserToken,
            // A resume credential is not a bearer.
            Some(TokenKind::Resume(_)) | None => Authorization::Unknown,
        }
    }
}

/// Returns the credentials of an Authorization field with `scheme`, whose case does not matter
/// (RFC 9110 section 11.1).
pub(super) fn credentials<'a>(field: &'a HeaderValue, scheme: &str) -> Option<&'a str> {
    let (name, credentials) = field.to_str().ok()?.split_once(' ')?;
    name.eq_ignore_ascii_case(scheme)
        .then(|| credentials.trim())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn classify(values: &[&str], tokens: &Tokens) -> Authorization {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        Authorization::classify(&headers, tokens)
    }

    #[test]
    fn a_bearer_is_classified_by_the_issued_tokens() {
        let mut tokens = Tokens::default();
        let old = tokens.issue_access(Duration::from_secs(60));
        let new = tokens.issue_access(Duration::from_secs(60));
        let connect = tokens.issue_connect("a");
        let bearer = |token: &str| classify(&[&format!("Bearer {token}")], &tokens);
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
        assert_eq!(classify(&[&format!("bearer {new}")], &tokens), bearer(&new));
        assert_eq!(classify(&[], &tokens), Authorization::None);
        assert_eq!(
            classify(&["Bearer a", "Basic b"], &tokens),
            Authorization::Several(2)
        );
    }

    #[test]
    fn another_scheme_is_named_without_its_secret() {
        let tokens = Tokens::default();
        assert_eq!(
            classify(&["Basic c2VjcmV0"], &tokens),
            Authorization::OtherScheme("Basic".to_owned())
        );
        assert_eq!(
            classify(&["c2VjcmV0"], &tokens),
            Authorization::OtherScheme(String::new())
        );
    }
}
