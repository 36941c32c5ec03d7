//! remora's WebAssembly guests, as bytes: components, and modules for Envoy. Built by this crate's build script from `guest/`.

#![forbid(unsafe_code)]

include!(concat!(env!("OUT_DIR"), "/components.rs"));
