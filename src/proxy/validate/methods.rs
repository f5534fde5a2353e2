//! The methods that are forwarded, for all or for one caller.

use http::{HeaderValue, Method};

use crate::error::Error;

/// Methods that may be used, and how they are told (RFC 9110 section 10.2.1).
#[derive(Debug)]
pub(in crate::proxy) struct Methods {
    /// Empty for all.
    methods: Vec<Method>,
    pub(super) list: HeaderValue,
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
        let told = if methods.is_empty() {
            &usual[..]
        } else {
            methods
        };
        let list = told
            .iter()
            .map(Method::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        // Methods are tokens, which a field value can always have.
        let list = HeaderValue::try_from(list).unwrap_or_else(|_| HeaderValue::from_static(""));
        Methods {
            methods: methods.to_vec(),
            list,
        }
    }

    pub(in crate::proxy) fn check(&self, method: &Method) -> Result<(), Error> {
        match self.methods.is_empty() || self.methods.contains(method) {
            true => Ok(()),
            false => Err(self.refusal()),
        }
    }

    pub(super) fn refusal(&self) -> Error {
        Error::MethodNotAllowed {
            allow: self.list.clone(),
        }
    }
}
