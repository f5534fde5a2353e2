//! The shape of a step, and of the last one.

use http::{Request, Response};
use tower::Service;

use super::authorize::Authorized;
use crate::error::Error;

/// A step of the stack with everything below it. A step is always ready: load is shed in `call`,
/// where there is a request to respond to.
pub trait Step<In, Out, E = Error>:
    Service<Request<In>, Response = Response<Out>, Error = E, Future: Send> + Clone + Send + 'static
{
}

impl<S, In, Out, E> Step<In, Out, E> for S where
    S: Service<Request<In>, Response = Response<Out>, Error = E, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// The last step, which only takes authorized requests.
pub trait Forward<In, Out>:
    Service<Authorized<In>, Response = Response<Out>, Error = Error, Future: Send>
    + Clone
    + Send
    + 'static
{
}

impl<S, In, Out> Forward<In, Out> for S where
    S: Service<Authorized<In>, Response = Response<Out>, Error = Error, Future: Send>
        + Clone
        + Send
        + 'static
{
}
