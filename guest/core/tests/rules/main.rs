//! The rules (DESIGN §4), a test for each sentence, read through the public API with a clock
//! that the tests move.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod attribution;
mod binding;
mod blocked;
mod bounds;
mod breaker;
mod doubts;
mod failover;
mod holds;
mod key;
mod policy;
mod pool;
mod probe;
mod rotation;
mod shell;
mod storage;
mod strict;
mod table;
