//! Endpoint table of GBG GO: name, accepted token and effect of each call.
//!
//! Source: <https://docs.go.gbgplc.com>, the API references of v1 and v2, and the OpenAPI description
//! in GBG's SDK repository, <https://github.com/gbgplc/gbg-go-core-sdk>.

use super::template;

/// Path prefix of API v1, which works with tasks.
pub const V1: &str = "/captain/api/";

/// Path prefix of API v2, which works with interactions.
pub const V2: &str = "/v2/captain/";

/// Paths of the token endpoint in clients that let only the host be changed: GBG's SDKs for Java
/// and TypeScript, and the v1 samples.
const TOKEN_PATHS: [&str; 4] = [
    "/as/token.oauth2",
    "/v2/captain/as/token.oauth2",
    "/captain/api/as/token.oauth2",
    "/auth/realms/go/protocol/openid-connect/token",
];

/// Version of the API. The versions differ in the format of their errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiVersion {
    /// Errors are `{status, message, error}`.
    V1,
    /// Errors are `{errors: [{code, name, location, problem, action}]}`.
    V2,
}

impl ApiVersion {
    /// The path prefix of its endpoints.
    pub fn prefix(self) -> &'static str {
        match self {
            ApiVersion::V1 => V1,
            ApiVersion::V2 => V2,
        }
    }
}

/// The kind of token that GBG accepts for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptedToken {
    /// The customer token, which reaches every journey of the organization.
    Customer,
    /// A token of the end user's device, which reaches one journey: a connect token, an end-user
    /// token, or a resume credential.
    EndUser,
    /// Either of the two.
    Either,
    /// The call needs none.
    None,
}

/// A call of the API.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// Path below the prefix of its version, with `{variables}`.
    pub template: &'static str,
    /// Name in logs and metrics.
    pub name: &'static str,
    /// The kind of token that GBG accepts.
    pub token: AcceptedToken,
    /// Whether the call changes nothing, so that it may be sent again when it may have arrived.
    pub is_read_only: bool,
    /// Whether the body is the bytes of a file.
    pub is_upload: bool,
}

impl Endpoint {
    const fn accepting(token: AcceptedToken, template: &'static str) -> Self {
        Endpoint {
            template,
            name: template,
            token,
            is_read_only: false,
            is_upload: false,
        }
    }

    const fn read_only(self) -> Self {
        Endpoint {
            is_read_only: true,
            ..self
        }
    }

    const fn upload(self) -> Self {
        Endpoint {
            is_upload: true,
            ..self
        }
    }

    const fn named(self, name: &'static str) -> Self {
        Endpoint { name, ..self }
    }
}

const fn customer(template: &'static str) -> Endpoint {
    Endpoint::accepting(AcceptedToken::Customer, template)
}

const fn end_user(template: &'static str) -> Endpoint {
    Endpoint::accepting(AcceptedToken::EndUser, template)
}

const fn either(template: &'static str) -> Endpoint {
    Endpoint::accepting(AcceptedToken::Either, template)
}

const fn public(template: &'static str) -> Endpoint {
    Endpoint::accepting(AcceptedToken::None, template)
}

/// The endpoints of API v2 without variables. `journey/start` may be billed, and `interaction/submit`
/// advances the journey.
static V2_ENDPOINTS: [Endpoint; 23] = [
    customer("journey/start"),
    customer("journey/state/fetch").read_only(),
    either("journey/interaction/fetch").read_only(),
    either("journey/interaction/submit"),
    either("journey/interaction/asset/upload").upload(),
    customer("journey/interaction/schema").read_only(),
    either("journey/loqate/search").read_only(),
    either("journey/loqate/retrieve").read_only(),
    customer("journey/schema/fetch").read_only(),
    customer("journey/state/delete"),
    customer("journey/terminate"),
    customer("journey/history").read_only(),
    customer("journey/device/start"),
    end_user("journey/device/connect"),
    end_user("journey/device/refresh"),
    end_user("journey/device/validate").read_only(),
    either("journey/task/list").read_only(),
    either("journey/task/update"),
    customer("journey/task/schema").read_only(),
    customer("journey/task/list/schema").read_only(),
    public("journey/health").read_only(),
    public("version").read_only(),
    customer("openapi.json").read_only(),
];

