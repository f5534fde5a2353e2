//! An authenticating reverse proxy in front of the GBG GO API: it gets and refreshes the OAuth2
//! `client_credentials` token itself, and puts `Authorization: Bearer …` on each request that it
//! forwards.
//!
//! ```text
//!           ┌──────────────┐   ┌──────────────┐   ┌──────────────┐
//! caller ─▶ │  downstream  │──▶│    proxy     │──▶│   upstream   │ ──▶ GBG GO
//!           │ accept, TLS, │   │ the stack:   │   │ pool,        │
//!           │ HTTP conn.   │   │ one request  │   │ connector    │
//!           └──────────────┘   └──────▲───────┘   └──────────────┘
//!                                     │ Bearer (a ready header value + its generation)
//!                              ┌──────┴───────┐
//!                              │    token     │ ──▶ token endpoint
//!                              │ refresh task │
//!                              └──────────────┘
//! ```
//!
//! Beside these, [`admin`] tells on a listener of its own how things are, and reads what all of
//! them count in [`metrics`]. [`trace`] tells a collector, where there is one, what became of a
//! request.
//!
//! Folders are the places that a byte passes through, not kinds of code.
//!
//! # One request
//!
//! 1. A worker's listener accepts, waits for a permit for open connections, and spawns one
//!    task. ALPN or the first bytes tell HTTP/2 from HTTP/1. One timer a connection watches over
//!    handshake, heads, idleness, and a caller that stops in the middle; the API's time is not its
//!    matter. The service is made when the handshake has told who calls. An HTTP/1 connection that
//!    has no request for a moment rests: it gives up its buffers, and all else that a request needs
//!    ([`downstream`]).
//! 2. `observe` names the request and begins its record, to which each step adds what it knows, and
//!    finds the trace that it belongs to. The end of the answer writes the record into the access
//!    log, as one line, and counts it.
//! 3. `respond` stands outside everything that can fail: below it a failure is an [`error::Error`],
//!    here it becomes one answer.
//! 4. `guard` refuses connections whose certificate is not accepted any more, methods and paths
//!    that are not forwarded, by their exact bytes, what is larger than the limits, requests that
//!    could be read in two ways, hosts that are not ours, and web pages of other sites.
//! 5. `login` answers those who insist on logging in. `caller` finds who it is, and whether that
//!    caller may call this; `limit` takes a part of the caller's share and a place in the process,
//!    and gives both back with the end of the answer's body. Who finds no place waits for one, by
//!    turns with other callers, or is refused.
//! 6. `headers` takes out the fields of one hop, and what a caller is known by.
//! 7. `authorize` puts our bearer in the place of Authorization. It reads one ready value
//!    ([`token::TokenReader`]), and waits, with a deadline, only while there is no valid token. `replay`
//!    keeps the head, and a short body as it streams past.
//! 8. `forward` hands over to [`upstream`], which aims target and Host at the origin of the
//!    configuration, and sends over a pooled connection, a new one, or a stream of an HTTP/2
//!    connection; if the bearer has stopped by then, with a newer one or not at all. While none can
//!    be opened, most of those that need a new one are told so at once.
//! 9. A 401 asks the token task for another token, once for all who wait for it, and the request is
//!    sent once more if all of it was kept. Otherwise the 401 goes back as it came, and so does a
//!    second one. A call that changes nothing is also sent once more when its connection broke
//!    before an answer ([`gbg::Endpoint`]), as far as a budget lets.
//! 10. The answer streams back frame by frame, and breaks off where the API is silent for too long
//!     in the middle of it; the connection goes back to the pool when it has ended.
//!
//! # Threads
//!
//! Each core has a worker (`app::worker`): a thread with a single-threaded runtime, a listening socket
//! (SO_REUSEPORT) and a pool of upstream connections of its own. From a socket that systemd hands
//! over ([`app::systemd`]) all accept by turns. What is counted or locked per request belongs to
//! one worker, but for the places of the process, the share of a caller, and who still refers to
//! the two, all of which are atomics. The token task, the look at the listener's certificates and
//! the signals run on a control runtime, in the main thread.
//!
//! # Invariants
//!
//! 1. The request path never calls the token endpoint. The refresh task never ends, whatever the
//!    endpoint answers.
//! 2. A failed refresh never discards a token that is still valid, and no token is sent after its
//!    expiry, be it by the monotonic or by the wall clock.
//! 3. A caller's Authorization, Proxy-Authorization, X-Api-Key and (unless `forward_cookies`)
//!    Cookie never reach the upstream. The one exception: on `upstream.caller_bearer` paths the
//!    caller's bearer is GBG's own credential, and passes, unless it is a caller key. Our token and
//!    secret never appear in a log line, a `Debug` output, an error or an answer, and no byte of a
//!    file that the configuration names is a part of any message.
//! 4. The upstream is chosen by the configuration alone. Redirects are never followed.
//! 5. Bodies are streamed, both ways, with back-pressure; nothing keeps more of one than
//!    `limits.max_replay_body`.
//! 6. What GBG answered reaches the caller untouched; what we answer ourselves is marked as ours
//!    with Proxy-Status, but for the bare 400, 414 and 431 that hyper's parser sends before any
//!    service runs, and the bare 408 of a connection whose caller is too slow. A connection that is
//!    refused before the stack runs is counted by reason and logged.
//! 7. Failure becomes status in one place ([`error`]), with one log line per failure.
//! 8. A request that may have reached GBG is not sent again, unless GBG refused it because of its
//!    token, or says, in the terms of HTTP/2, that it has not acted on it, or the call changes
//!    nothing.
//! 9. Only loopback or a Unix socket is listened on without callers, unless
//!    `listen.allow_anonymous` is written.
//! 10. Nothing assumes that there is one upstream or one credential in a process.
//!
//! # Who may import whom
//!
//! A test reads every `use crate::…` and fails on any other arrow; arrows are not transitive.
//!
//! ```text
//! main       → cli
//! cli        → app, sandbox, token, upstream, downstream, gbg, config, error, fs, rt, telemetry
//! app        → proxy, admin, token, trace, downstream, upstream, config, metrics, error, rt
//! proxy      → token, upstream, trace, gbg, config, metrics, error, headers, rt, telemetry
//! admin      → downstream, token, gbg, config, metrics, error, rt, telemetry
//! sandbox    → downstream, gbg, config
//! token      → upstream, config, metrics, error, fs, headers, rt
//! upstream   → config, metrics, error, rt, telemetry
//! trace      → config, error, telemetry
//! downstream → config, metrics, error, fs, rt, telemetry
//! config     → gbg, secret
//! fs         → rt
//! gbg, secret, error, headers, metrics, rt, telemetry → nothing of ours
//! ```

pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod downstream;
pub mod error;
pub mod fs;
pub mod gbg;
pub mod headers;
pub mod metrics;
pub mod proxy;
pub mod rt;
pub mod sandbox;
pub mod secret;
pub mod telemetry;
pub mod token;
pub mod trace;
pub mod upstream;
