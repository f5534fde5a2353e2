//! Allowed methods, of all callers or of one.

use http::{HeaderValue, Method};

use crate::error::Error;

/// Allowed methods, and their `Allow` field (RFC 9110 section 10.2.1).
#[derive(Debug)]
pub(in crate::proxy) struct Methods {
    /// Empty if all are allowed.
    methods: Vec<Method>,
    allow: HeaderValue,
}

impl Methods {
    pub(in crate::proxy) fn new(methods: &[Method]) -> Self {
        let usual = [
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::OPTIONS,
        ];
        let listed = if methods.is_empty() {
            &usual[..]
        } else {
            methods
        };
        let allow = listed
            .iter()
            .map(Method::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        // A list of methods is always a valid field value.
        let allow = HeaderValue::try_from(allow).unwrap_or_else(|_| HeaderValue::from_static(""));
        Methods {
            methods: methods.to_vec(),
            allow,
        }
    }

    pub(in crate::proxy) fn check(&self, method: &Method) -> Result<(), Error> {
        if self.methods.is_empty() || self.methods.contains(method) {
            Ok(())
        } else {
            Err(self.not_allowed())
        }
    }

    pub(super) fn allow_header(&self) -> &HeaderValue {
        &self.allow
    }

    pub(super) fn not_allowed(&self) -> Error {
        Error::MethodNotAllowed {
            allow: self.allow.clone(),
        }
    }
}
