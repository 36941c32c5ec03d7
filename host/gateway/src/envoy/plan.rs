//! Input of the generator.

use std::path::PathBuf;

use remora_http::StatusClassifier;

use super::pool::Upstream;
use crate::config::Config;

/// The request header between the filter and the load balancing policy.
pub(super) const STEERING: &str = "x-remora-upstream";
/// The name of the cluster, of the filter and of the VM.
pub(super) const NAME: &str = "remora";

/// Input of the generator: the configuration, its proxies as Envoy sees them, the meaning of statuses.
#[derive(Debug)]
pub struct Plan<'a> {
    pub(super) config: &'a Config,
    pub(super) pool: Vec<Upstream>,
    pub(super) statuses: StatusClassifier,
    /// Through how many more proxies a request may go.
    pub(super) attempts: u32,
}

/// Output of the generator: one document, or a directory of files.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// All of it in one document; the module is this file.
    Inline(PathBuf),
    /// In a directory that Envoy watches.
    Dir(PathBuf),
}

impl Place {
    pub(super) fn wasm(&self) -> PathBuf {
        match self {
            Self::Inline(wasm) => wasm.clone(),
            Self::Dir(dir) => dir.join("remora_envoy.wasm"),
        }
    }
}
