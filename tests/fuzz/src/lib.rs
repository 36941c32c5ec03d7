//! Everything in remora that reads bytes of a tenant, a client, an operator or a network, as functions of bytes:
//! they may answer what they like, but not panic, and what each says in its file must hold.
//!
//! `make fuzz` has libFuzzer look for inputs (`libfuzzer/`). `make test` runs the same functions over the corpora
//! and over mutations of them that are the same every time (`tests/smoke.rs`). An input that once broke something
//! stays in its corpus.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod admin;
mod component;
mod configuration;
mod decisions;
mod envoy_configuration;
mod proxy_url;
mod redb_file;
mod redis_reply;
mod request_head;
mod session_key;
mod target;
mod trace;

pub mod mutate;

pub use target::Target;
use target::{Bytes, secrets};

/// All of them.
pub const TARGETS: [Target; 11] = [
    admin::TARGET,
    component::TARGET,
    configuration::TARGET,
    decisions::TARGET,
    envoy_configuration::TARGET,
    proxy_url::TARGET,
    redb_file::TARGET,
    redis_reply::TARGET,
    request_head::TARGET,
    session_key::TARGET,
    trace::TARGET,
];

/// Runs the target of this name, for libFuzzer.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a target of this name").run)(data);
}
