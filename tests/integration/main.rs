//! The proxy as its callers and its operators meet it: started on port 0, spoken to over sockets.
//!
//! - `admin`: what is told of the proxy, on a listener of its own, and `wait`, which asks it.
//! - `admin_listener`: the admin listener under connections that do nothing, and what a foreign
//!   Host is told.
//! - `answers`: answers of the API as they are passed on: their ends, their lengths, and those that
//!   are none.
//! - `caller_identities`: callers that are known by a certificate or as a user, and their names in
//!   the log.
//! - `callers`: callers that are known by a key, what they may call, and what the unknown are told.
//! - `callers_configuration`: callers as the file names them, and the addresses that are open to
//!   them.
//! - `callers_refusals`: callers of the file that are refused.
//! - `circuit`: requests while no connection to the API can be opened, and when one can again.
//! - `cli`: exit codes and messages of the real binary.
//! - `client_certificates`: callers' certificates that end while connections are open and sessions
//!   are kept.
//! - `configuration`: values of a configuration: defaults, precedence, and the refusal of those
//!   that are wrong.
//! - `configuration_security`: secrets, keys, certificates and other files that a configuration
//!   names, and addresses that are open or without TLS.
//! - `connection_age`: callers' connections that are older than `listen.max_age`.
//! - `credentials`: credentials of the client as the token endpoint gets them.
//! - `credentials_rotation`: credentials of the client that are replaced while the proxy runs, or
//!   cannot be read.
//! - `deadlines`: callers that are slow, silent or gone, and how their connections end.
//! - `doctor`: the check as a whole, the configuration, the clock, the token and the call of the
//!   API.
//! - `doctor_connections`: connections of `doctor` that fail: names, ports, the egress proxy, TLS.
//! - `doctor_limits`: `doctor` before servers that are slow, or write their fields badly.
//! - `early_answers`: answers that come before all of the request, and reach the caller whole.
//! - `egress`: the way out through a corporate proxy, and the certificate that is shown to the API.
//! - `egress_failures`: egress proxies that open no tunnel, and those that a configuration cannot
//!   name.
//! - `exhaustion`: what one caller may take of the memory and the files of the process.
//! - `failures`: what a caller is told when the API or the token endpoint fails.
//! - `forwarding`: what reaches the API, and what comes back.
//! - `framing`: requests that two readers could read in two ways.
//! - `guard`: hosts that are not ours, web pages of other sites, paths that are not forwarded.
//! - `half_closed`: callers that close their half of the connection and wait for their answer.
//! - `http2_callers`: callers of HTTP/2 whose requests are malformed.
//! - `lifecycle`: two instances, Unix sockets, TLS, draining.
//! - `listener`: the certificates of the listener and of its callers.
//! - `live`: settings that are changed while the proxy runs.
//! - `live_connections`: another way to the API while the proxy runs, and its old connections.
//! - `load`: the load test's own arithmetic.
//! - `log_file`: a log that is written to a file, and what others do to that file meanwhile.
//! - `limits`: how much each caller may, and all together; who waits, and who is refused.
//! - `logins`: clients that insist on logging in.
//! - `logs`: what is logged of a request, and what is not.
//! - `loops`: requests that come back to the proxy, and proxies in a chain.
//! - `message_fields`: fields and trailers as an intermediary passes them on, byte for byte.
//! - `messages`: requests and answers as an intermediary passes them on: methods, targets, versions
//!   and bodies.
//! - `metrics`: counts of requests, bytes, connections and tokens, compared with what was sent.
//! - `refused_connections`: connections that are refused before a request reaches the stack, as
//!   they are counted and logged.
//! - `reload`: the configuration is read again while the proxy runs.
//! - `misplaced_secrets`: keys and other secrets that stand in place of a path, a name or another
//!   value: no output shows them.
//! - `operations`: alerts, dashboard and runbook, compared with what the proxy counts.
//! - `resting`: connections that have had no request for a moment, and the next one.
//! - `secret_files`: files that the configuration names and that cannot be used: no byte of them is
//!   shown.
//! - `secrets`: secrets in variables, files and systemd credentials: line ends and blanks around
//!   them, and bytes that are refused in them.
//! - `secrets_exposure`: warnings of odd secrets and of files that others can read, and the memory
//!   that nobody else sees.
//! - `shipped_file`: `proxy.toml` as it is shipped.
//! - `signals`: signals that a process may get from anybody.
//! - `slow_attacks`: frames and bytes that keep coming and bring a request no further.
//! - `spans`: what a collector is told of a request, the wait for a token and each attempt.
//! - `status_page`: the page for people, in a real browser, and the JSON that it is made from.
//! - `streaming`: bodies that are large, slow or broken off.
//! - `systemd`: what systemd is told, the socket that it hands over, and its units.
//! - `tidy`: the rules of the house, checked on the source itself.
//! - `token_endpoint`: ways to the token endpoint that are slow, and responses of it that are
//!   unusual.
//! - `token_faults`: the token endpoint and the API go wrong on purpose, and callers see as little
//!   of it as can be.
//! - `tokens`: when a token is got, kept and replaced.
//! - `traces`: the trace that a request belongs to, and collectors that are down or silent.
//! - `upstream_http2`: requests to the API that share HTTP/2 connections.
//! - `upstream_http2_bodies`: bodies over HTTP/2 to the API: large, slow, or none at all.
//! - `upstream_http2_resets`: streams of HTTP/2 to the API that are reset, broken off or silent.
//! - `upstream_limit`: connections to the API within the limit of open files.
//! - `upstream_pool`: connections to the API that grow old, rest or fall silent.
//! - `upstream_pool_closes`: connections to the API that close at the wrong moment, and requests
//!   that are sent again.
//! - `min_idle`: connections to the API that are open before anybody asks.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test may panic"
)]

mod support;

mod admin;
mod admin_listener;
mod answers;
mod caller_identities;
mod callers;
mod callers_configuration;
mod callers_refusals;
mod circuit;
mod cli;
mod client_certificates;
mod configuration;
mod configuration_security;
mod connection_age;
mod credentials;
mod credentials_rotation;
mod deadlines;
mod doctor;
mod doctor_connections;
mod doctor_limits;
mod early_answers;
mod egress;
mod egress_failures;
mod exhaustion;
mod failures;
mod forwarding;
mod framing;
mod guard;
mod half_closed;
mod http2_callers;
mod lifecycle;
mod limits;
mod listener;
mod live;
mod live_connections;
mod load;
mod log_file;
mod logins;
mod logs;
mod loops;
mod memory;
mod message_fields;
mod messages;
mod metrics;
mod misplaced_secrets;
mod operations;
mod refused_connections;
mod reload;
mod resting;
mod secret_files;
mod secrets;
mod secrets_exposure;
mod shipped_file;
mod signals;
mod slow_attacks;
#[cfg(feature = "otlp")]
mod spans;
mod status_page;
mod streaming;
mod systemd;
mod tidy;
mod token_endpoint;
mod token_faults;
mod tokens;
mod torn_requests;
mod torn_responses;
mod traces;
mod upstream_http2;
mod upstream_http2_bodies;
mod upstream_http2_refusals;
mod upstream_http2_resets;
mod upstream_limit;
mod upstream_pool;
mod upstream_pool_closes;
mod warm;
