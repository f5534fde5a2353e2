//! Authentication of callers: by certificate, by the user id on a Unix socket, or by key.

pub(super) mod auth_failures;
pub(super) mod caller;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{Either, ready};
use http::Request;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use hyper::body::Body;
use tower::layer::{Layer, layer_fn};
use tower::service_fn;

use self::auth_failures::AuthFailureThrottle;
use self::caller::{Caller, CallerTable};
use super::connection::ConnectionIdentity;
use super::context::WithContext;
use super::limit::quota::CallerQuotas;
use super::route::BearerOwner;
use super::step::Step;
use crate::config::{CertificateName, Config, holds_key, key_digest};
use crate::error::Error;
use crate::headers::authorization::{basic_password, bearer};
use crate::metrics::AccountMetrics;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The callers of the configuration, and the throttle of failed attempts.
#[derive(Debug)]
pub struct Authenticator {
    callers: CallerTable,
    throttle: Arc<AuthFailureThrottle>,
}

impl Authenticator {
    pub(super) fn new(
        config: &Config,
        quotas: &CallerQuotas,
        throttle: Arc<AuthFailureThrottle>,
        account: &Arc<AccountMetrics>,
    ) -> Self {
        Authenticator {
            callers: CallerTable::new(config, quotas, account),
            throttle,
        }
    }

    /// Whether no callers are configured, so that every request is accepted.
    pub(super) fn allows_anonymous(&self) -> bool {
        self.callers.is_empty()
    }

    /// The caller of a connection with these certificate `names`, or of the user `uid`.
    pub(super) fn caller_of_connection(
        &self,
        names: &[CertificateName],
        uid: Option<u32>,
    ) -> Option<Arc<Caller>> {
        self.callers.by_connection(names, uid)
    }

    /// The caller whose key `key` is; its access may have ended.
    pub(super) fn caller_of_key(&self, key: &[u8]) -> Result<Arc<Caller>, Error> {
        key_digest(key)
            .and_then(|digest| self.callers.by_digest(&digest))
            .ok_or(Error::CallerUnknown("the caller key is not known"))
    }

    /// The caller of a request with these `headers`, whose access may have ended; `connected` is the
    /// caller of its connection.
    fn find(
        &self,
        headers: &HeaderMap,
        connected: Option<&Arc<Caller>>,
        bearer_owner: BearerOwner,
    ) -> Result<Arc<Caller>, Error> {
        if self.allows_anonymous() {
            return Ok(Arc::clone(&self.callers.anonymous));
        }
        if let Some(caller) = connected {
            return Ok(Arc::clone(caller));
        }
        let by_field =
            single_value(headers, &X_API_KEY).map(|value| self.caller_of_key(value.as_bytes()));
        if let Some(Ok(caller)) = &by_field
            && caller.check_expiry().is_ok()
        {
            return Ok(Arc::clone(caller));
        }
        let is_callers_bearer = bearer_owner == BearerOwner::Caller;
        let key = single_value(headers, &AUTHORIZATION)
            .filter(|_| !is_callers_bearer)
            .and_then(key_in);
        match (key, by_field) {
            (Some(key), _) => self.caller_of_key(&key),
            (None, Some(rejected)) => rejected,
            (None, None) => Err(Error::CallerUnknown(missing_key(
                headers,
                is_callers_bearer,
            ))),
        }
    }

    /// Finds the caller of `req`, and checks that it may make this call. A call that it may not
    /// make is logged under its name.
    fn check<B>(
        &self,
        req: &Request<WithContext<B>>,
        connection: &ConnectionIdentity,
    ) -> Result<(), Error> {
        let context = req.body().context();
        let bearer_owner = context.route().bearer;
        if bearer_owner == BearerOwner::Caller && has_caller_key(req.headers()) {
            return Err(Error::BadRequest(
                "on this path Authorization carries GBG's own token; send the caller key as X-Api-Key",
            ));
        }
        let caller = self.find(req.headers(), connection.caller.as_ref(), bearer_owner)?;
        let caller = context.set_caller(caller);
        caller.check_expiry()?;
        caller.check_call(req)
    }

    /// Delays the rejection of a request if its address fails often.
    pub(super) async fn delay_rejection(&self, connection: &ConnectionIdentity) {
        let ip = connection.addr.map(|addr| addr.ip());
        self.throttle.delay_rejection(ip).await;
    }
}

/// Passes requests of known callers that may make their call.
pub fn layer<S, In, Out>(
    authenticator: Arc<Authenticator>,
    connection: Arc<ConnectionIdentity>,
) -> impl Layer<S, Service = impl Step<WithContext<In>, Out> + use<S, In, Out>> + Clone
where
    S: Step<WithContext<In>, Out>,
    In: Body<Data = Bytes> + Send + 'static,
    Out: Send + 'static,
{
    layer_fn(move |mut inner: S| {
        let (authenticator, connection) = (Arc::clone(&authenticator), Arc::clone(&connection));
        service_fn(move |req: Request<WithContext<In>>| {
            match authenticator.check(&req, &connection) {
                Ok(()) => Either::Left(inner.call(req)),
                Err(error @ Error::CallerUnknown(_)) => {
                    let (authenticator, connection) =
                        (Arc::clone(&authenticator), Arc::clone(&connection));
                    Either::Right(Either::Left(Box::pin(async move {
                        authenticator.delay_rejection(&connection).await;
                        Err(error)
                    })))
                }
                Err(error) => Either::Right(Either::Right(ready(Err(error)))),
            }
        })
    })
}

/// Whether an Authorization field has a caller key or what looks like one, in quotes or with a
/// typo: it must not go on to the API.
fn has_caller_key(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    values.any(|value| {
        holds_key(value.as_bytes()) || key_in(value).is_some_and(|key| holds_key(&key))
    })
}

/// The reason why no key was found in `headers`.
fn missing_key(headers: &HeaderMap, is_callers_bearer: bool) -> &'static str {
    if headers.get_all(&X_API_KEY).iter().count() > 1 {
        "the request has more than one X-Api-Key field"
    } else if is_callers_bearer {
        "on this path the caller key must come as X-Api-Key"
    } else if headers.get_all(&AUTHORIZATION).iter().count() > 1 {
        "the request has more than one Authorization field"
    } else {
        "no caller key came with the request"
    }
}

/// The value of `name` if there is exactly one.
fn single_value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    first.filter(|_| values.next().is_none())
}

/// The key in an Authorization field: a bearer token, or a password of Basic.
fn key_in(value: &HeaderValue) -> Option<Cow<'_, [u8]>> {
    let token = bearer(value).map(Cow::Borrowed);
    token.or_else(|| basic_password(value).map(Cow::Owned))
}

#[cfg(test)]
mod tests;
