//! Options of a sandbox that hold from its start; also the arguments of `gbg-proxy sandbox`.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::Args;

use super::faults::Fault;
use crate::config::parse_duration;

/// Options of a sandbox. The defaults in code differ from the command line's in the port: 0, which
/// takes a free one.
#[derive(Clone, Debug, Args)]
pub struct SandboxOptions {
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9080")]
    pub address: SocketAddr,
    /// Serve TLS with a certificate made at the start.
    #[arg(skip)]
    pub tls: bool,
    /// Lifetime of an access token
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_duration)]
    pub token_lifetime: Duration,
    /// Duration of a synchronous v1 start; about 9 s at GBG
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    pub v1_start_time: Duration,
    /// Accepted client ID
    #[arg(long, default_value_t = Self::default().client_id)]
    pub client_id: String,
    /// Accepted client secret; it protects nothing
    #[arg(long, default_value_t = Self::default().client_secret)]
    pub client_secret: String,
    /// Accepted username of the password grant
    #[arg(long, default_value_t = Self::default().username)]
    pub username: String,
    /// Accepted password of the password grant
    #[arg(long, default_value_t = Self::default().password)]
    pub password: String,
    /// Fault to inject; repeatable
    #[arg(long = "fault", value_name = "FAULT[*CALLS]", long_help = Fault::help())]
    pub faults: Vec<Fault>,
}

impl Default for SandboxOptions {
    fn default() -> Self {
        SandboxOptions {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls: true,
            token_lifetime: Duration::from_secs(3600),
            v1_start_time: Duration::ZERO,
            client_id: "sandbox-client".to_owned(),
            client_secret: "sandbox-secret".to_owned(),
            username: "sandbox-user".to_owned(),
            password: "sandbox-password".to_owned(),
            faults: Vec::new(),
        }
    }
}
