//! Devices of end users, which join a journey with a connect token.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::api_call::{ApiCall, CallFields};
use super::api_error::ApiError;
use super::authorization::Authorization;
use super::response::{SandboxResponse, json, ok};
use super::tokens::{CONNECT_LIFETIME, DeviceSession, END_USER_LIFETIME, TokenKind, Tokens};
use crate::gbg::ApiVersion;

/// Invented; the sandbox has one organization.
const ORGANIZATION: &str = "sandbox-organization";

pub(super) fn start(call: &ApiCall<'_>, fields: &CallFields) -> Result<SandboxResponse, ApiError> {
    let seconds = CONNECT_LIFETIME.as_secs();
    let expires_in = match call.version {
        ApiVersion::V1 => json!(seconds.to_string()),
        ApiVersion::V2 => json!(seconds),
    };
    let instance = fields.required("instanceId")?;
    let journey = call.with_journey(instance, |journey| journey.id().to_owned())?;
    let token = call.sandbox.state().tokens.issue_connect(&journey);
    let body = json!({
        "connectToken": token, "tokenType": "connect", "expiresIn": expires_in, "scope": fields.get("/scope"),
    });
    Ok(json(StatusCode::CREATED, &body))
}

/// Uses up the connect token, which must be the bearer and in the body.
pub(super) fn connect(
    call: &ApiCall<'_>,
    fields: &CallFields,
) -> Result<SandboxResponse, ApiError> {
    let token = fields.required("connectToken")?;
    let device = fields.get("/deviceInfo/deviceId").as_str();
    if !device.is_some_and(|device| (16..=64).contains(&device.len())) {
        return Err(ApiError::Field(
            "deviceInfo.deviceId",
            "16 to 64 characters",
        ));
    }
    if call.bearer() != token {
        return Err(ApiError::Unauthorized);
    }
    let mut state = call.sandbox.state();
    let journey = state.tokens.consume_connect(token);
    let journey = journey.ok_or(ApiError::Unauthorized)?;
    let found = state.journeys.find(&journey);
    let is_joined = found.ok_or(ApiError::Unauthorized)?.connect_device();
    let session = state.tokens.connect(journey, is_joined);
    let end_user = state.tokens.issue_end_user(&session);
    let mut body = tokens_json(call, &session, &end_user);
    body["tokenType"] = json!("end-user");
    Ok(json(StatusCode::CREATED, &body))
}

/// Issues another end-user token to the session of an end-user token, which is the bearer, or of a
/// resume credential, which is the field `resumeCredential` of the body. GBG does not publish how the
/// credential is sent, nor whether it is replaced; here it stays the same.
pub(super) async fn refresh(call: &mut ApiCall<'_>) -> Result<SandboxResponse, ApiError> {
    call.check_method("POST")?;
    // The body is optional.
    let fields = call.fields().await.ok();
    let credential = fields
        .as_ref()
        .and_then(|fields| fields.get("/resumeCredential").as_str());
    let mut state = call.sandbox.state();
    let session = match state.tokens.find(credential.unwrap_or(call.bearer())) {
        Some(TokenKind::Resume(session)) if credential.is_some() => session.clone(),
        Some(TokenKind::EndUser(session)) if credential.is_none() => session.clone(),
        _ => return Err(ApiError::Unauthorized),
    };
    if !state.journeys.contains(&session.journey) {
        return Err(ApiError::Unauthorized);
    }
    let end_user = state.tokens.issue_end_user(&session);
    let mut body = tokens_json(call, &session, &end_user);
    // A link has no lifetime of its own here.
    body["linkExpiresAt"] = body["credentialExpiresAt"].clone();
    Ok(json(StatusCode::CREATED, &body))
}

fn tokens_json(call: &ApiCall<'_>, session: &DeviceSession, end_user: &str) -> Value {
    let left = session
        .resume_until
        .saturating_duration_since(Instant::now());
    json!({
        "endUserToken": end_user,
        "expiresIn": END_USER_LIFETIME.as_secs(),
        "instanceId": call.instance_id(&session.journey),
        "resumeCredential": session.resume_credential,
        "credentialExpiresAt": timestamp_in(left),
        "credentialExpiresIn": left.as_secs(),
    })
}

/// Describes the session of the end-user token.
pub(super) fn validate(call: &ApiCall<'_>) -> Result<SandboxResponse, ApiError> {
    call.authorize("POST")?;
    let state = call.sandbox.state();
    let (session, left) = end_user(call, &state.tokens)?;
    if !state.journeys.contains(&session.journey) {
        return Err(ApiError::Unauthorized);
    }
    Ok(ok(&json!({
        "valid": true,
        "sessionId": session.id,
        "instanceId": call.instance_id(&session.journey),
        "orgId": ORGANIZATION,
        "expiresAt": timestamp_in(left),
    })))
}

/// Returns a link with which another device joins the journey. GBG refuses customer tokens, and
/// devices that joined themselves.
pub(super) fn hand_off(call: &ApiCall<'_>) -> Result<SandboxResponse, ApiError> {
    if matches!(call.authorization, Authorization::Bearer { .. }) {
        return Err(ApiError::Forbidden(
            "A customer token cannot hand off a device",
        ));
    }
    call.authorize("POST")?;
    let mut state = call.sandbox.state();
    let (session, _) = end_user(call, &state.tokens)?;
    let (journey, is_joined) = (session.journey.clone(), session.is_joined);
    let instance = call.segment(2);
    if !state.journeys.contains(instance) {
        return Err(ApiError::NotFound("instance"));
    }
    if instance != journey {
        return Err(ApiError::Forbidden(
            "The token is bound to another instance",
        ));
    }
    if is_joined {
        return Err(ApiError::Forbidden("A device that joined cannot hand off"));
    }
    let token = state.tokens.issue_connect(&journey);
    let base = &call.sandbox.base_url;
    // The format of the link is invented; the position is taken to be that of the device that opens
    // it. The sandbox has no such page, and responds with 404.
    let body = json!({
        "instanceUrl": format!("{base}/journey/{journey}?connectToken={token}"),
        "devicePosition": "joined",
        "expiresIn": CONNECT_LIFETIME.as_secs(),
    });
    Ok(json(StatusCode::CREATED, &body))
}

/// Returns the session of the bearer, and the remaining lifetime of the bearer.
///
/// # Errors
/// [`ApiError::Unauthorized`] if it is not an end-user token.
fn end_user<'t>(
    call: &ApiCall<'_>,
    tokens: &'t Tokens,
) -> Result<(&'t DeviceSession, Duration), ApiError> {
    let found = tokens.end_user(call.bearer());
    let (session, left) = found.ok_or(ApiError::Unauthorized)?;
    Ok((session, left))
}

/// Returns the time in `duration` from now (RFC 3339).
fn timestamp_in(duration: Duration) -> String {
    humantime::format_rfc3339_millis(SystemTime::now() + duration).to_string()
}
