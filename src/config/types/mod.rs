//! Types of values, parsed once into types that cannot hold an invalid value.

pub(crate) mod address;
pub(crate) mod caller_key;
pub(crate) mod certificate_name;
pub(crate) mod duration;
pub(crate) mod file;
pub(crate) mod header_case;
mod header_name;
pub(crate) mod hosts;
pub(crate) mod methods;
pub(crate) mod path;
pub(crate) mod pem;
pub(crate) mod rate;
pub(crate) mod secret_ref;
pub(crate) mod size;
pub(crate) mod timestamp;
pub(crate) mod url;
pub(crate) mod validity;

use std::str::FromStr;

use crate::config::source::invalid::Invalid;
use crate::config::source::setting::TextSetting;

macro_rules! from_str {
    ($($type:ty),+) => {
        $(impl FromStr for $type {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                Self::parse_text(text)
            }
        })+
    };
}

from_str!(
    address::Address,
    path::PathTemplate,
    path::PathPrefix,
    self::url::HttpUrl
);
