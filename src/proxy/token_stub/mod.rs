//! Token endpoint for callers that insist on logging in: GBG's SDKs fix its path and let only the
//! host be changed.
//!
//! The token that a caller gets is its own caller key, or a dummy where it needs none. The proxy's
//! token is never in a response, and nothing of this goes to GBG.
//!
//! Anyone may send a form, without a key: its size, its time and the number of forms are bounded.

pub(super) mod forms;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::Either;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, PRAGMA, WWW_AUTHENTICATE,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Either as EitherBody, Full};
use hyper::body::Body;
use serde_json::json;
use tokio::time::sleep;
use tower::layer::{Layer, layer_fn};
use tower::service_fn;
use url::form_urlencoded;

use self::forms::LoginForms;
use super::access_log::ResponseBody;
use super::authenticate::Authenticator;
use super::body_buffer::BodyBuffer;
use super::connection::ConnectionIdentity;
use super::context::WithContext;
use super::step::Step;
use crate::config::Config;
use crate::error::{BoxError, Error};
use crate::headers::authorization::{basic_password, is_basic};

/// Longest login form, and longest key.
const MAX_FORM_BYTES: usize = 4 * 1024;

/// Token of a caller that needs none; no server accepts it.
const DUMMY_TOKEN: &str = "gbg-proxy-needs-no-token";

/// `expires_in` of a token in seconds, as GBG's own.
const TOKEN_LIFETIME_SECONDS: u32 = 3600;

/// Issues caller keys as tokens.
#[derive(Debug)]
pub struct TokenStub {
    forms: Arc<LoginForms>,
    form_timeout: Duration,
    authenticator: Arc<Authenticator>,
}

impl TokenStub {
    pub(super) fn new(
        config: &Config,
        forms: Arc<LoginForms>,
        authenticator: Arc<Authenticator>,
    ) -> Self {
        TokenStub {
            forms,
            form_timeout: config.listen.header_timeout,
            authenticator,
        }
    }

    /// Reads the form in `body`; `None` if it is too long or broke off.
    async fn read<B>(&self, body: B) -> Result<Option<BodyBuffer>, Error>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut slot = self.forms.acquire();
        tokio::select! {
            // A form that is complete gets its response.
            biased;
            form = read_form(body) => Ok(form),
            () = slot.given_up() => Err(Error::TooManyLogins),
            () = sleep(self.form_timeout) => Err(Error::CallerTooSlow),
        }
    }

    async fn respond<B>(
        &self,
        connection: &ConnectionIdentity,
        req: Request<WithContext<B>>,
    ) -> Result<Response<String>, Error>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin + Send,
    {
        if *req.method() != Method::POST {
            return Err(Error::MethodNotAllowed {
                allow: HeaderValue::from_static("POST"),
            });
        }
        let context = Arc::clone(req.body().context());
        let basic = BasicCredentials::read(req.headers());
        let Some(form) = self.read(req.into_body()).await? else {
            return Ok(refused(
                "invalid_request",
                "the form is too long, or broke off",
            ));
        };
        let form = LoginForm::parse(form.bytes());
        match form.grant_type.as_str() {
            "client_credentials" | "password" => {}
            "" => return Ok(refused("invalid_request", "grant_type is missing")),
            _ => {
                return Ok(refused(
                    "unsupported_grant_type",
                    "the grants are client_credentials and password",
                ));
            }
        }
        if let Some(caller) = &connection.caller {
            context.set_caller(Arc::clone(caller));
        }
        if self.authenticator.allows_anonymous() || connection.caller.is_some() {
            return Ok(granted(DUMMY_TOKEN));
        }
        let is_basic_client = basic.is_present;
        if let Some(secret) = basic.secret_or(form)
            && let Ok(caller) = self.authenticator.caller_of_key(secret.as_bytes())
        {
            context.set_caller(Arc::clone(&caller));
            return Ok(match caller.check_expiry() {
                Ok(()) => granted(&secret),
                Err(_) => unknown_client(is_basic_client, "the access of this caller has ended"),
            });
        }
        self.authenticator.delay_rejection(connection).await;
        let description = "the client secret must be a caller key of this proxy";
        Ok(unknown_client(is_basic_client, description))
    }
}

