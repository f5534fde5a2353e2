//! Token endpoint with the grants `client_credentials` and `password` (RFC 6749 sections 4.3 and
//! 4.4), and with the error texts of PingFederate, which GBG runs.

mod error;
mod form;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, PRAGMA};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use serde_json::json;

use self::error::TokenEndpointError;
use self::form::{TokenForm, decode_value};
use super::authorization::credentials;
use super::inject::ForcedOutcome;
use super::issue;
use super::options::SandboxOptions;
use super::request_body::CountingBody;
use super::response::{SandboxResponse, json, json_text, text, with_header};
use super::state::SandboxContext;
use crate::gbg;

pub(super) const PATH: &str = "/as/token.oauth2";

const MAX_FORM_BYTES: u64 = 64 << 10;

const FORM_TYPE: &str = "application/x-www-form-urlencoded";

/// Serves one token request; a fault may force its `outcome`.
pub(super) async fn respond(
    sandbox: &SandboxContext,
    head: &Parts,
    body: &mut CountingBody,
    outcome: Option<ForcedOutcome>,
) -> SandboxResponse {
    sandbox.state().token_calls += 1;
    let authorization = head.headers.get(AUTHORIZATION);
    let response = match outcome {
        Some(ForcedOutcome::Status(status)) => {
            let problem = format!(
                "the sandbox was asked to respond with {}\n",
                status.as_u16()
            );
            text(status, "text/plain", problem)
        }
        Some(ForcedOutcome::RefuseClient) => {
            TokenEndpointError::invalid_client(basic(authorization).is_some()).response()
        }
        // This response is never sent.
        Some(ForcedOutcome::Hang | ForcedOutcome::Reset) => {
            json_text(StatusCode::OK, String::new())
        }
        None if head.method == Method::POST => {
            // A form that is too large, broken off or of another content type counts as empty.
            let form = if is_form(&head.headers) {
                body.collect(MAX_FORM_BYTES).await.unwrap_or_default()
            } else {
                Vec::new()
            };
            match check_request(&sandbox.options, authorization, &form) {
                Ok(()) => issue::respond(sandbox),
                Err(error) => error.response(),
            }
        }
        None => {
            let error = json!({"error": "invalid_request"});
            with_header(json(StatusCode::METHOD_NOT_ALLOWED, &error), ALLOW, "POST")
        }
    };
    body.discard().await;
    let response = with_header(response, CACHE_CONTROL, "no-cache, no-store");
    with_header(response, PRAGMA, "no-cache")
}

fn is_form(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE);
    let value = value.and_then(|value| value.to_str().ok());
    let media_type = value.unwrap_or_default().split(';').next();
    media_type.is_some_and(|name| name.trim().eq_ignore_ascii_case(FORM_TYPE))
}

/// Checks the client and the grant of a token request.
fn check_request(
    options: &SandboxOptions,
    authorization: Option<&HeaderValue>,
    form: &[u8],
) -> Result<(), TokenEndpointError> {
    let form = TokenForm::parse(form)?;
    let grant = form.required("grant_type")?;
    authenticate_client(options, authorization, &form)?;
    match grant {
        "client_credentials" => match form.get("scope") {
            None | Some(gbg::SCOPE) => Ok(()),
            Some(_) => Err(TokenEndpointError::bad_request(
                "invalid_scope",
                "The requested scope is invalid",
            )),
        },
        "password" => {
            let user = (form.required("username")?, form.required("password")?);
            if user == (&options.username, &options.password) {
                Ok(())
            } else {
                Err(TokenEndpointError::bad_request(
                    "invalid_grant",
                    "Invalid username or password",
                ))
            }
        }
        _ => Err(TokenEndpointError::unsupported_grant_type()),
    }
}

/// Authenticates the client by HTTP Basic or by form fields (RFC 6749 section 2.3.1). Another scheme
/// in the Authorization field is ignored: GBG's reference shows a Bearer there.
fn authenticate_client(
    options: &SandboxOptions,
    authorization: Option<&HeaderValue>,
    form: &TokenForm<'_>,
) -> Result<(), TokenEndpointError> {
    let basic = basic(authorization);
    let (id, secret) = match basic {
        // RFC 6749 section 2.3 allows one way per request. The error text is invented.
        Some(_) if form.get("client_secret").is_some() => {
            return Err(TokenEndpointError::bad_request(
                "invalid_request",
                "Only one way of client authentication is allowed",
            ));
        }
        Some(credentials) => {
            decode_basic(credentials).ok_or_else(|| TokenEndpointError::invalid_client(true))?
        }
        None => (
            form.required("client_id")?.to_owned(),
            form.required("client_secret")?.to_owned(),
        ),
    };
    if id == options.client_id && secret == options.client_secret {
        Ok(())
    } else {
        Err(TokenEndpointError::invalid_client(basic.is_some()))
    }
}

