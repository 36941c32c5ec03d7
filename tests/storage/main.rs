//! Storage back ends, on real files and real servers: the conformance suite, and what is left of the state when
//! something is killed.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

mod cluster;
mod fleet;
#[path = "../hostile/guest.rs"]
mod guest;
mod redb_crash;
mod redb_disk;
mod redb_file;
mod redis_manager;
mod redis_server;
mod servers;
