//! How the client proves itself to the token endpoint (RFC 6749 section 2.3.1).

use http::HeaderValue;

use crate::config::{ClientAuth, Token};

/// What a token request carries.
pub(super) struct Credentials {
    /// The form fields, grant and scope among them.
    pub(super) form: Vec<(&'static str, String)>,
    /// HTTP Basic: user name and password, both form-encoded, as the RFC has it.
    pub(super) basic: Option<(String, String)>,
}

/// The credentials of a `client_credentials` request (RFC 6749 section 4.4.2).
pub(super) fn credentials(config: &Token) -> Credentials {
    let mut form = vec![("grant_type", "client_credentials".to_owned())];
    if !config.scope.is_empty() {
        form.push(("scope", config.scope.clone()));
    }
    let secret = config.client_secret.expose();
    let basic = match config.client_auth {
        ClientAuth::Post => {
            form.push(("client_id", config.client_id.clone()));
            form.push(("client_secret", secret.to_owned()));
            None
        }
        ClientAuth::Basic => Some((encode(&config.client_id), encode(secret))),
    };
    Credentials { form, basic }
}

/// `application/x-www-form-urlencoded` for one value.
fn encode(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// `Bearer …` as a sensitive header value, if `token` is of the form of RFC 6750 section 2.1.
pub(super) fn bearer_header(token: &str) -> Option<HeaderValue> {
    let is_b64token = !token.is_empty()
        && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte));
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
        for bad in ["", "a b", "a\r\nX: y", "é", "a\0"] {
            assert!(bearer_header(bad).is_none(), "{bad:?}");
        }
        let header = bearer_header("eyJ.a-b_c~d+/==").unwrap();
        assert!(header.is_sensitive());
        assert_eq!(header, "Bearer eyJ.a-b_c~d+/==");
    }
}
