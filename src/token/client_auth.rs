//! The form of a token request: what is asked for, and how the client proves itself.

use std::borrow::Cow;

use http::HeaderValue;

use super::assertion;
use crate::config::{Credentials, Proof, Token};
use crate::error::Cause;

/// What a token request carries.
pub(super) struct Form<'a> {
    pub(super) fields: Vec<(&'a str, Cow<'a, str>)>,
    /// HTTP Basic: user name and password, both form-encoded, as RFC 6749 section 2.3.1 has it.
    pub(super) basic: Option<(String, String)>,
}

/// The form with which `credentials` ask for what `config` says: `client_credentials` (RFC 6749 section 4.4.2), or
/// `password` where there is a user (section 4.3.2).
///
/// # Errors
/// When the client's key cannot sign.
pub(super) fn form<'a>(config: &'a Token, credentials: &'a Credentials) -> Result<Form<'a>, Cause> {
    let id = &credentials.client_id;
    let mut fields: Vec<(&str, Cow<'_, str>)> = Vec::new();
    match &credentials.user {
        None => fields.push(("grant_type", "client_credentials".into())),
        Some((name, password)) => fields.extend([
            ("grant_type", "password".into()),
            ("username", name.into()),
            ("password", password.expose().into()),
        ]),
    }
    if !config.scope.is_empty() {
        fields.push(("scope", (&config.scope).into()));
    }
    fields.extend(config.params.iter().map(|(name, value)| (name.as_str(), value.into())));
    let mut basic = None;
    match &credentials.proof {
        Proof::Post(secret) => {
            fields.extend([("client_id", id.into()), ("client_secret", secret.expose().into())]);
        }
        Proof::Basic(secret) => basic = Some((encode(id), encode(secret.expose()))),
        Proof::Assertion(key) => fields.extend([
            ("client_id", id.into()),
            ("client_assertion_type", assertion::TYPE.into()),
            ("client_assertion", assertion::sign(key, id, config.endpoint.url().as_str())?.into()),
        ]),
        Proof::Certificate => fields.push(("client_id", id.into())),
    }
    Ok(Form { fields, basic })
}

/// `application/x-www-form-urlencoded` for one value.
fn encode(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// `Bearer …` as a sensitive header value, if `token` is of the form of RFC 6750 section 2.1: an equals sign is padding,
/// and stands at the end only.
pub(super) fn bearer_header(token: &str) -> Option<HeaderValue> {
    let unpadded = token.trim_end_matches('=');
    let is_b64token = !unpadded.is_empty()
        && unpadded.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte));
    if !is_b64token {
        return None;
    }
    let mut header = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_encodes_what_a_form_would() {
        assert_eq!(encode("a b+c:d/é"), "a+b%2Bc%3Ad%2F%C3%A9");
    }

    #[test]
    fn a_token_that_could_break_a_field_is_refused() {
        for bad in ["", "a b", "a\r\nX: y", "é", "a\0", "=", "==", "=a", "a=b", "a=b="] {
            assert!(bearer_header(bad).is_none(), "{bad:?}");
        }
        let header = bearer_header("eyJ.a-b_c~d+/==").unwrap();
        assert!(header.is_sensitive());
        assert_eq!(header, "Bearer eyJ.a-b_c~d+/==");
    }
}
