//! The filter in the real Envoy, with two workers and what `remora envoy` writes: tinyproxy as upstream proxies,
//! nginx as origin, curl and plain sockets as clients, all on loopback.

#![allow(missing_docs, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod configuration;
mod egress;
mod failures;
mod faulty;
mod keep_alive;
mod memory;
mod pool;
mod resizing;
mod restarts;
mod retries;
mod sessions;
mod upstreams;

// What the suite of the gateway has, and this one does not use all of.
#[allow(dead_code)]
#[path = "../e2e/exits.rs"]
mod exits;
#[allow(dead_code)]
#[path = "../e2e/parts.rs"]
mod parts;
#[allow(dead_code)]
#[path = "../e2e/world.rs"]
mod world;
