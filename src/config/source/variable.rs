//! Environment variables that set keys: `GBG_PROXY_TOKEN_SCOPE` sets `token.scope`.

pub(crate) const ENV_PREFIX: &str = "GBG_PROXY_";

/// The environment variable of the key `path`.
pub(crate) fn variable(path: &str) -> String {
    format!("{ENV_PREFIX}{}", path.replace('.', "_").to_uppercase())
}

/// The value of a variable without the blanks and line ends around it, which come from a file of
/// variables or from `$(cat …)`; `None` if it is empty, which counts as not set.
pub(crate) fn set_value(value: &str) -> Option<&str> {
    Some(value.trim()).filter(|value| !value.is_empty())
}

/// Returns true if Kubernetes made this variable, for a Service whose name begins with `gbg-proxy`.
pub(crate) fn is_service_link(name: &str, value: &str) -> bool {
    ["_SERVICE_HOST", "_SERVICE_PORT", "_TCP", "_UDP"]
        .iter()
        .any(|part| name.contains(part))
        || ["tcp://", "udp://"]
            .iter()
            .any(|scheme| value.starts_with(scheme))
}

/// Returns true if a variable is meant for a key of a caller: `GBG_PROXY_CALLER`,
/// `GBG_PROXY_CALLER_0_NAME`.
pub(crate) fn names_caller(name: &str) -> bool {
    let rest = name
        .strip_prefix(ENV_PREFIX)
        .and_then(|name| name.strip_prefix("CALLER"))
        .map(|rest| rest.trim_start_matches('_'));
    rest.is_some_and(|rest| {
        rest.is_empty() || rest.starts_with(|first: char| first.is_ascii_digit())
    })
}
