//! Everything OAuth: one task gets a token and replaces it before it expires; everybody else reads
//! a ready value.
//!
//! Nothing here knows of the requests that the token is for, and no request ever calls the token
//! endpoint. The grant has no refresh token: a refresh is one more fetch (RFC 6749 section 4.4.3).

mod backoff;
mod client;
mod client_auth;
mod deadline;
mod endpoint;
mod exchange;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod handle;
mod jwt;
mod refresh;
mod response;
mod schedule;

pub use self::client::Client;
pub use self::deadline::Deadline;
pub use self::endpoint::{Endpoint, FetchError};
pub use self::handle::{Bearer, Publisher, Reader, channel};
pub use self::refresh::refresh;
pub use self::response::Grant;
