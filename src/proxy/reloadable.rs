//! Reloadable service of a connection: open connections follow a reload too, so that a key that was
//! removed is rejected everywhere.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use http::Request;
use tokio::sync::watch;
use tower::service_fn;

use super::step::Step;

/// The service that `make` builds from the current value of `source`, and again after each change.
pub fn reloadable<T, M, S, In, Out>(
    mut source: watch::Receiver<T>,
    make: M,
) -> impl Step<In, Out, Infallible> + use<T, M, S, In, Out>
where
    T: Send + Sync + 'static,
    M: Fn(&T) -> S + Send + Sync + 'static,
    S: Step<In, Out, Infallible>,
    In: Send + 'static,
    Out: Send + 'static,
{
    let service = make(&source.borrow_and_update());
    // A lock of this connection alone; a request in flight has a clone of the service.
    let current = Arc::new(Mutex::new((source, service)));
    let make = Arc::new(make);
    service_fn(move |req: Request<In>| {
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        let (source, service) = &mut *current;
        // An error means that the process shuts down: nothing reloads any more.
        if source.has_changed().unwrap_or(false) {
            *service = make(&source.borrow_and_update());
        }
        service.call(req)
    })
}
