//! The form of a token request: what is asked for, and how the client proves itself.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderValue;
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::jwt;
use crate::config::{Credentials, Proof, Token};
use crate::error::BoxError;

/// What a token request carries.
pub(super) struct Form<'a> {
    fields: Vec<(&'a str, Cow<'a, str>)>,
    /// The value of Authorization for HTTP Basic: user name and password, both form-encoded, as RFC
    /// 6749 section 2.3.1 has it.
    pub(super) basic: Option<HeaderValue>,
}

impl Form<'_> {
    /// The fields as `application/x-www-form-urlencoded`, in memory that is zeroed when it has been
    /// sent.
    pub(super) fn body(&self) -> Bytes {
        // An encoded byte has three characters at most, and each field an equals sign and an
        // ampersand.
        let room = self
            .fields
            .iter()
            .map(|(name, value)| 3 * (name.len() + value.len()) + 2)
            .sum();
        let mut body = form_urlencoded::Serializer::new(String::with_capacity(room));
        body.extend_pairs(&self.fields);
        Bytes::from_owner(Zeroizing::new(body.finish().into_bytes()))
    }
}

/// The form with which `credentials` ask for what `config` says: `client_credentials` (RFC 6749
/// section 4.4.2), or `password` where there is a user (section 4.3.2).
///
/// # Errors
/// When the client's key cannot sign.
pub(super) fn form<'a>(
    config: &'a Token,
    credentials: &'a Credentials,
) -> Result<Form<'a>, BoxError> {
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
    fields.extend(
        config
            .params
            .iter()
            .map(|(name, value)| (name.as_str(), value.into())),
    );
    let mut basic = None;
    match &credentials.proof {
        Proof::Post(secret) => {
            fields.extend([
                ("client_id", id.into()),
                ("client_secret", secret.expose().into()),
            ]);
        }
        Proof::Basic(secret) => {
            let pair = Zeroizing::new(format!("{}:{}", *encode(id), *encode(secret.expose())));
            let pair = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
            basic = Some(
                secret_header(["Basic ", &pair]).ok_or("id and secret cannot be a header field")?,
            );
        }
        Proof::Assertion(key) => fields.extend([
            ("client_id", id.into()),
            ("client_assertion_type", jwt::TYPE.into()),
            (
                "client_assertion",
                jwt::sign(key, id, config.endpoint.url().as_str())?.into(),
            ),
        ]),
        Proof::Certificate => fields.push(("client_id", id.into())),
    }
    Ok(Form { fields, basic })
}

/// `application/x-www-form-urlencoded` for one value.
fn encode(text: &str) -> Zeroizing<String> {
    let mut encoded = Zeroizing::new(String::with_capacity(3 * text.len()));
    encoded.extend(form_urlencoded::byte_serialize(text.as_bytes()));
    encoded
}

/// `Bearer …` as a sensitive header value, if `token` is of the form of RFC 6750 section 2.1: an
/// equals sign is padding, and stands at the end only.
pub(super) fn bearer_header(token: &str) -> Option<HeaderValue> {
    let unpadded = token.trim_end_matches('=');
    let is_b64token = !unpadded.is_empty()
        && unpadded
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte));
    if !is_b64token {
        return None;
    }
    secret_header(["Bearer ", token])
}

/// The value of `parts`, marked sensitive, in memory that is zeroed when the last clone of it is
/// dropped.
pub(super) fn secret_header(parts: [&str; 2]) -> Option<HeaderValue> {
    // Room for all of it from the start: growing would leave pieces behind that are not zeroed.
    let mut value = Zeroizing::new(Vec::with_capacity(
        parts.iter().map(|part| part.len()).sum(),
    ));
    parts
        .iter()
        .for_each(|part| value.extend_from_slice(part.as_bytes()));
    let mut header = HeaderValue::from_maybe_shared(Bytes::from_owner(value)).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_encodes_what_a_form_would() {
        assert_eq!(*encode("a b+c:d/é"), "a+b%2Bc%3Ad%2F%C3%A9");
    }

    #[test]
    fn a_token_that_could_break_a_field_is_refused() {
        for bad in [
            "",
            "a b",
            "a\r\nX: y",
            "é",
            "a\0",
            "=",
            "==",
            "=a",
            "a=b",
            "a=b=",
        ] {
            assert!(bearer_header(bad).is_none(), "{bad:?}");
        }
        let header = bearer_header("eyJ.a-b_c~d+/==").unwrap();
        assert!(header.is_sensitive());
        assert_eq!(header, "Bearer eyJ.a-b_c~d+/==");
    }
}
