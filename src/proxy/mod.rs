//! What happens to one request: the stack, read from top to bottom.

mod authorize;
mod body;
mod forward;
mod guard;
mod headers;
mod observe;
mod replay;
mod request_id;
mod respond;

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Body;
use tower::{Service, ServiceBuilder};

pub use self::authorize::Authorized;
pub use self::body::ProxyBody;
pub use self::forward::forward;
pub use self::observe::Caller;
pub use self::replay::RequestBody;

use crate::config::Config;
use crate::error::{Cause, Error};
use crate::token::Reader;

/// What the steps need to know. Each worker has its own, so that cores share nothing that is counted.
#[derive(Debug)]
pub struct Rules {
    guard: guard::Rules,
    headers: headers::Rules,
    authorize: authorize::Rules,
    access_log: bool,
}

impl Rules {
    /// The rules that `config` describes, with `tokens` for the forwarded requests.
    pub fn new(config: &Config, tokens: Reader) -> Self {
        Rules {
            guard: guard::Rules::new(config),
            headers: headers::Rules::new(&config.upstream),
            authorize: authorize::Rules::new(config, tokens),
            access_log: config.log.access,
        }
    }
}

/// A step of the stack, or all below one. It is always ready: load is shed in `call`, where there is a request to
/// answer.
pub trait Step<In, Out, E = Error>:
    Service<Request<In>, Response = Response<Out>, Error = E, Future: Send> + Clone + Send + 'static
{
}

impl<S, In, Out, E> Step<In, Out, E> for S where
    S: Service<Request<In>, Response = Response<Out>, Error = E, Future: Send> + Clone + Send + 'static
{
}

/// The last step, which takes nothing that is not authorized.
pub trait Forward<In, Out>:
    Service<Authorized<In>, Response = Response<Out>, Error = Error, Future: Send> + Clone + Send + 'static
{
}

impl<S, In, Out> Forward<In, Out> for S where
    S: Service<Authorized<In>, Response = Response<Out>, Error = Error, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// The way of every request of `caller`; `forward` is the last step.
pub fn stack<F, In, Out>(
    rules: &Arc<Rules>,
    caller: Caller,
    forward: F,
) -> impl Step<In, ProxyBody<Out>, Infallible> + use<F, In, Out>
where
    F: Forward<In, Out>,
    In: Body<Data = Bytes> + Send + 'static,
    Out: Body<Data = Bytes, Error: Into<Cause>> + Unpin + Send + 'static,
{
    ServiceBuilder::new()
        .layer(observe::layer(rules.access_log, caller))
        // Outside of everything that can fail: below, a failure is an `Error`; here it becomes an answer.
        .layer(respond::layer())
        .layer(guard::layer(Arc::clone(rules)))
        // Hop-by-hop fields go out before anything of ours comes in, so that no Connection option can remove it.
        .map_request(headers::request(Arc::clone(rules), caller))
        .map_response(headers::response)
        // Last, so that nothing else sees the token. Sends the request once more, if the API refuses that.
        .layer(authorize::layer(Arc::clone(rules)))
        .service(forward)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use http_body_util::Full;

    use super::*;
    use crate::config::{Sources, load};
    use crate::upstream::Upstream;

    /// A configuration that needs no file, and whose upstream is never reached.
    pub(crate) fn config() -> Config {
        let set = ["upstream.base_url=http://127.0.0.1:1", "token.endpoint=http://127.0.0.1:1"];
        let env = [("GBG_CLIENT_ID", "a"), ("GBG_CLIENT_SECRET", "s")];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        load(&Sources { set: set.map(str::to_owned).into(), env, file: None }).unwrap().config
    }

    /// It is moved several times for each request, and held for each connection: an async block too many, or a rare
    /// state that is not boxed, makes it tens of kilobytes.
    #[test]
    fn the_future_of_a_request_is_small() {
        let (_publisher, tokens) = crate::token::channel(Duration::from_secs(1));
        let rules = Arc::new(Rules::new(&config(), tokens));
        let upstream = Arc::new(Upstream::<RequestBody<Full<Bytes>>>::new(&config().upstream).unwrap());
        let mut service = stack(&rules, Caller { addr: None }, forward(upstream));
        let future = service.call(Request::new(Full::default()));
        let size = std::mem::size_of_val(&future);
        assert!(size <= 2560, "{size} bytes");
    }
}
