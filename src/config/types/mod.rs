//! Types of values: text becomes a type that cannot hold a wrong value.

pub(crate) mod address;
pub(crate) mod caller_key;
pub(crate) mod certificate_name;
pub(crate) mod duration;
pub(crate) mod file;
pub(crate) mod header_case;
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
