//! The plugins of `guest/examples`, built as docs/extending.md says and loaded as anybody's plugin would be.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

mod build;
mod hours;
mod steady;
mod tenant;
