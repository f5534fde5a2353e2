//! The token endpoint that callers find here: for those that insist on logging in, whose code fixes its path and lets only the
//! host be changed.
//!
//! The token that they get is their own caller key, or a word that opens nothing where they need none. Ours is never in an
//! answer, and nothing of this goes to GBG.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::Either;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, PRAGMA, WWW_AUTHENTICATE,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Body;
use serde_json::json;
use tower::layer::{Layer, layer_fn};
use tower::service_fn;
use url::form_urlencoded;

use super::body::Answer;
use super::caller::password;
use super::record::Observed;
use super::{Peer, Step};
use crate::error::{Cause, Error};
use crate::gbg;

/// No form with which somebody logs in is longer.
const LONGEST: usize = 4 * 1024;

/// What a caller gets that needs no token. It opens nothing, here or elsewhere.
const WORTHLESS: &str = "gbg-proxy-needs-no-token";

/// How long a token is said to last, in seconds; GBG's own says the same.
const LIFE: u32 = 3600;

/// Answers those who log in.
pub fn layer<S, In, Out>(
    rules: Arc<super::Rules>,
    peer: Arc<Peer>,
) -> impl Layer<S, Service = impl Step<Observed<In>, Answer<Out>> + use<S, In, Out>> + Clone
where
    S: Step<Observed<In>, Out>,
    In: Body<Data = Bytes, Error: Into<Cause>> + Unpin + Send + 'static,
    Out: Send + 'static,
{
    layer_fn(move |mut inner: S| {
        let (rules, peer) = (Arc::clone(&rules), Arc::clone(&peer));
        service_fn(move |req: Request<Observed<In>>| match gbg::is_login(req.uri().path()) {
            false => Either::Left(inner.call(req).map(|answered| Ok(answered?.map(Answer::Theirs)))),
            true => {
                let (rules, peer) = (Arc::clone(&rules), Arc::clone(&peer));
                Either::Right(Box::pin(async move {
                    let answer = log_in(&rules, &peer, req).await?;
                    Ok(answer.map(|body| Answer::Ours(Full::from(body))))
                }))
            }
        })
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
    req: Request<Observed<B>>,
) -> Result<Response<String>, Error>
where
    B: Body<Data = Bytes, Error: Into<Cause>> + Unpin + Send,
{
    if *req.method() != Method::POST {
        return Err(Error::MethodNotAllowed { allow: HeaderValue::from_static("POST") });
    }
    let record = Arc::clone(req.body().record());
    let (head, body) = req.into_parts();
    let Ok(body) = Limited::new(body, LONGEST).collect().await else {
        return Ok(refused("invalid_request", "the form is too long, or broke off"));
    };
    let form = Form::parse(&body.to_bytes());
    match form.grant_type.as_str() {
        "client_credentials" | "password" => {}
        "" => return Ok(refused("invalid_request", "grant_type is missing")),
        _ => {
            return Ok(refused("unsupported_grant_type", "the grants are client_credentials and password"));
        }
    }
    let callers = &rules.callers;
    if let Some(known) = &peer.known {
        record.note_caller(Arc::clone(known));
    }
    if callers.are_open() || peer.known.is_some() {
        return Ok(granted(WORTHLESS));
    }
    let secret = secret(&head.headers, form);
    if let Some(secret) = secret
        && let Ok(known) = callers.of_key(secret.as_bytes())
    {
        record.note_caller(known);
        return Ok(granted(&secret));
    }
    callers.hold_back(peer).await;
    Ok(unknown_client(head.headers.contains_key(AUTHORIZATION)))
}

/// The client secret, from the form or by Basic (RFC 6749 section 2.3.1).
fn secret(headers: &HeaderMap, form: Form) -> Option<String> {
    match headers.get(AUTHORIZATION).and_then(password) {
        Some(secret) => String::from_utf8(secret).ok(),
        None => form.client_secret,
    }
}

fn granted(token: &str) -> Response<String> {
    answer(StatusCode::OK, &json!({ "access_token": token, "token_type": "Bearer", "expires_in": LIFE }))
}

/// RFC 6749 section 5.2.
fn refused(error: &str, description: &str) -> Response<String> {
    answer(StatusCode::BAD_REQUEST, &json!({ "error": error, "error_description": description }))
}

fn unknown_client(by_basic: bool) -> Response<String> {
    let mut res = refused("invalid_client", "the client secret must be a caller key of this proxy");
    *res.status_mut() = StatusCode::UNAUTHORIZED;
    if by_basic {
        res.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"gbg-proxy\""));
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
