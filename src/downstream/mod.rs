//! Server for callers: listeners, TLS and HTTP connections, for any service.

mod activity;
mod activity_io;
mod caller_body;
mod caller_certificate;
mod cells;
mod certificate_names;
mod client_trust;
mod connection;
mod connection_use;
mod data_frames;
mod deadlines;
mod detect;
mod drive;
mod eviction;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod half_close;
mod handshake;
mod http1;
mod http2;
mod io;
mod linger;
mod listener;
mod options;
mod park;
mod peer;
mod refusals;
mod request;
mod service;
mod socket;
mod start_deadline;
mod timeouts;
mod tls;

pub use self::caller_body::{CallerBody, CallerBodyError};
pub(crate) use self::caller_certificate::CallerCertificate;
pub(crate) use self::connection_use::ConnectionUse;
pub use self::eviction::EvictingLimit;
pub(crate) use self::options::MAX_BUFFER_BYTES;
pub use self::options::ServerOptions;
pub(crate) use self::peer::PeerInfo;
pub use self::refusals::RefusalLog;
pub use self::socket::Socket;
pub(crate) use self::socket::{bind, share};
pub use self::timeouts::Timeouts;
pub use self::tls::ServerTls;
pub(crate) use self::tls::{reload_tls_on_change, tls_channel};
