//! The stack of a connection, made anew when the rules are: a key that is no longer in the
//! configuration is not known any more on connections that are open either.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use http::Request;
use tokio::sync::watch;
use tower::service_fn;

use super::Step;

/// The service that `make` makes of what is in force.
pub fn renewing<T, M, S, In, Out>(
    mut in_force: watch::Receiver<T>,
    make: M,
) -> impl Step<In, Out, Infallible> + use<T, M, S, In, Out>
where
    T: Send + Sync + 'static,
    M: Fn(&T) -> S + Send + Sync + 'static,
    S: Step<In, Out, Infallible>,
    In: Send + 'static,
    Out: Send + 'static,
{
    let service = make(&in_force.borrow_and_update());
    // The connection's own lock: a request of it that is under way has a clone.
    let current = Arc::new(Mutex::new((in_force, service)));
    let make = Arc::new(make);
    service_fn(move |req: Request<In>| {
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        let (in_force, service) = &mut *current;
        // An error means that nobody renews it any more.
        if in_force.has_changed().unwrap_or(false) {
            *service = make(&in_force.borrow_and_update());
        }
        service.call(req)
    })
}
