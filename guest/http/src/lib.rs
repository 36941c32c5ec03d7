//! The meaning of HTTP, SOCKS and TLS ends, once for every shell: what an end says about the exit, and the error
//! response that the client gets.
//!
//! A shell (the gateway, the Envoy filter) translates its own events into an [`AttemptEnd`] or a [`Fault`] and writes
//! an [`ErrorResponse`] in its own way. Sessions, rotation and breakers know no HTTP: they are `remora-core`'s.
//!
//! | file | owns |
//! |---|---|
//! | [`attempt_end`](AttemptEnd) | the end of an attempt: its outcome, and whether the target may be at fault |
//! | [`status`](StatusClassifier) | the outcome of a response's status |
//! | [`tunnel`](TunnelTraffic) | the outcome of a tunnel |
//! | [`fault`](Fault) | faults before a response: status, RFC 9209 error type and text |
//! | [`error_response`](ErrorResponse) | the response to a client whose request fails |
//! | [`method`](is_idempotent) | the methods that may be sent twice |
//! | [`header`](HOP_BY_HOP) | the header fields that are not forwarded, and the session header's name |
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

extern crate alloc;

mod attempt_end;
mod error_response;
mod fault;
mod header;
mod method;
mod status;
mod tunnel;

pub use attempt_end::AttemptEnd;
pub use error_response::{CHALLENGE, CONTENT_TYPE, ErrorResponse};
pub use fault::Fault;
pub use header::{HOP_BY_HOP, session_header};
pub use method::{IDEMPOTENT, is_idempotent};
pub use status::{ResponseSource, StatusClassifier};
pub use tunnel::TunnelTraffic;

/// The default of `timeouts.connect` in milliseconds: connecting to an upstream proxy, and its answer to CONNECT.
pub const CONNECT_TIMEOUT_MS: u64 = 10_000;
