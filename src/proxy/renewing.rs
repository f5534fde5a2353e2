//! The stack of a connection, made anew when the rules are: a key that is no longer in the configuration is not known any more
//! on connections that are open either.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use http::Request;
use tokio::sync::watch;
use tower::service_fn;

use super::{Rules, Step};

/// The service that `make` makes of the rules that are in force.
pub fn renewing<M, S, In, Out>(
    mut rules: watch::Receiver<Arc<Rules>>,
    make: M,
) -> impl Step<In, Out, Infallible>
where
    M: Fn(&Arc<Rules>) -> S + Send + Sync + 'static,
    S: Step<In, Out, Infallible>,
    In: Send + 'static,
    Out: Send + 'static,
{
    let service = make(&rules.borrow_and_update());
    // The connection's own lock: a request of it that is under way has a clone.
    let current = Arc::new(Mutex::new((rules, service)));
    let make = Arc::new(make);
    service_fn(move |req: Request<In>| {
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        let (rules, service) = &mut *current;
        // An error means that nobody renews them any more.
        if rules.has_changed().unwrap_or(false) {
            *service = make(&rules.borrow_and_update());
        }
        service.call(req)
    })
}
