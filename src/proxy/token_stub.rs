//! The token endpoint that callers find here: for those that insist on logging in, whose code fixes
//! its path and lets only the host be changed.
//!
//! The token that they get is their own caller key, or a word that opens nothing where they need
//! none. Ours is never in an answer, and nothing of this goes to GBG.
//!
//! Everybody may send a form, without a key: what one holds is bounded in bytes, in time and in
//! number.

mod forms;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::Either;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, PRAGMA, WWW_AUTHENTICATE,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use serde_json::json;
use tokio::time::sleep;
use tower::layer::{Layer, layer_fn};
use tower::service_fn;
use url::form_urlencoded;

use super::authenticate::password;
use super::body::Answer;
use super::body_buffer::BodyBuffer;
use super::context::WithContext;
use super::{Peer, Step};
use crate::config::Config;
use crate::error::{BoxError, Error};
use crate::gbg;

pub(super) use self::forms::LoginForms;

/// No form with which somebody logs in is longer, and no key.
const MAX_FORM_BYTES: usize = 4 * 1024;

/// What a caller gets that needs no token. It opens nothing, here or elsewhere.
const WORTHLESS: &str = "gbg-proxy-needs-no-token";

/// How long a token is said to last, in seconds; GBG's own says the same.
const LIFE: u32 = 3600;

/// What bounds a form.
#[derive(Debug)]
pub(super) struct Rules {
    forms: Arc<LoginForms>,
    timeout: Duration,
}

impl Rules {
    pub(super) fn new(config: &Config, forms: Arc<LoginForms>) -> Self {
        Rules {
            forms,
            timeout: config.listen.header_timeout,
        }
    }

    /// The form in `body`; `None` where it is too long, or broke off.
    async fn read<B>(&self, body: B) -> Result<Option<BodyBuffer>, Error>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut slot = self.forms.begin();
        tokio::select! {
            // What has come as a whole is answered.
            biased;
            form = read_form(body) => Ok(form),
            () = slot.given_up() => Err(Error::TooManyLogins),
            () = sleep(self.timeout) => Err(Error::CallerTooSlow),
        }
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

/// Answers those who log in.
pub fn layer<S, In, Out>(
    rules: Arc<super::Rules>,
    peer: Arc<Peer>,
) -> impl Layer<S, Service = impl Step<WithContext<In>, Answer<Out>> + use<S, In, Out>> + Clone
where
    S: Step<WithContext<In>, Out>,
    In: Body<Data = Bytes, Error: Into<BoxError>> + Unpin + Send + 'static,
    Out: Send + 'static,
{
    layer_fn(move |mut inner: S| {
        let (rules, peer) = (Arc::clone(&rules), Arc::clone(&peer));
        service_fn(
            move |req: Request<WithContext<In>>| match gbg::is_login(req.uri().path()) {
                false => Either::Left(
                    inner
                        .call(req)
                        .map(|answered| Ok(answered?.map(Answer::Theirs))),
                ),
                true => {
                    let (rules, peer) = (Arc::clone(&rules), Arc::clone(&peer));
                    Either::Right(Box::pin(async move {
                        let answer = log_in(&rules, &peer, req).await?;
                        Ok(answer.map(|body| Answer::Ours(Full::from(body))))
                    }))
                }
            },
        )
    })
}

/// A token request (RFC 6749 sections 4.3.2 and 4.4.2), as far as it concerns us.
#[derive(Default)]
struct Form {
    grant_type: String,
    client_secret: Option<String>,
}

impl Form {
    fn parse(body: &[u8]) -> Self {
        let mut form = Form::default();
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

async fn log_in<B>(
    rules: &super::Rules,
    peer: &Peer,
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
    let record = Arc::clone(req.body().record());
    let basic = Basic::of(req.headers());
    let Some(form) = rules.login.read(req.into_body()).await? else {
        return Ok(refused(
            "invalid_request",
            "the form is too long, or broke off",
        ));
    };
    let form = Form::parse(form.bytes());
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
    let callers = &rules.callers;
    if let Some(known) = &peer.known {
        record.note_caller(Arc::clone(known));
    }
    if callers.are_open() || peer.known.is_some() {
        return Ok(granted(WORTHLESS));
    }
    let is_by_basic = basic.is_there;
    if let Some(secret) = basic.secret_of(form)
        && let Ok(known) = callers.of_key(secret.as_bytes())
    {
        record.note_caller(known);
        return Ok(granted(&secret));
    }
    callers.hold_back(peer).await;
    Ok(unknown_client(is_by_basic))
}

/// What Authorization says of a client (RFC 6749 section 2.3.1): read before the form, so that the
/// head of the request, of up to 64 KiB, is not held with it.
struct Basic {
    is_there: bool,
    secret: Option<Vec<u8>>,
}

impl Basic {
    fn of(headers: &HeaderMap) -> Self {
        let value = headers.get(AUTHORIZATION);
        let mut secret = value.and_then(password);
        if let Some(secret) = &mut secret
            && secret.len() > MAX_FORM_BYTES
        {
            // It is nobody's key, as an empty one is not.
            *secret = Vec::new();
        }
        Basic {
            is_there: value.is_some(),
            secret,
        }
    }

    /// The client secret: this one, or else that of `form`.
    fn secret_of(self, form: Form) -> Option<String> {
        match self.secret {
            Some(secret) => String::from_utf8(secret).ok(),
            None => form.client_secret,
        }
    }
}

fn granted(token: &str) -> Response<String> {
    answer(
        StatusCode::OK,
        &json!({ "access_token": token, "token_type": "Bearer", "expires_in": LIFE }),
    )
}

/// RFC 6749 section 5.2.
fn refused(error: &str, description: &str) -> Response<String> {
    answer(
        StatusCode::BAD_REQUEST,
        &json!({ "error": error, "error_description": description }),
    )
}

fn unknown_client(by_basic: bool) -> Response<String> {
    let mut res = refused(
        "invalid_client",
        "the client secret must be a caller key of this proxy",
    );
    *res.status_mut() = StatusCode::UNAUTHORIZED;
    if by_basic {
        res.headers_mut().insert(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Basic realm=\"gbg-proxy\""),
        );
    }
    res
}

fn answer(status: StatusCode, body: &serde_json::Value) -> Response<String> {
    let mut res = Response::new(body.to_string());
    *res.status_mut() = status;
    let headers = res.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    res
}
