//! remora's decisions as an Envoy filter: the callbacks of proxy-wasm bound to [`remora_core`] and [`remora_http`]. It only
//! translates; a rule found here is in the wrong room.
//!
//! | module | what it does |
//! |---|---|
//! | [`config`] | reads the plugin configuration and says what is wrong with it |
//! | [`slots`] | the core's storage over Envoy's shared data |
//! | [`outcome`] | the end of a stream, from Envoy's words |
//! | [`steering`] | the list of addresses that Envoy is to try, and who served |
//! | `host` | every call to Envoy |
//! | `plugin`, `stream` | the callbacks |

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod config;
pub mod outcome;
pub mod slots;
pub mod steering;

#[cfg(all(target_arch = "wasm32", feature = "empty"))]
mod empty;
#[cfg(all(target_arch = "wasm32", not(feature = "empty")))]
mod host;
#[cfg(all(target_arch = "wasm32", not(feature = "empty")))]
mod metrics;
#[cfg(all(target_arch = "wasm32", not(feature = "empty")))]
mod plugin;
#[cfg(all(target_arch = "wasm32", not(feature = "empty")))]
mod stream;

#[cfg(all(target_arch = "wasm32", not(feature = "empty")))]
#[allow(missing_docs)]
mod entry {
    proxy_wasm::main! {{
        crate::host::start();
        proxy_wasm::set_root_context(|_| Box::new(crate::plugin::Root::default()));
    }}
}
