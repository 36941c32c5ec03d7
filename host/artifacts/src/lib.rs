//! remora's WebAssembly components, as bytes. Built by this crate's build script from `guest/`.

#![forbid(unsafe_code)]

include!(concat!(env!("OUT_DIR"), "/components.rs"));
