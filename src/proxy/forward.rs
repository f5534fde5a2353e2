//! The last step: over to the upstream.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use hyper::body::Body;
use tower::service_fn;

use super::Step;
use crate::error::Cause;
use crate::upstream::{Answer, Upstream};

/// Forwards to `upstream`.
pub fn forward<B>(upstream: Arc<Upstream<B>>) -> impl Step<B, Answer<B>>
where
    B: Body<Data = Bytes, Error: Into<Cause>> + Send + Unpin + 'static,
{
    service_fn(move |req: Request<B>| {
        let upstream = Arc::clone(&upstream);
        async move { upstream.send(req).await }
    })
}
