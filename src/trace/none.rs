//! In the place of the exporter, in a build without the feature `otlp`: there is none.

use super::Span;
use crate::config::Exported;
use crate::error::Cause;

/// What there is none of.
#[derive(Debug)]
pub enum Exporter {}

impl Exporter {
    /// Makes none.
    ///
    /// # Errors
    /// Always; the configuration refuses `trace.endpoint` before.
    pub fn start(_: &Exported) -> Result<Self, Cause> {
        Err("this build has no OTLP".into())
    }

    /// Takes nothing.
    pub fn export(&self, _: Span) {
        match *self {}
    }

    /// Has nothing to do.
    pub fn shut_down(&self) {
        match *self {}
    }
}
