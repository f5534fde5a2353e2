//! Lookup of paths in the endpoint table.

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
        (
            "/v2/captain/journey/instance/k3J_w1xQ/handoff-token",
            (v2, Some(("journey/instance/handoff-token", false))),
        ),
        (
            "/v2/captain/sandbox/journeys/j-1/scenarios",
            (v2, Some(("sandbox/scenarios", false))),
        ),
        (
            "/v2/captain/sandbox/journeys/j-1/scenarios/clear",
            (v2, Some(("sandbox/scenario", false))),
        ),
        ("/v2/captain/journey/instance//handoff-token", (v2, None)),
        ("/v2/captain/journey/start/4711", (v2, None)),
        ("/captain/api/journey/loqate/search", (v1, None)),
        ("/captain/apis", (None, None)),
        ("/designer/api/x", (None, None)),
        ("/journey/state/fetch", (None, None)),
    ] {
        assert_eq!(found(path), expected, "{path}");
    }
}

#[test]
fn every_endpoint_is_found_under_its_path() {
    for (version, endpoint) in endpoints() {
        let path = format!("{}{}", version.prefix(), endpoint.template);
        let info = parse_path(&path);
        assert_eq!(
            (info.version, info.name, info.token, info.is_read_only),
            (
                Some(version),
                endpoint.name,
                endpoint.token,
                endpoint.is_read_only
            ),
            "{path}"
        );
    }
}

#[test]
fn a_repeated_prefix_is_recognized() {
    for (path, expected) in [
        ("/v2/captain/v2/captain/journey/start", true),
        ("/v2/captain/captain/api/journey/start", true),
        ("/captain/api/captain/api/x", true),
        ("/v2/captain/v2/captains", false),
        ("/v2/captain/journey/start", false),
        ("/v2/captain/", false),
    ] {
        assert_eq!(parse_path(path).has_repeated_prefix, expected, "{path}");
    }
}

/// Of an unknown endpoint nobody knows what a repetition does.
#[test]
fn an_unknown_endpoint_takes_the_customer_token() {
    let info = parse_path("/v2/captain/journey/new");
    assert_eq!(
        (info.token, info.is_read_only),
        (AcceptedToken::Customer, false)
    );
    assert!(!takes_customer_token("other") && !takes_customer_token("journey/device/refresh"));
    assert!(takes_customer_token("journey/start") && takes_customer_token("journey/task/list"));
}
