//! Sticky egress sessions for Rust programs that send traffic through pools of upstream proxies.
//!
//! A target site sees one exit IP for as long as a session lasts, a fresh one when it ends, and a bad
//! proxy is taken out before it hurts. The decisions are made by a WebAssembly component (see `wit/` in
//! the repository); this crate loads it, gives it a clock and storage, and wraps it up:
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use remora_host::{
//!     Proxy, ProxyConfig, ProxyManager, StickyPolicy, storage::MemoryProxyStore,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), remora_host::Error> {
//! let config = ProxyConfig {
//!     sticky_policy: StickyPolicy::domain(Duration::from_secs(600)),
//!     ..ProxyConfig::default()
//! };
//! let mgr = ProxyManager::with_round_robin(Arc::new(MemoryProxyStore::default()), config)?;
//! for port in [8081, 8082] {
//!     mgr.add_proxy(Proxy {
//!         url: format!("http://127.0.0.1:{port}"),
//!         username: Some("user".into()),
//!         password: Some("pass".into()),
//!         ..Proxy::default()
//!     })
//!     .await?;
//! }
//!
//! let first = mgr.acquire_for_domain("shop.example.com").await?;
//! // … send the request through `first.proxy_url()` …
//! first.mark_success();
//!
//! let second = mgr.acquire_for_domain("shop.example.com").await?;
//! assert_eq!(second.proxy_id(), first.proxy_id());
//! // Dropped without `mark_success`: the proxy has failed, and the session moves.
//! drop(second);
//!
//! let third = mgr.acquire_for_domain("shop.example.com").await?;
//! assert_ne!(third.proxy_id(), first.proxy_id());
//! # third.mark_success();
//! # Ok(())
//! # }
//! ```
//!
//! What is where:
//!
//! | item | what it is |
//! |---|---|
//! | [`ProxyManager`], [`ProxyHandle`] | a pool with sticky sessions; the right to use a proxy for one request |
//! | [`ProxyConfig`] | everything that can be set |
//! | [`session::SessionMap`] | the session table on its own |
//! | [`storage`] | where state lives: memory, a file, Redis; the trait for a back end of your own |
//! | [`Plugin`] | a component of the world `remora:egress/plugin`: the one built in, or yours |
//! | [`Runtime`], [`Limits`], [`CodeCache`] | what the plugins of a process share; what one may use; compiled code on disk |
//! | [`trace`] | record what was asked and decided, and replay it |

#![forbid(unsafe_code)]

mod bindings;
mod budget;
mod clock;
mod code_cache;
mod compiler;
mod config;
mod contract;
mod convert;
mod credentials;
mod decisions;
mod epoch;
mod error;
mod handle;
mod imports;
mod instance;
mod instances;
#[doc(hidden)]
pub mod internals;
mod limits;
mod loaded;
mod manager;
mod plugin;
mod proxy;
mod remote;
mod runtime;
pub mod session;
mod settlement;
pub mod storage;
pub mod trace;

pub use clock::{Clock, ManualClock, SystemClock};
pub use code_cache::CodeCache;
pub use compiler::{Compiler, compiler_main};
pub use config::{BreakerConfig, ProxyConfig, StickyOverride, Strategy};
pub use credentials::Credentials;
pub use error::{Error, PluginError};
pub use handle::ProxyHandle;
pub use limits::Limits;
pub use manager::{
    BreakerState, PoolStats, ProxyInfo, ProxyManager, ProxyManagerBuilder, SessionInfo,
};
pub use plugin::Plugin;
pub use proxy::{Proxy, ProxyType};
pub use remora_core::{
    Attempt, AttributionPolicy, BreakerChange, Config, End, Invalid, KeyError, Lease, Mode, OnBad,
    Outcome, Patterns, Reason, Released, Request, Scope, StorageError, names,
};
pub use remora_http::{AttemptEnd, ResponseSource, StatusClassifier, TunnelTraffic};
pub use runtime::{Runtime, RuntimeConfig};
pub use session::StickyPolicy;
pub use settlement::Settlement;

/// The Rust that the documentation shows compiles.
#[cfg(doctest)]
mod shown {
    #[doc = include_str!("../../../README.md")]
    struct Readme;
    #[doc = include_str!("../../../docs/embedding.md")]
    struct Embedding;
    #[doc = include_str!("../../../docs/extending.md")]
    struct Extending;
    #[doc = include_str!("../../../docs/storage.md")]
    struct Storage;
    #[doc = include_str!("../../../docs/tenants.md")]
    struct Tenants;
}
