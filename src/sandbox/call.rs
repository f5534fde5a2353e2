//! One API call on its way to the part that answers it: who may make it, and the fields of its
//! body.

use http::request::Parts;
use http::{HeaderMap, Method};
use serde_json::Value;

use super::Shared;
use super::body::Arriving;
use super::call_log::Authorization;
use super::refusal::Refusal;

/// One API call.
pub(super) struct Call<'a> {
    pub(super) shared: &'a Shared,
    /// The path below the prefix of the API version.
    pub(super) path: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a mut Arriving,
    method: &'a Method,
    authorization: &'a Authorization,
}

/// The token that a call needs.
#[derive(Clone, Copy)]
pub(super) enum Needs {
    /// None.
    Nothing,
    /// An access token.
    Access,
    /// An access token, or the token of an end user's device.
    AccessOrEndUser,
    /// The connect token.
    Connect,
}

impl<'a> Call<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        head: &'a Parts,
        prefix: &str,
        authorization: &'a Authorization,
        body: &'a mut Arriving,
    ) -> Self {
        let path = head.uri.path();
        let path = path.strip_prefix(prefix).unwrap_or(path);
        Call {
            shared,
            path,
            headers: &head.headers,
            body,
            method: &head.method,
            authorization,
        }
    }

    /// Lets the call pass if it has the right token and method.
    ///
    /// # Errors
    /// [`Refusal::Unauthorized`] or [`Refusal::Method`].
    pub(super) fn admit(&self, method: Method, needs: Needs) -> Result<(), Refusal> {
        use Authorization::{Bearer, ConnectToken, EndUserToken};
        let may = match needs {
            Needs::Nothing => true,
            Needs::Access => matches!(self.authorization, Bearer { .. }),
            Needs::AccessOrEndUser => matches!(self.authorization, Bearer { .. } | EndUserToken),
            Needs::Connect => *self.authorization == ConnectToken,
        };
        match may {
            false => Err(Refusal::Unauthorized),
            true if *self.method != method => Err(Refusal::Method(method)),
            true => Ok(()),
        }
    }

    /// The fields of a POST that has the right token.
    ///
    /// # Errors
    /// As for [`Call::admit`], and when the body is no JSON.
    pub(super) async fn post(&mut self, needs: Needs) -> Result<Fields, Refusal> {
        self.admit(Method::POST, needs)?;
        self.body.json().await.map(Fields)
    }
}

/// The fields of a call's body.
pub(super) struct Fields(Value);

impl Fields {
    /// The value at a JSON pointer (RFC 6901); null where there is none.
    pub(super) fn at(&self, pointer: &str) -> &Value {
        self.0.pointer(pointer).unwrap_or(&Value::Null)
    }

    /// A text that must be there.
    ///
    /// # Errors
    /// [`Refusal::Field`].
    pub(super) fn text(&self, name: &'static str) -> Result<&str, Refusal> {
        self.0
            .get(name)
            .and_then(Value::as_str)
            .ok_or(Refusal::Field(name, "string"))
    }

    /// Whether there is something in the array or object at `pointer`.
    pub(super) fn has(&self, pointer: &str) -> bool {
        match self.at(pointer) {
            Value::Array(items) => !items.is_empty(),
            Value::Object(fields) => !fields.is_empty(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_found_or_named() {
        let fields = Fields(json!({"a": "x", "b": {"c": [1]}, "d": {}}));
        assert_eq!(fields.text("a"), Ok("x"));
        assert_eq!(fields.text("b"), Err(Refusal::Field("b", "string")));
        assert!(fields.has("/b/c"));
        assert!(!fields.has("/d"));
        assert!(!fields.has("/a"));
        assert!(!fields.has("/nowhere/else"));
        assert_eq!(
            Fields(json!([])).text("a"),
            Err(Refusal::Field("a", "string"))
        );
    }
}
