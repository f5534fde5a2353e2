//! Exporter of a build without the feature `otlp`: it cannot be started.

use super::span::Span;
use crate::config::Exported;
use crate::error::BoxError;

/// An exporter that does not exist.
#[derive(Debug)]
pub enum NoExporter {}

impl NoExporter {
    /// # Errors
    /// Always. The configuration rejects `trace.endpoint` earlier.
    pub fn start(_: &Exported) -> Result<Self, BoxError> {
        Err("this build has no OTLP".into())
    }

    pub(crate) fn export(&self, _: Span) {
        match *self {}
    }

    pub(crate) fn shut_down(&self) {
        match *self {}
    }
}