/// The endpoints of API v2 with variables. Their methods decide what they change.
static V2_TEMPLATES: [Endpoint; 3] = [
    end_user("journey/instance/{instanceId}/handoff-token").named("journey/instance/handoff-token"),
    customer("sandbox/journeys/{journeyId}/scenarios").named("sandbox/scenarios"),
    customer("sandbox/journeys/{journeyId}/scenarios/{name}").named("sandbox/scenario"),
];

/// The endpoints of API v1.
static V1_ENDPOINTS: [Endpoint; 9] = [
    customer("journey/start"),
    customer("journey/state/fetch").read_only(),
    either("journey/task/list").read_only(),
    either("journey/task/update"),
    customer("journey/task/schema").read_only(),
    customer("journey/task/list/schema").read_only(),
    customer("journey/device/start"),
    end_user("journey/device/connect"),
    customer("journey/device/pair"),
];

/// All endpoints, each with its version.
pub fn endpoints() -> impl Iterator<Item = (ApiVersion, &'static Endpoint)> {
    let v2 = V2_ENDPOINTS.iter().chain(&V2_TEMPLATES);
    let v1 = V1_ENDPOINTS.iter();
    v2.map(|endpoint| (ApiVersion::V2, endpoint))
        .chain(v1.map(|endpoint| (ApiVersion::V1, endpoint)))
}

/// The parts of a path that decide what its request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathInfo {
    /// Version of the API that the path belongs to.
    pub version: Option<ApiVersion>,
    /// Name in logs and metrics: that of the endpoint, `login`, or `other`.
    pub name: &'static str,
    /// The kind of token that the endpoint accepts; the customer's for an unknown one.
    pub token: AcceptedToken,
    /// Whether it is an endpoint that changes nothing.
    pub is_read_only: bool,
    /// Whether it is a token endpoint.
    pub is_token_path: bool,
    /// Whether the prefix of a version is there twice: the base URL has one, and the client adds one.
    pub has_repeated_prefix: bool,
}

/// Parses `path`, which has no percent-encoded characters that need no encoding.
pub fn parse_path(path: &str) -> PathInfo {
    let (version, endpoint) = if let Some(below) = path.strip_prefix(V2) {
        let known = find(&V2_ENDPOINTS, below);
        (Some(ApiVersion::V2), known.or_else(|| find_template(below)))
    } else if let Some(below) = path.strip_prefix(V1) {
        (Some(ApiVersion::V1), find(&V1_ENDPOINTS, below))
    } else {
        (None, None)
    };
    let is_token_path = endpoint.is_none() && TOKEN_PATHS.contains(&path);
    PathInfo {
        version,
        name: match endpoint {
            Some(endpoint) => endpoint.name,
            None if is_token_path => "login",
            None => "other",
        },
        token: endpoint.map_or(AcceptedToken::Customer, |endpoint| endpoint.token),
        is_read_only: endpoint.is_some_and(|endpoint| endpoint.is_read_only),
        is_token_path,
        has_repeated_prefix: endpoint.is_none()
            && version.is_some_and(|version| {
                let below = &path[version.prefix().len() - 1..];
                below.starts_with(V1) || below.starts_with(V2)
            }),
    }
}

fn find(endpoints: &'static [Endpoint], below: &str) -> Option<&'static Endpoint> {
    endpoints.iter().find(|endpoint| endpoint.template == below)
}

fn find_template(below: &str) -> Option<&'static Endpoint> {
    let mut templates = V2_TEMPLATES.iter();
    templates.find(|endpoint| template::matches(endpoint.template, below))
}

/// Whether GBG accepts the customer token on the endpoint `name`.
pub(crate) fn takes_customer_token(name: &str) -> bool {
    endpoints().any(|(_, endpoint)| {
        endpoint.name == name
            && matches!(
                endpoint.token,
                AcceptedToken::Customer | AcceptedToken::Either
            )
    })
}

#[cfg(test)]
mod tests;
