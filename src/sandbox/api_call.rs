//! API call with its access check, and the fields of its JSON body.

use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, Method};
use serde_json::Value;

use super::api_error::ApiError;
use super::authorization::{Authorization, credentials};
use super::instance_rate;
use super::journey::Journey;
use super::request_body::CountingBody;
use super::state::{SandboxContext, SandboxState};
use crate::gbg::{AcceptedToken, ApiVersion, PathInfo};

/// The start of an instance id of v1; the journey's id follows. In v2 both are the same.
const V1_INSTANCE_PREFIX: &str = "Pi";

pub(super) struct ApiCall<'a> {
    pub(super) sandbox: &'a SandboxContext,
    pub(super) version: ApiVersion,
    /// The name of the endpoint; `other` for an unknown one.
    pub(super) name: &'static str,
    /// The path below the prefix of the version.
    pub(super) path: &'a str,
    pub(super) method: &'a Method,
    pub(super) authorization: &'a Authorization,
    pub(super) body: &'a mut CountingBody,
    headers: &'a HeaderMap,
    accepted: AcceptedToken,
}

impl<'a> ApiCall<'a> {
    pub(super) fn new(
        sandbox: &'a SandboxContext,
        head: &'a Parts,
        version: ApiVersion,
        info: &PathInfo,
        authorization: &'a Authorization,
        body: &'a mut CountingBody,
    ) -> Self {
        let path = head.uri.path();
        ApiCall {
            sandbox,
            version,
            name: info.name,
            path: path.strip_prefix(version.prefix()).unwrap_or(path),
            method: &head.method,
            authorization,
            body,
            headers: &head.headers,
            accepted: info.token,
        }
    }

    /// Checks that the call has a token of the kind that the endpoint table has for its path, and
    /// then that `allow` lists its method.
    ///
    /// # Errors
    /// [`ApiError::Unauthorized`] or [`ApiError::Method`].
    pub(super) fn authorize(&self, allow: &'static str) -> Result<(), ApiError> {
        use Authorization::{Bearer, ConnectToken, EndUserToken};
        let is_accepted = match self.accepted {
            AcceptedToken::None => true,
            AcceptedToken::Customer => matches!(self.authorization, Bearer { .. }),
            AcceptedToken::EndUser => matches!(self.authorization, ConnectToken | EndUserToken),
            AcceptedToken::Either => matches!(self.authorization, Bearer { .. } | EndUserToken),
        };
        if is_accepted {
            self.check_method(allow)
        } else {
            Err(ApiError::Unauthorized)
        }
    }

    /// Checks that `allow`, the value of an Allow field, lists the call's method.
    ///
    /// # Errors
    /// [`ApiError::Method`].
    pub(super) fn check_method(&self, allow: &'static str) -> Result<(), ApiError> {
        if allow.split(", ").any(|name| name == self.method.as_str()) {
            Ok(())
        } else {
            Err(ApiError::Method(allow))
        }
    }

    /// Checks that the call is a POST with the right token, and returns the fields of its body.
    ///
    /// # Errors
    /// As for [`ApiCall::authorize`], and when the body is not JSON.
    pub(super) async fn post(&mut self) -> Result<CallFields, ApiError> {
        self.authorize("POST")?;
        self.fields().await
    }

    /// Returns the fields of the body.
    ///
    /// # Errors
    /// When the body is not JSON.
    pub(super) async fn fields(&mut self) -> Result<CallFields, ApiError> {
        self.body.json().await.map(CallFields)
    }

    /// Returns the segment of the path at `index`, counted from 0 below the prefix of the version.
    pub(super) fn segment(&self, index: usize) -> &'a str {
        self.path.split('/').nth(index).unwrap_or_default()
    }

    /// Returns a header field; `None` if it is missing, empty or not ASCII.
    pub(super) fn header(&self, name: &str) -> Option<&'a str> {
        let value = self.headers.get(name)?.to_str().ok()?;
        (!value.is_empty()).then_some(value)
    }

    /// Returns the bearer; empty without one.
    pub(super) fn bearer(&self) -> &'a str {
        let field = self.headers.get(AUTHORIZATION);
        let bearer = field.and_then(|field| credentials(field, "bearer"));
        bearer.unwrap_or_default()
    }

    /// Returns the id of an instance, as the call's version writes it.
    pub(super) fn instance_id(&self, journey: &str) -> String {
        match self.version {
            ApiVersion::V1 => format!("{V1_INSTANCE_PREFIX}{journey}"),
            ApiVersion::V2 => journey.to_owned(),
        }
    }

    /// Calls `act` with the journey of `instance`.
    ///
    /// # Errors
    /// [`ApiError::Unauthorized`] for an end-user token of another journey, [`ApiError::NotFound`] if
    /// there is no such journey.
    pub(super) fn with_journey<T>(
        &self,
        instance: &str,
        act: impl FnOnce(&mut Journey) -> T,
    ) -> Result<T, ApiError> {
        self.find_journey(&mut self.sandbox.state(), instance)
            .map(act)
    }

    /// As [`ApiCall::with_journey`], for a call that GBG limits by journey.
    ///
    /// # Errors
    /// Also [`ApiError::TooManyRequests`].
    pub(super) fn with_limited_journey<T>(
        &self,
        instance: &str,
        act: impl FnOnce(&mut Journey) -> T,
    ) -> Result<T, ApiError> {
        let mut state = self.sandbox.state();
        let rate = instance_rate::active(&state.faults);
        let journey = self.find_journey(&mut state, instance)?;
        if let Some(rate) = rate
            && let Err(error) = journey.calls.admit(rate)
        {
            instance_rate::consume(&mut state.faults);
            return Err(error);
        }
        Ok(act(journey))
    }

    fn find_journey<'s>(
        &self,
        state: &'s mut SandboxState,
        instance: &str,
    ) -> Result<&'s mut Journey, ApiError> {
        let id = match self.version {
            ApiVersion::V1 => instance.strip_prefix(V1_INSTANCE_PREFIX),
            ApiVersion::V2 => Some(instance),
        };
        let SandboxState {
            tokens, journeys, ..
        } = state;
        if *self.authorization == Authorization::EndUserToken {
            let session = tokens.end_user(self.bearer());
            if session.is_none_or(|(session, _)| Some(&*session.journey) != id) {
                return Err(ApiError::Unauthorized);
            }
        }
        let journey = id.and_then(|id| journeys.find(id));
        journey.ok_or(ApiError::NotFound("instance"))
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