fn basic(authorization: Option<&HeaderValue>) -> Option<&str> {
    credentials(authorization?, "basic")
}

/// Decodes id and secret, each of which the client encoded like a form value.
fn decode_basic(credentials: &str) -> Option<(String, String)> {
    let text = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((decode_value(id), decode_value(secret)))
}

#[cfg(test)]
mod tests {
    use http::header::WWW_AUTHENTICATE;

    use super::*;

    const CLIENT: &str = "client_id=sandbox-client&client_secret=sandbox-secret";

    fn check(form: &str) -> Result<(), String> {
        check_request(&SandboxOptions::default(), None, form.as_bytes())
            .map_err(|error| error.text())
    }

    fn check_basic(credentials: &str, form: &str) -> Result<(), TokenEndpointError> {
        let options = SandboxOptions {
            client_secret: "a b+c=&:%".to_owned(),
            ..SandboxOptions::default()
        };
        let value =
            HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(credentials))).unwrap();
        check_request(&options, Some(&value), form.as_bytes())
    }

    #[test]
    fn both_grants_are_accepted() {
        assert_eq!(
            check(&format!(
                "grant_type=client_credentials&scope=gbg.token&{CLIENT}"
            )),
            Ok(())
        );
        assert_eq!(
            check(&format!("grant_type=client_credentials&scope=&{CLIENT}")),
            Ok(())
        );
        let user = "username=sandbox-user&password=sandbox-password";
        for scope in ["", "scope=openid&", "scope=anything+else&"] {
            assert_eq!(
                check(&format!("grant_type=password&{scope}{user}&{CLIENT}")),
                Ok(())
            );
        }
    }

    #[test]
    fn other_fields_are_ignored() {
        let form =
            format!("grant_type=client_credentials&resource=x&audience=a%26b&empty=&{CLIENT}");
        assert_eq!(check(&form), Ok(()));
    }

    #[test]
    fn errors_have_the_texts_of_pingfederate() {
        let refused = |form: &str| check(form).unwrap_err();
        assert_eq!(
            refused("grant_type=client_credentials&client_id=sandbox-client&client_secret=x"),
            "{\"error_description\":\"Invalid client or client credentials\",\"error\":\"invalid_client\"}\r\n"
        );
        assert_eq!(
            refused(CLIENT),
            "{\"error_description\":\"grant_type is required\",\"error\":\"invalid_request\"}\r\n"
        );
        assert_eq!(
            refused(&format!("grant_type=magic&{CLIENT}")),
            "{\"error\":\"unsupported_grant_type\"}\r\n"
        );
        assert!(
            refused(&format!(
                "grant_type=client_credentials&scope=openid&{CLIENT}"
            ))
            .contains("invalid_scope")
        );
        assert!(
            refused(&format!(
                "grant_type=password&username=a&password=b&{CLIENT}"
            ))
            .contains("invalid_grant")
        );
        assert!(refused("grant_type=client_credentials").contains("client_id is required"));
        assert!(refused("grant_type=a&grant_type=a").contains("grant_type is repeated"));
    }

    #[test]
    fn basic_is_form_encoded_and_gets_a_challenge() {
        let form = "grant_type=client_credentials";
        assert_eq!(
            check_basic("sandbox-client:a+b%2Bc%3D%26%3A%25", form),
            Ok(())
        );
        assert_eq!(check_basic("sandbox-client:a b%2Bc=&:%25", form), Ok(()));
        for wrong in ["sandbox-client:a", "no colon"] {
            let error = check_basic(wrong, form).unwrap_err();
            assert_eq!(error, TokenEndpointError::invalid_client(true));
            assert!(error.response().headers().contains_key(WWW_AUTHENTICATE));
        }
        assert!(
            !TokenEndpointError::invalid_client(false)
                .response()
                .headers()
                .contains_key(WWW_AUTHENTICATE)
        );
        let twice = format!("{form}&client_secret=x");
        assert_eq!(
            check_basic("a:b", &twice).unwrap_err().error,
            "invalid_request"
        );
    }

    #[test]
    fn a_form_is_recognized_by_its_content_type() {
        let with = |value: &'static str| {
            is_form(&HeaderMap::from_iter([(
                CONTENT_TYPE,
                HeaderValue::from_static(value),
            )]))
        };
        assert!(with("application/x-www-form-urlencoded"));
        assert!(with("Application/X-WWW-Form-Urlencoded; charset=UTF-8"));
        assert!(!with("application/json"));
        assert!(!is_form(&HeaderMap::new()));
    }
}
