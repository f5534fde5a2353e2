//! Last step: sends the request to the upstream.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Body;
use tower::service_fn;

use super::authorize::Authorized;
use super::replay::RequestBody;
use super::step::Forward;
use crate::error::BoxError;
use crate::upstream::{UpstreamBody, UpstreamClient};

/// Forwards to `upstream`.
pub(crate) fn forward<B>(
    upstream: Arc<UpstreamClient<RequestBody<B>>>,
) -> impl Forward<B, UpstreamBody<RequestBody<B>>>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    service_fn(move |Authorized { req, mut lease }: Authorized<B>| {
        let upstream = Arc::clone(&upstream);
        async move {
            let refresh = |headers: &mut _| lease.refresh_if_expired(headers);
            upstream.send(req, refresh).await
        }
    })
}
