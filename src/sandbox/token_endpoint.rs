//! The token endpoint: `client_credentials` and `password` (RFC 6749 sections 4.3 and 4.4), with
//! the errors as PingFederate, which GBG runs, words them.

use std::borrow::Cow;
use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, PRAGMA, WWW_AUTHENTICATE,
};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use serde::Serialize;
use serde_json::json;
use url::form_urlencoded;

use super::body::Arriving;
use super::inject::End;
use super::response::{Answer, json, json_text, text, with};
use super::{Options, Shared, issue};
use crate::gbg;

/// Where the token endpoint is.
pub(super) const PATH: &str = "/as/token.oauth2";

/// The largest form that is read.
const FORM_LIMIT: u64 = 64 << 10;

const FORM: &str = "application/x-www-form-urlencoded";

/// Answers one token request, which a fault may `end` before it is looked at.
pub(super) async fn answer(
    shared: &Shared,
    head: &Parts,
    body: &mut Arriving,
    end: Option<End>,
) -> Answer {
    shared.state().token_calls += 1;
    let authorization = head.headers.get(AUTHORIZATION);
    let answer = match end {
        Some(End::Status(status)) => {
            let problem = format!("the sandbox was told to answer with {}\n", status.as_u16());
            text(status, HeaderValue::from_static("text/plain"), problem)
        }
        Some(End::RefuseClient) => Refusal::client(basic(authorization).is_some()).answer(),
        // This answer never leaves.
        Some(End::Hang | End::Reset) => json_text(StatusCode::OK, String::new()),
        None if head.method == Method::POST => {
            // A form that is too large or breaks off counts as none, and so does any other content
            // type.
            let form = if is_form(&head.headers) {
                body.collect(FORM_LIMIT).await
            } else {
                Ok(Vec::new())
            };
            match judge(&shared.options, authorization, &form.unwrap_or_default()) {
                Ok(()) => issue::answer(shared),
                Err(refusal) => refusal.answer(),
            }
        }
        None => {
            let answer = json(
                StatusCode::METHOD_NOT_ALLOWED,
                &json!({"error": "invalid_request"}),
            );
            with(answer, ALLOW, HeaderValue::from_static("POST"))
        }
    };
    body.discard().await;
    let answer = with(
        answer,
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-store"),
    );
    with(answer, PRAGMA, HeaderValue::from_static("no-cache"))
}

fn is_form(headers: &HeaderMap) -> bool {
    let text = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    text.split(';')
        .next()
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case(FORM))
}

/// Whether a token is due for this form, sent with this Authorization.
fn judge(
    options: &Options,
    authorization: Option<&HeaderValue>,
    form: &[u8],
) -> Result<(), Refusal> {
    let form = Form::parse(form)?;
    let grant = form.required("grant_type")?;
    authenticate(options, authorization, &form)?;
    match grant {
        "client_credentials" => match form.find("scope") {
            None | Some(gbg::SCOPE) => Ok(()),
            Some(_) => Err(Refusal::bad(
                "invalid_scope",
                "The requested scope is invalid",
            )),
        },
        "password" => {
            let user = (form.required("username")?, form.required("password")?);
            if user == (&options.username, &options.password) {
                Ok(())
            } else {
                Err(Refusal::bad(
                    "invalid_grant",
                    "Invalid username or password",
                ))
            }
        }
        _ => Err(Refusal {
            description: None,
            ..Refusal::bad("unsupported_grant_type", "")
        }),
    }
}

/// Client authentication, by HTTP Basic or by form fields (RFC 6749 section 2.3.1). Another scheme
/// in the Authorization field is ignored: GBG's reference shows a Bearer there.
fn authenticate(
    options: &Options,
    authorization: Option<&HeaderValue>,
    form: &Form<'_>,
) -> Result<(), Refusal> {
    let basic = basic(authorization);
    let (id, secret) = match basic {
        // RFC 6749 section 2.3: one way of authentication a request. The wording is invented.
        Some(_) if form.find("client_secret").is_some() => {
            return Err(Refusal::bad(
                "invalid_request",
                "Only one way of client authentication is allowed",
            ));
        }
        Some(credentials) => decode_basic(credentials).ok_or_else(|| Refusal::client(true))?,
        None => (
            form.required("client_id")?.to_owned(),
            form.required("client_secret")?.to_owned(),
        ),
    };
    if id == options.client_id && secret == options.client_secret {
        Ok(())
    } else {
        Err(Refusal::client(basic.is_some()))
    }
}

/// The credentials of `Authorization: Basic`.
fn basic(authorization: Option<&HeaderValue>) -> Option<&str> {
    let (scheme, credentials) = authorization?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("basic").then_some(credentials)
}

/// Id and secret, which the client encoded like form values before it joined them.
fn decode_basic(credentials: &str) -> Option<(String, String)> {
    let text = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((decode_form_value(id), decode_form_value(secret)))
}

