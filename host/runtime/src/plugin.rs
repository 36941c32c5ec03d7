//! A plugin: a compiled component of the world `remora:egress/plugin`.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use remora_core::Storage;
use tokio::time::Instant;
use wasmtime::component::InstancePre;
use wasmtime::{Store, StoreLimits, StoreLimitsBuilder};

use crate::bindings::PluginPre;
use crate::clock::Clock;
use crate::error::PluginError;
use crate::imports::{Allowance, HostState};
use crate::instance::Instance;
use crate::limits::Limits;
use crate::remote::{RemoteInstance, RemoteState};
use crate::runtime::{EPOCH, Runtime};
use crate::storage::RemoteStorage;
use crate::text::bounded;

/// A compiled plugin, ready to be instantiated any number of times. Cheap to clone.
#[derive(Clone)]
pub struct Plugin {
    pre: Arc<PluginPre<HostState>>,
    /// The same, for storage behind a network.
    remote_pre: InstancePre<RemoteState>,
    limits: Limits,
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Plugin {
    pub(crate) fn new(pre: PluginPre<HostState>, remote_pre: InstancePre<RemoteState>) -> Self {
        Self {
            pre: Arc::new(pre),
            remote_pre,
            limits: Limits::default(),
        }
    }

    /// Compiles a component of the world `remora:egress/plugin` on the shared [`Runtime`].
    ///
    /// ```
    /// use remora_host::Plugin;
    ///
    /// let refused = Plugin::from_bytes(b"not a component").unwrap_err();
    /// assert!(refused.to_string().starts_with("not a WebAssembly component"));
    /// # Ok::<(), remora_host::PluginError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`PluginError`] when it is not a component, imports more than a clock and storage, or lacks
    /// an export.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PluginError> {
        Runtime::shared()?.load(bytes)
    }

    /// Reads a file and compiles it, see [`Plugin::from_bytes`].
    ///
    /// # Errors
    ///
    /// [`PluginError`], as there, and when the file cannot be read.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, PluginError> {
        Runtime::shared()?.load_file(path)
    }

    /// The plugin built in, without the public suffix list. Compiled once in a process.
    ///
    /// # Errors
    ///
    /// [`PluginError`] when this machine cannot run WebAssembly (no memory for the allocator, say).
    pub fn builtin() -> Result<Self, PluginError> {
        Runtime::shared()?.builtin()
    }

    /// The plugin built in, with the public suffix list that the scope `site` needs. Compiled once in a
    /// process.
    ///
    /// # Errors
    ///
    /// As [`Plugin::builtin`].
    pub fn builtin_with_sites() -> Result<Self, PluginError> {
        Runtime::shared()?.builtin_with_sites()
    }

    /// The same plugin with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What its instances may use.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn instantiate(
        &self,
        clock: Arc<dyn Clock>,
        storage: Arc<dyn Storage + Send + Sync>,
    ) -> Result<Instance, PluginError> {
        let state = HostState {
            clock,
            storage,
            limits: self.store_limits(),
            imports: Allowance::new(self.limits.import_calls),
        };
        let mut store = Store::new(self.pre.engine(), state);
        store.limiter(|state| &mut state.limits);
        store.set_hostcall_fuel(self.limits.transfer);
        let ticks = self.ticks();
        store.set_epoch_deadline(ticks);
        let exports = self
            .pre
            .instantiate(&mut store)
            .map_err(|error| PluginError::Start(bounded(&error.root_cause().to_string())))?;
        Ok(Instance::new(store, exports, ticks))
    }

    /// [`Plugin::instantiate`] on a storage that calls wait for.
    pub(crate) async fn instantiate_remote(
        &self,
        clock: Arc<dyn Clock>,
        storage: Arc<dyn RemoteStorage>,
    ) -> Result<RemoteInstance, PluginError> {
        let state = RemoteState {
            clock,
            storage,
            limits: self.store_limits(),
            imports: Allowance::new(self.limits.import_calls),
            deadline: Instant::now(),
            snapshot: None,
        };
        let mut store = Store::new(self.remote_pre.engine(), state);
        store.limiter(|state| &mut state.limits);
        store.set_hostcall_fuel(self.limits.transfer);
        store.set_epoch_deadline(self.ticks());
        let failed =
            |error: wasmtime::Error| PluginError::Start(bounded(&error.root_cause().to_string()));
        let instance = self.remote_pre.instantiate_async(&mut store).await;
        let instance = instance.map_err(failed)?;
        RemoteInstance::new(store, &instance, self.ticks()).map_err(failed)
    }

    fn store_limits(&self) -> StoreLimits {
        StoreLimitsBuilder::new()
            .memory_size(self.limits.memory)
            .table_elements(self.limits.table_elements)
            .build()
    }

    /// How many ticks of the epoch a call may last.
    fn ticks(&self) -> u64 {
        let timeout = self.limits.call_timeout.as_millis();
        let ticks = u64::try_from(timeout.div_ceil(EPOCH.as_millis()));
        // One more: the first tick may come at once.
        ticks.unwrap_or(u64::MAX).saturating_add(1)
    }
}
