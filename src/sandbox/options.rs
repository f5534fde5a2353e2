//! How a sandbox behaves from its start.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::Fault;

/// How a sandbox behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens; a port of 0 takes a free one, which is the default.
    pub address: SocketAddr,
    /// Whether it speaks TLS, with a certificate that it makes at its start; the default.
    pub tls: bool,
    /// The client id that gets a token.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: String,
    /// Whom the password grant knows.
    pub username: String,
    /// Their password.
    pub password: String,
    /// How long an access token lives; it is told in whole seconds.
    pub token_life: Duration,
    /// How long a synchronous start of v1 takes; GBG's was measured at 9 seconds.
    pub v1_start_time: Duration,
    /// What goes wrong from the start.
    pub faults: Vec<Fault>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls: true,
            client_id: "sandbox-client".to_owned(),
            client_secret: "sandbox-secret".to_owned(),
            username: "sandbox-user".to_owned(),
            password: "sandbox-password".to_owned(),
            token_life: Duration::from_secs(3600),
            v1_start_time: Duration::ZERO,
            faults: Vec::new(),
        }
    }
}
