//! Configuration for an Envoy with remora's filter, from the same `remora.toml`.
//!
//! | module | what it makes |
//! |---|---|
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
mod pool;
mod routes;
mod sockets;

use std::path::{Path, PathBuf};

use remora_http::StatusClassifier;
use serde_json::Value;

use crate::config::{BuildError, File};
use pool::Upstream;

/// The filter, for every scope but `site`.
const FILTER: &[u8] = remora_artifacts::ENVOY_FILTER;
/// The filter with the public suffix list.
const FILTER_WITH_SITES: &[u8] = remora_artifacts::ENVOY_FILTER_WITH_SITES;

/// The request header between the filter and the load balancing policy.
const STEERING: &str = "x-remora-upstream";
/// The name of the cluster, of the filter and of the VM.
const NAME: &str = "remora";

/// What an Envoy with remora's filter is made of.
#[derive(Debug)]
pub struct Plan<'a> {
    file: &'a File,
    pool: Vec<Upstream>,
    statuses: StatusClassifier,
}

/// Where the parts of a configuration are.
#[derive(Clone, Debug)]
enum Place {
    /// All of it in one document; the module is this file.
    Inline(PathBuf),
    /// In a directory that Envoy watches.
    Dir(PathBuf),
}

impl Place {
    fn wasm(&self) -> PathBuf {
        match self {
            Self::Inline(wasm) => wasm.clone(),
            Self::Dir(dir) => dir.join("remora_envoy.wasm"),
        }
    }
}

impl<'a> Plan<'a> {
    /// Reads what the file says about Envoy. Names of proxies are resolved now.
    ///
    /// # Errors
    ///
    /// [`BuildError`] names the first value that Envoy cannot do.
    pub fn new(file: &'a File) -> Result<Self, BuildError> {
        file.check_for_envoy()?;
        file.envoy_addresses()?;
        let statuses = file.pool().settings(file.timeouts()?)?.statuses;
        let pool = pool::read(file)?;
        Ok(Self {
            file,
            pool,
            statuses,
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
        match self.file.sticky.scope {
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
    pub async fn write(&self, dir: &Path) -> Result<(), crate::cli::Failure> {
        files::write(self, dir).await
    }
}
