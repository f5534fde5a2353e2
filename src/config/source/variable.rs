//! Environment variables that set keys.

use super::keys::keys;

/// The prefix of an environment variable that sets a key: `GBG_PROXY_TOKEN_SCOPE` sets
/// `token.scope`.
pub(crate) const ENV_PREFIX: &str = "GBG_PROXY_";

/// Whether the environment variable `name` sets a key.
pub fn is_key_variable(name: &str) -> bool {
    name.starts_with(ENV_PREFIX) && keys().iter().any(|key| variable(key) == name)
}

/// The environment variable of `key`.
pub(crate) fn variable(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// Whether Kubernetes made this variable, for a Service whose name begins with `gbg-proxy`.
pub(crate) fn is_service_link(name: &str, value: &str) -> bool {
    ["_SERVICE_HOST", "_SERVICE_PORT", "_TCP", "_UDP"]
        .iter()
        .any(|part| name.contains(part))
        || ["tcp://", "udp://"]
            .iter()
            .any(|scheme| value.starts_with(scheme))
}
