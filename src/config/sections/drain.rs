//! `[drain]`: shutdown of the process.

use std::time::Duration;

use crate::config::source::section::Section;
use crate::config::types::duration::positive;

/// `[drain]`.
#[derive(Clone, Debug)]
pub struct Drain {
    /// How long it keeps accepting connections after the signal, while it reports that it is not
    /// ready.
    pub delay: Duration,
    /// How long requests in flight may take to finish once the drain begins, that is, after `delay`.
    pub timeout: Duration,
}

impl Drain {
    pub(crate) fn read(section: &Section<'_, '_>) -> Self {
        Drain {
            delay: section.get("delay", Duration::ZERO),
            timeout: section.get_checked("timeout", Duration::from_secs(70), positive),
        }
    }
}
