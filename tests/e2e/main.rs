//! The gateway with real parts: tinyproxy as upstream proxies, nginx as origin, curl as client, all on
//! loopback. Every upstream proxy connects from an address of its own, and the origin answers with the
//! address it sees: the exit IP.

#![allow(missing_docs, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../hostile/cases.rs"]
mod cases;
mod clients;
#[path = "../hostile/endless.rs"]
mod endless;
mod ends;
mod exits;
mod failures;
mod fleet;
#[path = "../hostile/guest.rs"]
mod guest;
mod load;
mod operations;
mod parts;
mod protocol;
mod retries;
mod sessions;
mod storage;
mod tenants;
mod upstreams;
mod world;
