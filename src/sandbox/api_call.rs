//! API call with its access check, and the fields of its JSON body.

use http::request::Parts;
use http::{HeaderMap, Method};
use serde_json::Value;

use super::api_error::ApiError;
use super::authorization::Authorization;
use super::journey::Journey;
use super::request_body::CountingBody;
use super::state::SandboxContext;
use crate::gbg::{ApiVersion, V1, V2};

/// The start of an instance id of v1; the journey's id follows. In v2 both are the same.
pub(super) const V1_INSTANCE_PREFIX: &str = "Pi";

pub(super) struct ApiCall<'a> {
    pub(super) sandbox: &'a SandboxContext,
    pub(super) version: ApiVersion,
    /// The path below the prefix of the version.
    pub(super) path: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a mut CountingBody,
    method: &'a Method,
    authorization: &'a Authorization,
}

/// The kind of token that a call requires.
#[derive(Clone, Copy)]
pub(super) enum RequiredToken {
    Nothing,
    Access,
    /// An access token, or the token of an end user's device.
    AccessOrEndUser,
    Connect,
}

impl<'a> ApiCall<'a> {
    pub(super) fn new(
        sandbox: &'a SandboxContext,
        head: &'a Parts,
        version: ApiVersion,
        authorization: &'a Authorization,
        body: &'a mut CountingBody,
    ) -> Self {
        let prefix = match version {
            ApiVersion::V1 => V1,
            ApiVersion::V2 => V2,
        };
        let path = head.uri.path();
        let path = path.strip_prefix(prefix).unwrap_or(path);
        ApiCall {
            sandbox,
            version,
            path,
            headers: &head.headers,
            body,
            method: &head.method,
            authorization,
        }
    }

    /// Checks the call's token, and then its method.
    ///
    /// # Errors
    /// [`ApiError::Unauthorized`] or [`ApiError::Method`].
    pub(super) fn authorize(
        &self,
        method: Method,
        required: RequiredToken,
    ) -> Result<(), ApiError> {
        use Authorization::{Bearer, ConnectToken, EndUserToken};
        let is_allowed = match required {
            RequiredToken::Nothing => true,
            RequiredToken::Access => matches!(self.authorization, Bearer { .. }),
            RequiredToken::AccessOrEndUser => {
                matches!(self.authorization, Bearer { .. } | EndUserToken)
            }
            RequiredToken::Connect => *self.authorization == ConnectToken,
        };
        if !is_allowed {
            Err(ApiError::Unauthorized)
        } else if *self.method != method {
            Err(ApiError::Method(method))
        } else {
            Ok(())
        }
    }

    /// Checks that the call is a POST with the right token, and returns the fields of its body.
    ///
    /// # Errors
    /// As for [`ApiCall::authorize`], and when the body is not JSON.
    pub(super) async fn post(&mut self, required: RequiredToken) -> Result<CallFields, ApiError> {
        self.authorize(Method::POST, required)?;
        self.body.json().await.map(CallFields)
    }

    /// Calls `act` with the instance id in `fields`, and with its journey.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if there is no such journey.
    pub(super) fn with_journey<T>(
        &self,
        fields: &CallFields,
        act: impl FnOnce(&str, &mut Journey) -> T,
    ) -> Result<T, ApiError> {
        let instance = fields.required("instanceId")?;
        let id = match self.version {
            ApiVersion::V1 => instance.strip_prefix(V1_INSTANCE_PREFIX),
            ApiVersion::V2 => Some(instance),
        };
        let mut state = self.sandbox.state();
        let journey = id.and_then(|id| state.journeys.find(id));
        Ok(act(
            instance,
            journey.ok_or(ApiError::NotFound("instance"))?,
        ))
    }
}

pub(super) struct CallFields(Value);

impl CallFields {
    /// Returns the value at a JSON pointer (RFC 6901); null where there is none.
    pub(super) fn get(&self, pointer: &str) -> &Value {
        self.0.pointer(pointer).unwrap_or(&Value::Null)
    }

    /// Returns a mandatory string.
    ///
    /// # Errors
    /// [`ApiError::Field`].
    pub(super) fn required(&self, name: &'static str) -> Result<&str, ApiError> {
        self.0
            .get(name)
            .and_then(Value::as_str)
            .ok_or(ApiError::Field(name, "string"))
    }

    /// Returns true if there is a non-empty array or object at `pointer`.
    pub(super) fn has(&self, pointer: &str) -> bool {
        match self.get(pointer) {
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
    fn a_missing_field_is_named() {
        let fields = CallFields(json!({"a": "x", "b": {"c": [1]}, "d": {}}));
        assert_eq!(fields.required("a"), Ok("x"));
        assert_eq!(fields.required("b"), Err(ApiError::Field("b", "string")));
        assert!(fields.has("/b/c"));
        assert!(!fields.has("/d"));
        assert!(!fields.has("/a"));
        assert!(!fields.has("/nowhere/else"));
        assert_eq!(
            CallFields(json!([])).required("a"),
            Err(ApiError::Field("a", "string"))
        );
    }
}
