//! Header fields that several modules read or write.

pub(crate) mod accept;
pub(crate) mod authorization;
pub(crate) mod retry_after;
pub(crate) mod via;

use http::HeaderName;

/// Whether `holds` for `name`, or for the name that a server reads which takes an underscore for a
/// hyphen.
pub(crate) fn in_either_spelling(name: &HeaderName, holds: impl Fn(&HeaderName) -> bool) -> bool {
    let hyphened = || HeaderName::try_from(name.as_str().replace('_', "-"));
    holds(name) || (name.as_str().contains('_') && hyphened().is_ok_and(|name| holds(&name)))
}
