//! Traits of the services that a listener serves.

use std::convert::Infallible;

use http::{Request, Response};
use hyper::body::Body;
use tower::Service;

use super::caller_body::CallerBody;
use crate::error::BoxError;

/// A service for the requests of a connection. It is always ready, and turns failures into
/// responses.
pub(crate) trait CallerService<B>:
    Service<Request<CallerBody>, Response = Response<B>, Error = Infallible, Future: Send + 'static>
    + Clone
    + Send
    + 'static
{
}

impl<S, B> CallerService<B> for S where
    S: Service<
            Request<CallerBody>,
            Response = Response<B>,
            Error = Infallible,
            Future: Send + 'static,
        > + Clone
        + Send
        + 'static
{
}

/// The body of a service's response.
pub(crate) trait ServiceBody:
    Body<Data: Send, Error: Into<BoxError>> + Unpin + Send + 'static
{
}

impl<B> ServiceBody for B where B: Body<Data: Send, Error: Into<BoxError>> + Unpin + Send + 'static {}
