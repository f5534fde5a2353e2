//! Facts of GBG GO, as data: regions, addresses and endpoints.
//!
//! Source: <https://docs.go.gbgplc.com>, "Authenticate" and the API references of v1 and v2.

mod endpoints;
pub(crate) mod template;

use std::fmt;

pub(crate) use self::endpoints::takes_customer_token;
pub use self::endpoints::{
    AcceptedToken, ApiVersion, Endpoint, PathInfo, V1, V2, endpoints, parse_path,
};

/// The token endpoint of every region.
pub const TOKEN_ENDPOINT: &str = "https://api.auth.gbgplc.com/as/token.oauth2";

/// The scope of a token with the grant `client_credentials`.
pub const SCOPE: &str = "gbg.token";

/// A region of the platform. GBG publishes these three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Region {
    /// Europe.
    #[default]
    Eu,
    /// United States.
    Us,
    /// Australia.
    Au,
}

impl Region {
    /// The region whose API is at `origin`.
    pub fn at(origin: &str) -> Option<Self> {
        let mut all = [Region::Eu, Region::Us, Region::Au].into_iter();
        all.find(|region| region.origin() == origin)
    }

    /// The origin that serves both API versions in this region.
    pub fn origin(self) -> &'static str {
        match self {
            Region::Eu => "https://eu.platform.go.gbgplc.com",
            Region::Us => "https://us.platform.go.gbgplc.com",
            Region::Au => "https://au.platform.go.gbgplc.com",
        }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Region::Eu => "eu",
            Region::Us => "us",
            Region::Au => "au",
        })
    }
}