async fn read_form<B: Body<Data = Bytes> + Unpin>(mut body: B) -> Option<BodyBuffer> {
    let mut form = BodyBuffer::new(MAX_FORM_BYTES);
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame.ok()?.data_ref() {
            form.push(data).ok()?;
        }
    }
    Some(form)
}

/// Responds to token requests; passes all others.
pub fn layer<S, In, Out>(
    stub: Arc<TokenStub>,
    connection: Arc<ConnectionIdentity>,
) -> impl Layer<S, Service = impl Step<WithContext<In>, ResponseBody<Out>> + use<S, In, Out>> + Clone
where
    S: Step<WithContext<In>, Out>,
    In: Body<Data = Bytes, Error: Into<BoxError>> + Unpin + Send + 'static,
    Out: Send + 'static,
{
    layer_fn(move |mut inner: S| {
        let (stub, connection) = (Arc::clone(&stub), Arc::clone(&connection));
        service_fn(move |req: Request<WithContext<In>>| {
            if !req.body().context().route().is_token_request {
                let response = inner.call(req);
                return Either::Left(response.map(|result| Ok(result?.map(EitherBody::Left))));
            }
            let (stub, connection) = (Arc::clone(&stub), Arc::clone(&connection));
            Either::Right(Box::pin(async move {
                let res = stub.respond(&connection, req).await?;
                Ok(res.map(|body| EitherBody::Right(Full::from(body))))
            }))
        })
    })
}

/// The fields of a token request (RFC 6749 sections 4.3.2 and 4.4.2) that the stub reads.
#[derive(Default)]
struct LoginForm {
    grant_type: String,
    client_secret: Option<String>,
}

impl LoginForm {
    fn parse(body: &[u8]) -> Self {
        let mut form = LoginForm::default();
        for (name, value) in form_urlencoded::parse(body) {
            match &*name {
                "grant_type" => form.grant_type = value.into_owned(),
                "client_secret" => form.client_secret = Some(value.into_owned()),
                _ => {}
            }
        }
        form
    }
}

/// Client credentials in Authorization (RFC 6749 section 2.3.1). They are read before the form, so
/// that the head of the request, of up to 64 KiB, is not kept with it.
struct BasicCredentials {
    /// Whether the client used this scheme.
    is_present: bool,
    secret: Option<Vec<u8>>,
}

impl BasicCredentials {
    fn read(headers: &HeaderMap) -> Self {
        let value = headers.get(AUTHORIZATION);
        let mut secret = value.and_then(basic_password);
        if let Some(secret) = &mut secret
            && secret.len() > MAX_FORM_BYTES
        {
            // Too long for a key: as good as an empty one.
            *secret = Vec::new();
        }
        BasicCredentials {
            is_present: value.is_some_and(is_basic),
            secret,
        }
    }

    /// The client secret, else that of `form`.
    fn secret_or(self, form: LoginForm) -> Option<String> {
        match self.secret {
            Some(secret) => String::from_utf8(secret).ok(),
            None => form.client_secret,
        }
    }
}

fn granted(token: &str) -> Response<String> {
    json_response(
        StatusCode::OK,
        &json!({ "access_token": token, "token_type": "Bearer", "expires_in": TOKEN_LIFETIME_SECONDS }),
    )
}

/// Error response of RFC 6749 section 5.2.
fn refused(error: &str, description: &str) -> Response<String> {
    json_response(
        StatusCode::BAD_REQUEST,
        &json!({ "error": error, "error_description": description }),
    )
}

/// The challenge is that of the scheme which the client used (RFC 6749 section 5.2).
fn unknown_client(is_basic_client: bool, description: &str) -> Response<String> {
    let mut res = refused("invalid_client", description);
    *res.status_mut() = StatusCode::UNAUTHORIZED;
    if is_basic_client {
        res.headers_mut().insert(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Basic realm=\"gbg-proxy\""),
        );
    }
    res
}

fn json_response(status: StatusCode, body: &serde_json::Value) -> Response<String> {
    let mut res = Response::new(body.to_string());
    *res.status_mut() = status;
    let headers = res.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    res
}
