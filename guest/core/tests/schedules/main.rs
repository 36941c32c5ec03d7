//! The rules that speak of concurrency (3, 4, 5, 7, 10, 13): two to four instances share one storage, and
//! shuttle chooses whose storage operation comes next. The seeds are fixed, so a run is repeatable; the
//! smallest cases are explored to the last schedule.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/tables.rs"]
mod tables;

mod fleet;

mod attribution;
mod binding;
mod bounds;
mod breaker;
mod fence;
mod rotation;
