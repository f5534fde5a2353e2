//! The outermost step: names the request, begins its record, and sees that it is counted and logged
//! when the answer has ended.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use http::Request;
use hyper::body::Body;
use tower::layer::{Layer, layer_fn};
use tower::service_fn;

use super::body::{Answer, ProxyBody};
use super::context::{Record, Watched, WithContext};
use super::{Step, request_id};
use crate::error::BoxError;

/// Observes every request that comes from `addr`.
pub fn layer<S, In, Out>(
    rules: Arc<super::Rules>,
    addr: Option<SocketAddr>,
) -> impl Layer<S, Service = impl Step<In, ProxyBody<Out>, Infallible> + use<S, In, Out>> + Clone
where
    S: Step<WithContext<In>, Answer<Out>, Infallible>,
    In: Send + 'static,
    Out: Body<Data = Bytes, Error: Into<BoxError>> + Unpin + Send + 'static,
{
    layer_fn(move |mut inner: S| {
        let rules = Arc::clone(&rules);
        // Written once for all requests of the connection.
        let peer = addr
            .filter(|_| rules.access_log)
            .map(|addr| Arc::<str>::from(addr.to_string()));
        service_fn(move |req: Request<In>| {
            let id = request_id::settle(req.headers());
            let record = Arc::new(Record::new(
                peer.clone(),
                id.clone(),
                rules.trace.of(req.headers()),
                &req,
            ));
            let watched = Watched::new(Arc::clone(&record), Arc::clone(&rules));
            inner
                .call(req.map(|body| WithContext::new(body, record)))
                .map(move |answered| {
                    let Ok(mut res) = answered;
                    watched.note_head(&res);
                    res.headers_mut().insert(request_id::FIELD, id);
                    Ok(res.map(|body| ProxyBody::new(body, watched)))
                })
        })
    })
}
