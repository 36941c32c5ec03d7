//! The decisions of remora, and nothing else.
//!
//! `remora-core` takes the state (behind [`Storage`]), the time and an event, and answers with a
//! decision. It has no I/O, no clock and no source of randomness of its own, so every rule can be
//! tested with a fake clock, and the same code decides inside a WebAssembly component, an Envoy
//! filter and a native test.
//!
//! Each rule lives in one file:
//!
//! | file | what it decides |
//! |---|---|
//! | [`key`](SessionKey) | what a session is keyed by: host, site or an explicit id |
//! | [`policy`](Sticky) | whether, how long and how strictly a key sticks |
//! | [`pattern`](Patterns) | which of several patterns holds for a host |
//! | `session` | what a binding is, when it is live and how it ends |
//! | `table` | the session table: look up, bind, end, bound its size |
//! | `breaker` | when a proxy's circuit breaker opens, probes and closes |
//! | `gate` | the breaker applied to stored state that others change too |
//! | `hints` | nothing: which two values a hit will probably need |
//! | `attribution` | the parameters of rule 13 |
//! | `strikes` | when ambiguous ends open a breaker |
//! | `doubts` | which exits a target has not answered through |
//! | `avoid` | which exits a target avoids |
//! | `in_flight` | how many requests a proxy carries |
//! | `rotation` | which proxy a new session gets; one file a strategy |
//! | [`bounds`](check_retry_attempts) | the bounds of fields that only the shells see |
//! | `wit` | the configuration in the words of the contract |
//! | [`Engine`] | composes them into acquire and release |
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

extern crate alloc;

mod attribution;
mod avoid;
mod bounds;
mod breaker;
mod config;
mod doubts;
mod draw;
mod end;
mod engine;
mod error;
mod gate;
mod hints;
mod in_flight;
mod key;
pub mod names;
mod pattern;
mod policy;
mod pool;
mod rotation;
mod session;
mod sorted;
mod storage;
mod strikes;
mod table;
mod text;
mod wit;

pub use attribution::AttributionPolicy;
pub use bounds::{RETRY_ATTEMPTS, check_max_half_open_after, check_retry_attempts, check_ttl};
pub use breaker::{Breaker, BreakerPolicy, Change as BreakerChange};
pub use config::Config;
pub use draw::cursor_of_a_member;
pub use end::End;
pub use engine::{
    Attempt, Decided, Engine, Grant, Lease, Outcome, Permit, ProxyStatus, Released, Request, Span,
    Stats,
};
pub use error::{AcquireError, Error, Invalid, KeyError};
pub use key::{
    MAX_HOST_LEN, MAX_KEY_LEN, MAX_SESSION_ID_LEN, MAX_TAG_LEN, Scope, SessionKey, is_storage_key,
};
pub use pattern::Patterns;
pub use policy::{DEFAULT_TTL_MS, MAX_TTL_MS, Mode, OnBad, Override, Sticky};
pub use pool::{ProxyId, ProxySpec};
pub use rotation::StrategyKind;
pub use session::{Reason, Session};
pub use storage::{Cell, Exchange, Head, Page, Step, Storage, StorageError, Table, Words, update};
pub use table::SessionPage;
pub use text::{bounded, time};
