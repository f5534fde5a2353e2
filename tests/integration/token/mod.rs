//! Token lifecycle and token endpoint.

mod credentials;
mod credentials_rotation;
mod endpoint;
mod faults;
mod refresh;
