//! OAuth client: one task fetches access tokens and replaces each before it expires; requests read
//! a ready header value and never call the token endpoint.
//!
//! The grant has no refresh token: a refresh is one more token request (RFC 6749 section 4.4.3).

mod backoff;
mod bearer;
mod client;
mod client_auth;
mod deadline;
mod failure;
mod fixed;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod handle;
mod jwt;
mod refresh;
mod request;
mod response;
mod schedule;
mod sensitive_header;
mod source;

pub(crate) use self::bearer::Bearer;
pub use self::client::Client;
pub(crate) use self::deadline::Deadline;
pub use self::failure::FetchError;
pub(crate) use self::failure::{FetchErrorKind, FetchFailure};
#[doc(hidden)]
pub use self::fixed::fixed;
pub use self::handle::{TokenPublisher, TokenReader, channel};
pub use self::refresh::refresh;
pub use self::response::TokenResponse;
pub use self::source::{ReloadableClient, TokenSource};
