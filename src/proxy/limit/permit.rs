//! Permit of a request in flight.

use super::admission::AdmissionPermit;
use super::quota::CallerPermit;

/// Everything that a request holds until its response ends.
#[derive(Debug)]
pub(in crate::proxy) struct RequestPermit {
    _caller: CallerPermit,
    _admission: AdmissionPermit,
}

impl RequestPermit {
    pub(super) fn new(caller: CallerPermit, admission: AdmissionPermit) -> Self {
        RequestPermit {
            _caller: caller,
            _admission: admission,
        }
    }
}
