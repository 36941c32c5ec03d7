//! The tables of a pool, read and written by the same types: the one schema of `remora.toml`, of a tenant's file, of the
//! Envoy filter's JSON, and of the program that writes that JSON.
//!
//! | module | owns |
//! |---|---|
//! | `sticky` | `[sticky]` and `[[sticky.override]]` |
//! | `rotation`, `breaker` | the tables of these names |
//! | `outcome` | `[outcome]` and `[[outcome.override]]` |
//! | `retry` | `[retry]`, as the gateway has it |
//! | `proxy` | `[[proxy]]`, as the gateway has it |
//! | [`filter`] | the configuration of the Envoy filter: its own `retry` and `proxy` |
//! | `pool` | the tables together: the core's configuration, and every error |
//! | `duration` | durations with their unit |
//! | `secret` | strings that no error shows |
//!
//! A field that only one shell understands is in the type of that shell alone, and unknown to the others.
//!
//! No file, clock or socket is read here. `humantime` is the only dependency that needs `std`, which both users (a native
//! program and wasm32-unknown-unknown) have: its grammar is the one that configuration files are written in.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

extern crate alloc;

mod breaker;
mod defaults;
mod duration;
pub mod filter;
mod outcome;
mod pool;
mod proxy;
mod retry;
mod rotation;
mod secret;
mod sticky;

pub use breaker::Breaker;
pub use duration::{Time, shown};
pub use outcome::{Outcome, OutcomeOverride};
pub use pool::Tables;
pub use proxy::ProxyEntry;
pub use retry::{Retry, attempts};
pub use rotation::Rotation;
pub use secret::Secret;
pub use sticky::{Sticky, StickyOverride, Tunnels};
