//! Endpoint table of GBG GO: name of each call, and whether it changes anything.
//!
//! Source: <https://docs.go.gbgplc.com>, the API references of v1 and v2.

/// Path prefix of API v1, which works with tasks.
pub const V1: &str = "/captain/api/";

/// Path prefix of API v2, which works with interactions.
pub const V2: &str = "/v2/captain/";

/// Calls whose bearer is the caller's own: the connect token from `journey/device/start` is the
/// credential of `journey/device/connect`.
pub const CALLER_BEARER: [&str; 2] = [
    "/v2/captain/journey/device/connect",
    "/captain/api/journey/device/connect",
];

/// Paths of the token endpoint in clients that let only the host be changed: GBG's SDKs for Java
/// and TypeScript, and the v1 samples.
const TOKEN_PATHS: [&str; 3] = [
    "/as/token.oauth2",
    "/captain/api/as/token.oauth2",
    "/auth/realms/go/protocol/openid-connect/token",
];

/// A call of the API.
struct Endpoint {
    /// Path below the prefix of either version; its name in logs and metrics.
    name: &'static str,
    /// Whether the call changes nothing, so that it may be sent again when it may have arrived.
    is_read_only: bool,
}

const fn read_only(name: &'static str) -> Endpoint {
    Endpoint {
        name,
        is_read_only: true,
    }
}

/// A call that changes something: `journey/start` may be billed, and `interaction/submit` and
/// `task/update` advance the journey.
const fn changing(name: &'static str) -> Endpoint {
    Endpoint {
        name,
        is_read_only: false,
    }
}

/// The calls of both versions: those that change something, then those that do not.
static ENDPOINTS: [Endpoint; 17] = [
    changing("journey/start"),
    changing("journey/interaction/submit"),
    changing("journey/task/update"),
    changing("journey/device/start"),
    changing("journey/device/connect"),
    changing("journey/device/pair"),
    changing("journey/state/delete"),
    changing("journey/terminate"),
    read_only("journey/state/fetch"),
    read_only("journey/interaction/fetch"),
    read_only("journey/interaction/schema"),
    read_only("journey/schema/fetch"),
    read_only("journey/task/list"),
    read_only("journey/task/schema"),
    read_only("journey/task/list/schema"),
    read_only("journey/history"),
    read_only("journey/device/validate"),
];

/// Version of the API. The versions differ in the format of their errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiVersion {
    /// Errors are `{status, message, error}`.
    V1,
    /// Errors are `{errors: [{code, name, location, problem, action}]}`.
    V2,
}

/// The parts of a path that decide what its request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathInfo {
    /// Version of the API that the path belongs to.
    pub version: Option<ApiVersion>,
    /// Name in logs and metrics: that of the endpoint, `login`, or `other`.
    pub name: &'static str,
    /// Whether it is an endpoint that changes nothing.
    pub is_read_only: bool,
    /// Whether it is a token endpoint.
    pub is_token_path: bool,
}

/// Parses `path`, which has no percent-encoded characters that need no encoding.
pub fn parse_path(path: &str) -> PathInfo {
    let (version, name) = if let Some(name) = path.strip_prefix(V2) {
        (Some(ApiVersion::V2), name)
    } else if let Some(name) = path.strip_prefix(V1) {
        (Some(ApiVersion::V1), name)
    } else {
        (None, "")
    };
    let endpoint = ENDPOINTS.iter().find(|endpoint| endpoint.name == name);
    let is_token_path = endpoint.is_none() && TOKEN_PATHS.contains(&path);
    PathInfo {
        version,
        name: match endpoint {
            Some(endpoint) => endpoint.name,
            None if is_token_path => "login",
            None => "other",
        },
        is_read_only: endpoint.is_some_and(|endpoint| endpoint.is_read_only),
        is_token_path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str) -> (Option<ApiVersion>, Option<(&'static str, bool)>) {
        let info = parse_path(path);
        let endpoint = Some((info.name, info.is_read_only)).filter(|(name, _)| *name != "other");
        (info.version, endpoint)
    }

    #[test]
    fn token_endpoints_have_one_name() {
        for path in TOKEN_PATHS {
            let info = parse_path(path);
            assert!(info.is_token_path && info.name == "login", "{path}");
            assert!(!info.is_read_only, "{path}");
        }
        let other = parse_path("/as/token.oauth3");
        assert_eq!((other.is_token_path, other.name), (false, "other"));
    }

    #[test]
    fn a_path_names_version_and_endpoint() {
        let (v1, v2) = (Some(ApiVersion::V1), Some(ApiVersion::V2));
        for (path, expected) in [
            (
                "/v2/captain/journey/start",
                (v2, Some(("journey/start", false))),
            ),
            (
                "/captain/api/journey/start",
                (v1, Some(("journey/start", false))),
            ),
            (
                "/captain/api/journey/task/list",
                (v1, Some(("journey/task/list", true))),
            ),
            (
                "/v2/captain/journey/state/fetch",
                (v2, Some(("journey/state/fetch", true))),
            ),
            (
                "/v2/captain/journey/state/delete",
                (v2, Some(("journey/state/delete", false))),
            ),
            ("/v2/captain/journey/start/4711", (v2, None)),
            ("/captain/apis", (None, None)),
            ("/designer/api/x", (None, None)),
            ("/journey/state/fetch", (None, None)),
        ] {
            assert_eq!(found(path), expected, "{path}");
        }
    }

    #[test]
    fn only_calls_that_change_nothing_are_read_only() {
        for path in [
            "journey/start",
            "journey/interaction/submit",
            "journey/task/update",
            "journey/device/start",
            "journey/state/delete",
        ] {
            for prefix in [V1, V2] {
                let (_, endpoint) = found(&format!("{prefix}{path}"));
                assert_eq!(endpoint, Some((path, false)));
            }
        }
    }
}
