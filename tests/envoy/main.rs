//! The filter on the real Envoy, with two workers: tinyproxy as upstream proxies, each with a password of its own,
//! nginx as origin, curl as client.

#![allow(missing_docs, unreachable_pub, dead_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod configuration;
#[path = "../e2e/exits.rs"]
mod exits;
mod failures;
#[path = "../e2e/parts.rs"]
mod parts;
mod sessions;
mod world;
