//! The way of one request through the proxy.

mod access_log;
mod authenticate;
mod authorize;
mod body_buffer;
mod connection;
mod context;
mod error_response;
mod forward;
mod headers;
mod limit;
mod policy;
mod reloadable;
mod replay;
mod request_id;
mod retry;
mod route;
mod spans;
mod step;
mod token_stub;
mod validate;

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Body;
use tower::ServiceBuilder;

pub use self::access_log::ObservedBody;
pub use self::authorize::Authorized;
pub use self::connection::{CheckCertificate, ConnectionIdentity, ConnectionInfo};
pub use self::context::WithContext;
pub(crate) use self::forward::forward;
pub use self::policy::{Policy, SharedState};
pub use self::reloadable::reloadable;
pub use self::replay::RequestBody;
pub use self::step::{Forward, Step};
use crate::error::BoxError;

/// The stack of a connection: every request passes these steps from top to bottom.
pub fn stack<F, In, Out>(
    policy: &Policy,
    connection: ConnectionIdentity,
    forward: F,
) -> impl Step<In, ObservedBody<Out>, Infallible> + use<F, In, Out>
where
    F: Forward<WithContext<In>, Out>,
    In: Body<Data = Bytes, Error: Into<BoxError>> + Unpin + Send + 'static,
    Out: Body<Data = Bytes, Error: Into<BoxError>> + Unpin + Send + 'static,
{
    let connection = Arc::new(connection);
    ServiceBuilder::new()
        .layer(access_log::layer(
            Arc::clone(&policy.access_log),
            connection.addr,
        ))
        // Below this step a failure is an `Error`; here it becomes a response.
        .layer(error_response::layer(Arc::clone(&policy.origins)))
        .layer(validate::layer(
            Arc::clone(&policy.validator),
            Arc::clone(&connection),
        ))
        // Before authentication: a token request brings the credentials of its caller in its form.
        .layer(token_stub::layer(
            Arc::clone(&policy.token_stub),
            Arc::clone(&connection),
        ))
        .layer(authenticate::layer(
            Arc::clone(&policy.authenticator),
            Arc::clone(&connection),
        ))
        .layer(limit::layer(Arc::clone(&policy.limiter)))
        // Hop-by-hop fields are removed before the proxy adds its own, so that no Connection option
        // can remove those.
        .map_request(headers::request(Arc::clone(&policy.headers), connection))
        .map_response(headers::response)
        .layer(retry::layer(Arc::clone(&policy.retry)))
        .service(forward)
}

/// The steps one by one, for the bench that counts the cost of each.
#[doc(hidden)]
pub mod steps {
    pub use super::access_log::{ResponseBody, layer as access_log};
    pub use super::authenticate::layer as authenticate;
    pub use super::error_response::layer as error_response;
    pub use super::headers::{request, response};
    pub use super::limit::layer as limit;
    pub use super::token_stub::layer as token_stub;
    pub use super::validate::layer as validate;
}

#[cfg(test)]
pub(crate) mod tests;
