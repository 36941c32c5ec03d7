//! Storage back ends, on real files and real servers: the conformance suite, and what is left of the state when
//! something is killed.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod redb_crash;
mod redb_file;
