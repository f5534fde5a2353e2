//! Everything OAuth: one task gets a token and replaces it before it expires; everybody else reads
//! a ready value.
//!
//! Nothing here knows of the requests that the token is for, and no request ever calls the token
//! endpoint. The grant has no refresh token: a refresh is one more fetch (RFC 6749 section 4.4.3).

mod assertion;
mod backoff;
mod bearer;
mod client;
mod client_auth;
mod endpoint;
mod exchange;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod grant;
mod moment;
mod refresh;
mod schedule;
mod watch;

pub use self::bearer::{Bearer, Publisher, Reader, channel};
pub use self::client::Client;
pub use self::endpoint::{Endpoint, FetchError};
pub use self::grant::Grant;
pub use self::moment::Deadline;
pub use self::refresh::refresh;
