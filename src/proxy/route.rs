//! Route of a request: everything that its method and path decide, computed once.

use std::borrow::Cow;

use http::{Method, Request};
use percent_encoding::percent_decode_str;

use crate::config::PathTemplate;
use crate::gbg::{self, AcceptedToken, ApiVersion};

/// Owner of the bearer token that a request carries to the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BearerOwner {
    /// The proxy sets its own token.
    Proxy,
    /// The caller's token is GBG's own credential for this call and passes; without one, the request
    /// has none.
    Caller,
    /// The call needs no token.
    Nobody,
}

/// The route of one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    /// Name of the endpoint in logs and metrics.
    pub(super) endpoint: &'static str,
    /// Version of the API that the path belongs to.
    pub(super) version: Option<ApiVersion>,
    pub(super) bearer: BearerOwner,
    /// Whether the call changes nothing, so that it may be sent again when it may have arrived.
    pub(super) is_safe_to_repeat: bool,
    /// Whether the request asks the proxy itself for a token.
    pub(super) is_token_request: bool,
    /// Whether the base URL of the client has a prefix that the client adds as well.
    pub(super) has_repeated_prefix: bool,
}

impl Route {
    /// The route of `req`; the caller's bearer passes on calls of the end user's device, and on the
    /// paths of `caller_bearer`.
    pub(super) fn new<B>(req: &Request<B>, caller_bearer: &[PathTemplate]) -> Self {
        let path = &*normalized(req.uri().path());
        let info = gbg::parse_path(path);
        Route {
            endpoint: info.name,
            version: info.version,
            bearer: match info.token {
                AcceptedToken::EndUser => BearerOwner::Caller,
                _ if caller_bearer.iter().any(|template| template.matches(path)) => {
                    BearerOwner::Caller
                }
                AcceptedToken::Customer | AcceptedToken::Either => BearerOwner::Proxy,
                AcceptedToken::None => BearerOwner::Nobody,
            },
            is_safe_to_repeat: match *req.method() {
                Method::GET | Method::HEAD | Method::OPTIONS => true,
                Method::POST => info.is_read_only,
                _ => false,
            },
            is_token_request: info.is_token_path,
            has_repeated_prefix: info.has_repeated_prefix,
        }
    }
}

/// `path` as the API reads it: percent-decoded, since an encoded letter is the letter (RFC 3986
/// section 6.2.2.2). `validate` rejects every path that this could turn into another one.
fn normalized(path: &str) -> Cow<'_, str> {
    if path.contains('%') {
        percent_decode_str(path).decode_utf8_lossy()
    } else {
        Cow::Borrowed(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(method: &Method, path: &str) -> Route {
        let req = Request::builder()
            .method(method)
            .uri(path)
            .body(())
            .unwrap();
        let interactions = "/v2/captain/journey/interaction/*".parse().unwrap();
        Route::new(&req, &[interactions])
    }

    #[test]
    fn the_path_names_version_and_endpoint() {
        let start = route(
            &Method::POST,
            "/v2/captain/journey/start?x=journey/task/list",
        );
        assert_eq!(
            (
                start.version,
                start.endpoint,
                start.bearer,
                start.is_safe_to_repeat
            ),
            (
                Some(ApiVersion::V2),
                "journey/start",
                BearerOwner::Proxy,
                false
            )
        );
        let list = route(&Method::POST, "/captain/api/journey/task/list");
        assert_eq!(
            (list.version, list.endpoint, list.is_safe_to_repeat),
            (Some(ApiVersion::V1), "journey/task/list", true)
        );
        let other = route(&Method::DELETE, "/v2/captain/journey/start/4711");
        assert_eq!((other.endpoint, other.is_safe_to_repeat), ("other", false));
        assert!(route(&Method::GET, "/v2/captain/x").is_safe_to_repeat);
        let login = route(&Method::POST, "/captain/api/as/token.oauth2");
        assert!(login.is_token_request && login.endpoint == "login");
    }

    #[test]
    fn an_encoded_letter_changes_nothing() {
        for path in [
            "/v2/captain/journey/device/connect",
            "/v2/captain/journey/device/connec%74",
            "/v2/%63aptain/journey/device/connect",
        ] {
            let route = route(&Method::POST, path);
            assert_eq!(
                (route.bearer, route.endpoint),
                (BearerOwner::Caller, "journey/device/connect"),
                "{path}"
            );
        }
        assert_eq!(
            route(&Method::POST, "/v2/captain/journey/device/connect/").bearer,
            BearerOwner::Proxy
        );
    }

    #[test]
    fn the_end_users_bearer_is_the_callers() {
        for (path, owner) in [
            ("/v2/captain/journey/start", BearerOwner::Proxy),
            ("/v2/captain/journey/loqate/search", BearerOwner::Proxy),
            ("/v2/captain/journey/unknown", BearerOwner::Proxy),
            ("/v2/captain/journey/interaction/fetch", BearerOwner::Caller),
            (
                "/v2/captain/journey/interaction/asset/upload",
                BearerOwner::Caller,
            ),
            ("/v2/captain/journey/interaction", BearerOwner::Proxy),
            ("/v2/captain/journey/device/refresh", BearerOwner::Caller),
            (
                "/v2/captain/journey/instance/a%20b/handoff-token",
                BearerOwner::Caller,
            ),
            ("/captain/api/journey/device/connect", BearerOwner::Caller),
            ("/v2/captain/journey/health", BearerOwner::Nobody),
        ] {
            assert_eq!(route(&Method::POST, path).bearer, owner, "{path}");
        }
    }
}
