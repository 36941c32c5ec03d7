//! A plugin: a compiled component of the world `remora:egress/plugin`.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use remora_core::Storage;
use tokio::time::Instant;
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store, StoreLimitsBuilder,
};

use crate::bindings::PluginPre;
use crate::clock::Clock;
use crate::error::PluginError;
use crate::imports::{self, HostState};
use crate::instance::Instance;
use crate::remote::{self, RemoteInstance, RemoteState};
use crate::storage::RemoteStorage;

/// How often the epoch moves: the grain of [`Limits::call_timeout`].
const EPOCH: Duration = Duration::from_millis(10);

/// How many instances of all plugins can be alive in one process.
const MAX_INSTANCES: u32 = 4_000;

/// What an instance of a plugin may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a call may run before it traps. Counted in steps of 10 ms.
    pub call_timeout: Duration,
    /// How many bytes of memory it may have. The plugin built in starts with 17 pages, 1.1 MB, most of it
    /// stack that is never touched.
    pub memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            call_timeout: Duration::from_secs(5),
            memory: 64 << 20,
        }
    }
}

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
    /// Compiles a component of the world `remora:egress/plugin`, in binary or text form.
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
        let engine = engine()?;
        let component = Component::from_binary(engine, bytes)
            .map_err(|error| PluginError::Compile(error.root_cause().to_string()))?;
        let unwanted: Vec<String> = component
            .component_type()
            .imports(engine)
            .map(|(name, _)| name.to_owned())
            .filter(|name| !imports::PROVIDED.contains(&name.as_str()))
            .collect();
        if !unwanted.is_empty() {
            return Err(PluginError::Imports(unwanted));
        }
        let world = |error: wasmtime::Error| PluginError::World(format!("{error:#}"));
        let mut linker = Linker::new(engine);
        imports::link(&mut linker).map_err(world)?;
        let pre = linker.instantiate_pre(&component).map_err(world)?;
        let mut linker = Linker::new(engine);
        remote::link(&mut linker).map_err(world)?;
        let remote_pre = linker.instantiate_pre(&component).map_err(world)?;
        Ok(Self {
            pre: Arc::new(PluginPre::new(pre).map_err(world)?),
            remote_pre,
            limits: Limits::default(),
        })
    }

    /// Reads a file and compiles it, see [`Plugin::from_bytes`].
    ///
    /// # Errors
    ///
    /// [`PluginError`], as there, and when the file cannot be read.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, PluginError> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|error| PluginError::Read {
            path: path.display().to_string(),
            reason: error.to_string(),
        })?;
        Self::from_bytes(&bytes)
    }

    /// The plugin built in, without the public suffix list. Compiled once in a process.
    ///
    /// # Errors
    ///
    /// [`PluginError`] when this machine cannot run WebAssembly (no memory for the allocator, say).
    pub fn builtin() -> Result<Self, PluginError> {
        static PLUGIN: OnceLock<Result<Plugin, PluginError>> = OnceLock::new();
        let plugin = PLUGIN.get_or_init(|| Self::from_bytes(remora_artifacts::PLUGIN));
        plugin.clone()
    }

    /// The plugin built in, with the public suffix list that the scope `site` needs. Compiled once in a
    /// process.
    ///
    /// # Errors
    ///
    /// As [`Plugin::builtin`].
    pub fn builtin_with_sites() -> Result<Self, PluginError> {
        static PLUGIN: OnceLock<Result<Plugin, PluginError>> = OnceLock::new();
        let plugin = PLUGIN.get_or_init(|| Self::from_bytes(remora_artifacts::PLUGIN_WITH_SITES));
        plugin.clone()
    }

    /// The same plugin with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    pub(crate) fn instantiate(
        &self,
        clock: Arc<dyn Clock>,
        storage: Arc<dyn Storage + Send + Sync>,
    ) -> Result<Instance, PluginError> {
        let limits = StoreLimitsBuilder::new()
            .memory_size(self.limits.memory)
            .build();
        let state = HostState {
            clock,
            storage,
            limits,
        };
        let mut store = Store::new(self.pre.engine(), state);
        store.limiter(|state| &mut state.limits);
        let ticks = self.ticks();
        store.set_epoch_deadline(ticks);
        let exports = self
            .pre
            .instantiate(&mut store)
            .map_err(|error| PluginError::Start(error.root_cause().to_string()))?;
        Ok(Instance::new(store, exports, ticks))
    }

    /// [`Plugin::instantiate`] on a storage that calls wait for.
    pub(crate) async fn instantiate_remote(
        &self,
        clock: Arc<dyn Clock>,
        storage: Arc<dyn RemoteStorage>,
    ) -> Result<RemoteInstance, PluginError> {
        let limits = StoreLimitsBuilder::new()
            .memory_size(self.limits.memory)
            .build();
        let state = RemoteState {
            clock,
            storage,
            limits,
            deadline: Instant::now(),
            snapshot: None,
        };
        let mut store = Store::new(self.remote_pre.engine(), state);
        store.limiter(|state| &mut state.limits);
        store.set_epoch_deadline(self.ticks());
        let failed = |error: wasmtime::Error| PluginError::Start(error.root_cause().to_string());
        let instance = self.remote_pre.instantiate_async(&mut store).await;
        let instance = instance.map_err(failed)?;
        RemoteInstance::new(store, &instance, self.ticks()).map_err(failed)
    }

    /// How many ticks of the epoch a call may last.
    fn ticks(&self) -> u64 {
        let timeout = self.limits.call_timeout.as_millis();
        let ticks = u64::try_from(timeout.div_ceil(EPOCH.as_millis()));
        // One more: the first tick may come at once.
        ticks.unwrap_or(u64::MAX).saturating_add(1)
    }
}

/// One engine for the process: its settings are the host's, not a plugin's.
fn engine() -> Result<&'static Engine, PluginError> {
    static ENGINE: OnceLock<Result<Engine, PluginError>> = OnceLock::new();
    let engine = ENGINE.get_or_init(|| {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(MAX_INSTANCES)
            .total_core_instances(MAX_INSTANCES * 4)
            .total_memories(MAX_INSTANCES)
            .total_tables(MAX_INSTANCES * 2)
            .total_stacks(MAX_INSTANCES)
            .max_memory_size(1 << 30);
        let mut config = Config::new();
        config
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
            .epoch_interruption(true)
            .wasm_backtrace_max_frames(None);
        let engine = Engine::new(&config).map_err(|e| PluginError::Start(format!("{e:#}")))?;
        let weak = engine.weak();
        thread::Builder::new()
            .name("remora-epoch".into())
            .spawn(move || {
                while let Some(engine) = weak.upgrade() {
                    engine.increment_epoch();
                    drop(engine);
                    thread::sleep(EPOCH);
                }
            })
            .map_err(|e| PluginError::Start(e.to_string()))?;
        Ok(engine)
    });
    engine.as_ref().map_err(Clone::clone)
}