fn decode_form_value(text: &str) -> String {
    // Not every client encodes them, so these two are no separators here.
    let text = text.replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(text.as_bytes())
        .map(|(name, _)| name)
        .collect()
}

/// The fields of the request, of which an empty one counts as missing (RFC 6749 section 3.2).
struct Form<'a>(HashMap<Cow<'a, str>, Cow<'a, str>>);

impl<'a> Form<'a> {
    fn parse(form: &'a [u8]) -> Result<Self, Refusal> {
        let mut fields = HashMap::new();
        for (name, value) in form_urlencoded::parse(form) {
            if fields.contains_key(&name) {
                // RFC 6749 section 3.2. The wording is invented.
                return Err(Refusal::bad(
                    "invalid_request",
                    format!("{name} is repeated"),
                ));
            }
            if !value.is_empty() {
                fields.insert(name, value);
            }
        }
        Ok(Form(fields))
    }

    fn find(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(Cow::as_ref)
    }

    fn required(&self, name: &str) -> Result<&str, Refusal> {
        self.find(name)
            .ok_or_else(|| Refusal::bad("invalid_request", format!("{name} is required")))
    }
}

/// An error answer (RFC 6749 section 5.2).
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    error: &'static str,
    description: Option<String>,
    status: StatusCode,
    /// Whether the client came with Basic, and is to be told so.
    challenge: bool,
}

impl Refusal {
    fn bad(error: &'static str, description: impl Into<String>) -> Self {
        Refusal {
            error,
            description: Some(description.into()),
            status: StatusCode::BAD_REQUEST,
            challenge: false,
        }
    }

    fn client(challenge: bool) -> Self {
        let refusal = Refusal::bad("invalid_client", "Invalid client or client credentials");
        Refusal {
            status: StatusCode::UNAUTHORIZED,
            challenge,
            ..refusal
        }
    }

    /// The description first, and a line end after all: so PingFederate does it.
    fn text(&self) -> String {
        #[derive(Serialize)]
        struct Body<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            error_description: Option<&'a str>,
            error: &'a str,
        }
        let body = Body {
            error_description: self.description.as_deref(),
            error: self.error,
        };
        serde_json::to_string(&body).unwrap_or_default() + "\r\n"
    }

    fn answer(&self) -> Answer {
        let answer = json_text(self.status, self.text());
        if !self.challenge {
            return answer;
        }
        with(
            answer,
            WWW_AUTHENTICATE,
            HeaderValue::from_static(r#"Basic realm="sandbox""#),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: &str = "client_id=sandbox-client&client_secret=sandbox-secret";

    fn judged(form: &str) -> Result<(), String> {
        judge(&Options::default(), None, form.as_bytes()).map_err(|refusal| refusal.text())
    }

    fn judged_basic(credentials: &str, form: &str) -> Result<(), Refusal> {
        let options = Options {
            client_secret: "a b+c=&:%".to_owned(),
            ..Options::default()
        };
        let value =
            HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(credentials))).unwrap();
        judge(&options, Some(&value), form.as_bytes())
    }

    #[test]
    fn both_grants_are_known() {
        assert_eq!(
            judged(&format!(
                "grant_type=client_credentials&scope=gbg.token&{CLIENT}"
            )),
            Ok(())
        );
        assert_eq!(
            judged(&format!("grant_type=client_credentials&scope=&{CLIENT}")),
            Ok(())
        );
        let user = "username=sandbox-user&password=sandbox-password";
        for scope in ["", "scope=openid&", "scope=anything+else&"] {
            assert_eq!(
                judged(&format!("grant_type=password&{scope}{user}&{CLIENT}")),
                Ok(())
            );
        }
    }

    #[test]
    fn other_fields_are_ignored() {
        let form =
            format!("grant_type=client_credentials&resource=x&audience=a%26b&empty=&{CLIENT}");
        assert_eq!(judged(&form), Ok(()));
    }

    #[test]
    fn refusals_are_worded_like_pingfederate() {
        let refused = |form: &str| judged(form).unwrap_err();
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
    fn basic_takes_form_encoded_credentials_and_is_answered_with_a_challenge() {
        let form = "grant_type=client_credentials";
        assert_eq!(
            judged_basic("sandbox-client:a+b%2Bc%3D%26%3A%25", form),
            Ok(())
        );
        assert_eq!(judged_basic("sandbox-client:a b%2Bc=&:%25", form), Ok(()));
        for wrong in ["sandbox-client:a", "no colon"] {
            let refusal = judged_basic(wrong, form).unwrap_err();
            assert_eq!(refusal, Refusal::client(true));
            assert!(refusal.answer().headers().contains_key(WWW_AUTHENTICATE));
        }
        assert!(
            !Refusal::client(false)
                .answer()
                .headers()
                .contains_key(WWW_AUTHENTICATE)
        );
        let twice = format!("{form}&client_secret=x");
        assert_eq!(
            judged_basic("a:b", &twice).unwrap_err().error,
            "invalid_request"
        );
    }

    #[test]
    fn a_form_is_told_by_its_content_type() {
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
