//! What is known of GBG GO, as data: regions, base URLs, and which calls carry whose bearer.
//!
//! Source: <https://docs.go.gbgplc.com>, "Authenticate" and the API references of v1 and v2.

use std::fmt;

use http::Method;

/// The token endpoint of every region.
pub const TOKEN_ENDPOINT: &str = "https://api.auth.gbgplc.com/as/token.oauth2";

/// The scope that GBG's documentation asks for with `client_credentials`.
pub const SCOPE: &str = "gbg.token";

/// The path prefix of API v1, a task based API.
pub const V1: &str = "/captain/api/";

/// The path prefix of API v2, an interaction based API.
pub const V2: &str = "/v2/captain/";

/// Calls whose bearer is the caller's own: the connect token that `journey/device/start` gave is
/// the credential of `journey/device/connect`.
pub const CALLER_BEARER: [&str; 2] = [
    "/v2/captain/journey/device/connect",
    "/captain/api/journey/device/connect",
];

/// Calls that change nothing, below the prefix of either version: they may be repeated.
/// `journey/start` may be billed, and `interaction/submit` and `task/update` advance the journey.
const READ_ONLY: [&str; 9] = [
    "journey/state/fetch",
    "journey/interaction/fetch",
    "journey/interaction/schema",
    "journey/schema/fetch",
    "journey/task/list",
    "journey/task/schema",
    "journey/task/list/schema",
    "journey/history",
    "journey/device/validate",
];

/// Calls that change something, below the prefix of either version.
const OTHER: [&str; 8] = [
    "journey/start",
    "journey/interaction/submit",
    "journey/task/update",
    "journey/device/start",
    "journey/device/connect",
    "journey/device/pair",
    "journey/state/delete",
    "journey/terminate",
];

/// The name of what is called at `path`, without its version: that of a known call, `login`, or
/// `other`.
pub fn endpoint(path: &str) -> &'static str {
    let call = path.strip_prefix(V2).or_else(|| path.strip_prefix(V1));
    let known = || {
        call.and_then(|call| {
            OTHER
                .into_iter()
                .chain(READ_ONLY)
                .find(|&known| known == call)
        })
    };
    match is_login(path) {
        true => "login",
        false => known().unwrap_or("other"),
    }
}

/// Whether a call changes nothing, so that it may be sent again when it is not known whether it
/// arrived: by its method (RFC 9110 section 9.2.1), or by what is known of the path, since nearly
/// every call is a POST.
pub fn is_safe_to_repeat(method: &Method, path: &str) -> bool {
    let call = path.strip_prefix(V2).or_else(|| path.strip_prefix(V1));
    match *method {
        Method::GET | Method::HEAD | Method::OPTIONS => true,
        Method::POST => call.is_some_and(|call| READ_ONLY.contains(&call)),
        _ => false,
    }
}

/// Where clients log in whose code fixes the path of the token endpoint, on whatever host they are
/// pointed at: GBG's SDKs for Java and TypeScript, and the v1 samples.
pub const LOGINS: [&str; 3] = [
    "/as/token.oauth2",
    "/captain/api/as/token.oauth2",
    "/auth/realms/go/protocol/openid-connect/token",
];

/// Whether a client logs in at `path`.
pub fn is_login(path: &str) -> bool {
    LOGINS.contains(&path)
}

/// A region of the platform. GBG publishes exactly three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Region {
    /// Europe.
    #[default]
    Eu,
    /// United States.
    Us,
    /// Australia.
    Au,
}

impl Region {
    /// The origin that serves both API versions in this region.
    pub fn origin(self) -> &'static str {
        match self {
            Region::Eu => "https://eu.platform.go.gbgplc.com",
            Region::Us => "https://us.platform.go.gbgplc.com",
            Region::Au => "https://au.platform.go.gbgplc.com",
        }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Region::Eu => "eu",
            Region::Us => "us",
            Region::Au => "au",
        })
    }
}

/// A version of the API; the two differ in the shape of their errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiVersion {
    /// Errors are `{status, message, error}`.
    V1,
    /// Errors are `{errors: [{code, name, location, problem, action}]}`.
    V2,
}

impl ApiVersion {
    /// The version that serves `path`, if either does.
    pub fn of(path: &str) -> Option<Self> {
        if path.starts_with(V2) {
            Some(ApiVersion::V2)
        } else if path.starts_with(V1) {
            Some(ApiVersion::V1)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_told_by_the_prefix() {
        assert_eq!(
            ApiVersion::of("/v2/captain/journey/start"),
            Some(ApiVersion::V2)
        );
        assert_eq!(
            ApiVersion::of("/captain/api/journey/start"),
            Some(ApiVersion::V1)
        );
        assert_eq!(ApiVersion::of("/captain/apis"), None);
        assert_eq!(ApiVersion::of("/designer/api/x"), None);
    }

    #[test]
    fn endpoints_have_names_of_which_there_are_few() {
        assert_eq!(endpoint("/v2/captain/journey/start"), "journey/start");
        assert_eq!(
            endpoint("/captain/api/journey/task/list"),
            "journey/task/list"
        );
        assert_eq!(endpoint("/captain/api/as/token.oauth2"), "login");
        assert_eq!(endpoint("/v2/captain/journey/start/4711"), "other");
    }

    #[test]
    fn only_what_changes_nothing_may_be_repeated() {
        let post = |path: &str| is_safe_to_repeat(&Method::POST, path);
        assert!(post("/v2/captain/journey/state/fetch") && post("/captain/api/journey/task/list"));
        for path in [
            "/v2/captain/journey/start",
            "/v2/captain/journey/interaction/submit",
            "/captain/api/journey/task/update",
            "/v2/captain/journey/device/start",
            "/v2/captain/journey/state/delete",
            "/journey/state/fetch",
            "/x",
        ] {
            assert!(!post(path), "{path}");
        }
        assert!(is_safe_to_repeat(&Method::GET, "/v2/captain/x"));
        assert!(!is_safe_to_repeat(
            &Method::DELETE,
            "/v2/captain/journey/state/fetch"
        ));
    }
}
