//! In the place of the exporter, in a build without the feature `otlp`: there is none.

use super::Span;
use crate::config::Exported;
use crate::error::BoxError;

/// What there is none of.
#[derive(Debug)]
pub enum NoExporter {}

impl NoExporter {
    /// Makes none.
    ///
    /// # Errors
    /// Always; the configuration refuses `trace.endpoint` before.
    pub fn start(_: &Exported) -> Result<Self, BoxError> {
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
