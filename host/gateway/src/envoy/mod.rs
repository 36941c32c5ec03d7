//! Configuration for an Envoy with remora's filter, from the same `remora.toml`.
//!
//! | module | what it makes |
//! |---|---|
//! | `plan` | the input of the others |
//! | `pool` | the proxies as Envoy has to see them |
//! | `filter` | the filter's own configuration: ids, addresses and weights; no secret |
//! | `cluster` | the cluster that the pool is, its endpoints and their credentials |
//! | `sockets` | how the proxies are spoken to: in the clear, or over TLS |
//! | `listener` | where clients connect |
//! | `routes` | how long an answer may take, and what is sent again |
//! | `bootstrap` | all of it |
//! | `files` | writes it so that a running Envoy takes it up |

mod bootstrap;
mod cluster;
mod files;
mod filter;
mod listener;
mod plan;
mod pool;
mod routes;
mod sockets;

use std::path::Path;

use serde_json::Value;

use crate::config::{BuildError, Config};
use crate::stdout::Failure;
use plan::Place;

pub use plan::Plan;

/// The filter, for every scope but `site`.
const FILTER: &[u8] = remora_artifacts::ENVOY_FILTER;
/// The filter with the public suffix list.
const FILTER_WITH_SITES: &[u8] = remora_artifacts::ENVOY_FILTER_WITH_SITES;

impl<'a> Plan<'a> {
    /// The plan of a configuration that was checked for Envoy. Names of proxies are resolved now.
    ///
    /// # Errors
    ///
    /// [`BuildError`] is the first proxy that Envoy cannot use.
    pub fn new(config: &'a Config) -> Result<Self, BuildError> {
        let pool = config.pool.as_ref().ok_or(BuildError::NoProxy)?;
        Ok(Self {
            config,
            pool: pool::read(config)?,
            statuses: pool.statuses.clone(),
            attempts: pool.retry.attempts,
        })
    }

    /// A complete bootstrap in one document. `wasm` is where the module is.
    ///
    /// # Errors
    ///
    /// [`BuildError`] names the first value that Envoy cannot do.
    pub fn bootstrap(&self, wasm: &Path) -> Result<Value, BuildError> {
        bootstrap::bootstrap(self, &Place::Inline(wasm.to_owned()))
    }

    /// The module that the configuration wants.
    pub fn module(&self) -> &'static [u8] {
        match self.config.file.sticky.scope {
            remora_host::Scope::Site => FILTER_WITH_SITES,
            _ => FILTER,
        }
    }

    /// Writes everything into a directory that Envoy watches: files that are there already are replaced, each
    /// at once, in an order in which no request meets half of a change.
    ///
    /// # Errors
    ///
    /// What is wrong with the configuration or the directory.
    pub async fn write(&self, dir: &Path) -> Result<(), Failure> {
        files::write(self, dir).await
    }
}
