//! Who calls: by its certificate, by the user at the other end of a Unix socket, or by its key.

mod caller;
mod throttle;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::future::{Either, ready};
use http::Request;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use hyper::body::Body;
use tower::layer::{Layer, layer_fn};
use tower::service_fn;

pub(super) use self::caller::Known;
use self::caller::Table;
pub(super) use self::throttle::AuthFailureThrottle;
use super::context::WithContext;
use super::limit::CallerQuotas;
use super::{Peer, Step};
use crate::config::{CertificateName, Config, holds_key, key_digest};
use crate::error::Error;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// All callers, and how often somebody tried to be one.
#[derive(Debug)]
pub(super) struct Callers {
    table: Table,
    guesses: Arc<AuthFailureThrottle>,
}

impl Callers {
    /// The callers of `config`, with their `shares`.
    pub(super) fn new(
        config: &Config,
        shares: &CallerQuotas,
        guesses: Arc<AuthFailureThrottle>,
    ) -> Self {
        Callers {
            table: Table::new(config, shares),
            guesses,
        }
    }

    /// Whether anybody may call.
    pub(super) fn are_open(&self) -> bool {
        self.table.is_empty()
    }

    /// Who is at the other end of a connection whose certificate has these `names`, or whose
    /// process is of user `uid`.
    pub(super) fn of_connection(
        &self,
        names: &[CertificateName],
        uid: Option<u32>,
    ) -> Option<Arc<Known>> {
        self.table.of_connection(names, uid)
    }

    /// Whose key `text` is.
    pub(super) fn of_key(&self, text: &[u8]) -> Result<Arc<Known>, Error> {
        let known = key_digest(text).and_then(|digest| self.table.of_digest(&digest));
        known
            .ok_or(Error::CallerUnknown("the caller key is not known"))
            .and_then(Known::unexpired)
    }

    /// Who sends a request with these fields; `connected` is who the connection is known to be of.
    fn identify(
        &self,
        headers: &HeaderMap,
        connected: Option<&Arc<Known>>,
        is_callers_bearer: bool,
    ) -> Result<Arc<Known>, Error> {
        if self.are_open() {
            return Ok(Arc::clone(&self.table.anyone));
        }
        if let Some(known) = connected {
            return Known::unexpired(Arc::clone(known));
        }
        let in_field = only(headers, &X_API_KEY).map(|value| self.of_key(value.as_bytes()));
        if let Some(Ok(known)) = in_field {
            return Ok(known);
        }
        let shown = match is_callers_bearer {
            true => None,
            false => only(headers, &AUTHORIZATION).and_then(shown),
        };
        match (shown, in_field) {
            (Some(key), _) => self.of_key(&key),
            (None, Some(refused)) => refused,
            (None, None) if is_callers_bearer => Err(Error::CallerUnknown(
                "on this path the caller key must come as X-Api-Key",
            )),
            (None, None) => Err(Error::CallerUnknown("no caller key came with the request")),
        }
    }

    /// Returns when a refusal for `peer` may be given: late, if its address fails often.
    pub(super) async fn hold_back(&self, peer: &Peer) {
        self.guesses
            .hold_back(peer.addr.map(|addr| addr.ip()))
            .await;
    }
}

/// Lets pass what known callers send, and what they may send.
pub fn layer<S, In, Out>(
    rules: Arc<super::Rules>,
    peer: Arc<Peer>,
) -> impl Layer<S, Service = impl Step<WithContext<In>, Out> + use<S, In, Out>> + Clone
where
    S: Step<WithContext<In>, Out>,
    In: Body<Data = Bytes> + Send + 'static,
    Out: Send + 'static,
{
    layer_fn(move |mut inner: S| {
        let (rules, peer) = (Arc::clone(&rules), Arc::clone(&peer));
        service_fn(
            move |req: Request<WithContext<In>>| match check(&rules, &peer, &req) {
                Ok(()) => Either::Left(inner.call(req)),
                Err(error @ Error::CallerUnknown(_)) => {
                    let (rules, peer) = (Arc::clone(&rules), Arc::clone(&peer));
                    Either::Right(Either::Left(Box::pin(async move {
                        rules.callers.hold_back(&peer).await;
                        Err(error)
                    })))
                }
                Err(error) => Either::Right(Either::Right(ready(Err(error)))),
            },
        )
    })
}

/// Finds the caller, notes it, and sees whether it may call this: what it may not is in the log
/// under its name.
fn check<B>(rules: &super::Rules, peer: &Peer, req: &Request<WithContext<B>>) -> Result<(), Error> {
    let path = req.uri().path();
    let is_callers_bearer = rules.authorize.is_callers(path);
    if is_callers_bearer && shows_key(req.headers()) {
        return Err(Error::BadRequest(
            "on this path Authorization carries GBG's own token; send the caller key as X-Api-Key",
        ));
    }
    let known = rules
        .callers
        .identify(req.headers(), peer.known.as_ref(), is_callers_bearer)?;
    let may = known.check(req.method(), path);
    req.body().record().note_caller(known);
    may
}

/// Whether one of the Authorization fields shows what is, or looks like, a caller key: it must not
/// go on to the API, be it in quotes or with a typo.
fn shows_key(headers: &HeaderMap) -> bool {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    fields.any(|value| {
        holds_key(value.as_bytes()) || shown(value).is_some_and(|text| holds_key(&text))
    })
}

/// The value of `name` where there is exactly one.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    first.filter(|_| values.next().is_none())
}

/// What an Authorization field shows: a bearer token (RFC 6750 section 2.1), or the password of
/// Basic.
fn shown(value: &HeaderValue) -> Option<std::borrow::Cow<'_, [u8]>> {
    let token = credentials(value, b"bearer").map(Into::into);
    token.or_else(|| password(value).map(Into::into))
}

/// The password that an Authorization field shows by Basic (RFC 7617 section 2).
pub(super) fn password(value: &HeaderValue) -> Option<Vec<u8>> {
    let mut decoded = STANDARD.decode(credentials(value, b"basic")?).ok()?;
    let colon = decoded.iter().position(|&byte| byte == b':')?;
    Some(decoded.split_off(colon + 1))
}

/// What follows `scheme`, if that is the one.
fn credentials<'a>(value: &'a HeaderValue, scheme: &[u8]) -> Option<&'a [u8]> {
    let (found, rest) = value.as_bytes().split_at_checked(scheme.len())?;
    let rest = rest.strip_prefix(b" ")?;
    found
        .eq_ignore_ascii_case(scheme)
        .then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests;
