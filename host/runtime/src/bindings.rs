//! What `wit/` says, as Rust. The imports are linked by hand in `imports.rs`.

#![allow(missing_docs, unreachable_pub, clippy::all)]

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "plugin",
    ownership: Borrowing { duplicate_if_necessary: true },
});

pub(crate) use exports::remora::egress::{control, egress, sessions};
pub(crate) use remora::egress::{storage, types};
