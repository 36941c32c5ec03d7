//! What the plugins of a process share: a compiler, places for instances, a clock that ends long calls.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use remora_core::bounded;

use crate::bindings::PluginPre;
use crate::code_cache::CodeCache;
use crate::compiler::{compile_error, settings};
use crate::epoch::Epoch;
use crate::error::PluginError;
use crate::imports;
use crate::loaded::Loaded;
use crate::plugin::{Code, Plugin};
use crate::remote;

/// What a component may be made of, so that no plugin takes the places of others. Components that
/// wit-component makes of a module have up to 4 core instances, 1 memory and 2 tables; those of
/// componentize-js a few more.
const CORE_INSTANCES: u32 = 16;
const MEMORIES: u32 = 1;
const TABLES: u32 = 4;

/// How much room a [`Runtime`] has. Address space is set aside for all of it at the start; memory is used as
/// plugins use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeConfig {
    /// How many instances of all plugins can be alive; each takes 4 GiB of address space, none of it memory.
    pub instances: u32,
    /// The most that any plugin's [`Limits::memory`](crate::Limits::memory) can give it.
    pub memory: usize,
    /// The most that any plugin's [`Limits::table_elements`](crate::Limits::table_elements) can give it.
    pub table_elements: usize,
    /// The largest component that is read, in bytes.
    pub component_size: u64,
    /// Where compiled code is kept. `None`: it is compiled anew in every process, and in it.
    pub cache: Option<CodeCache>,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            instances: 4_000,
            memory: 1 << 30,
            table_elements: 50_000,
            component_size: 32 << 20,
            cache: None,
        }
    }
}

/// What the plugins of a process share. Cheap to clone; clones are the same runtime.
#[derive(Clone)]
pub struct Runtime(Arc<Inner>);

struct Inner {
    engine: Engine,
    epoch: Epoch,
    config: RuntimeConfig,
    loaded: Loaded<Code>,
    builtin: OnceLock<Result<Plugin, PluginError>>,
    builtin_with_sites: OnceLock<Result<Plugin, PluginError>>,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Runtime").field(&self.0.config).finish()
    }
}

impl Runtime {
    /// Sets the room aside.
    ///
    /// # Errors
    ///
    /// [`PluginError::Runtime`] when the system has not got that much, [`PluginError::Cache`] when somebody
    /// else could write to the directory of the cache.
    pub fn new(config: RuntimeConfig) -> Result<Self, PluginError> {
        let mut settings = settings();
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(config.instances)
            .max_core_instances_per_component(CORE_INSTANCES)
            .total_core_instances(config.instances.saturating_mul(CORE_INSTANCES))
            .max_memories_per_component(MEMORIES)
            .total_memories(config.instances.saturating_mul(MEMORIES))
            .max_tables_per_component(TABLES)
            .total_tables(config.instances.saturating_mul(TABLES))
            .table_elements(config.table_elements)
            .total_stacks(config.instances)
            .max_memory_size(config.memory);
        settings.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        if let Some(cache) = &config.cache {
            settings.cache(Some(cache.open()?));
        }
        let engine =
            Engine::new(&settings).map_err(|error| PluginError::Runtime(format!("{error:#}")))?;
        let epoch =
            Epoch::start(&engine).map_err(|error| PluginError::Runtime(error.to_string()))?;
        Ok(Self(Arc::new(Inner {
            engine,
            epoch,
            config,
            loaded: Loaded::default(),
            builtin: OnceLock::new(),
            builtin_with_sites: OnceLock::new(),
        })))
    }

    /// The one that [`Plugin::from_bytes`] and managers without a plugin use: default room, no cache.
    ///
    /// # Errors
    ///
    /// As [`Runtime::new`].
    pub fn shared() -> Result<Self, PluginError> {
        static SHARED: OnceLock<Result<Runtime, PluginError>> = OnceLock::new();
        let runtime = SHARED.get_or_init(|| Self::new(RuntimeConfig::default()));
        runtime.clone()
    }

    /// Compiles a component of the world `remora:egress/plugin`, unless a plugin of the same bytes is in use:
    /// then both have one copy of the code.
    ///
    /// # Errors
    ///
    /// [`PluginError`] says what is wrong with it.
    pub fn load(&self, bytes: &[u8]) -> Result<Plugin, PluginError> {
        let (engine, config) = (&self.0.engine, &self.0.config);
        let size = bytes.len() as u64;
        if size > config.component_size {
            return Err(too_large(size, config.component_size));
        }
        let code = self.0.loaded.get(bytes, || {
            if let Some(cache) = &config.cache {
                cache.fill(engine, bytes)?;
            }
            self.link(bytes)
        })?;
        Ok(Plugin::new(code))
    }

    /// One that comes with the library.
    fn own(&self, bytes: &[u8]) -> Result<Plugin, PluginError> {
        let code = self.0.loaded.get(bytes, || {
            if let Some(cache) = &self.0.config.cache {
                cache.fill_here(&self.0.engine, bytes)?;
            }
            self.link(bytes)
        })?;
        Ok(Plugin::new(code))
    }

    /// The component is one that may be compiled in this process, or was compiled already.
    fn link(&self, bytes: &[u8]) -> Result<Code, PluginError> {
        let engine = &self.0.engine;
        let component =
            Component::from_binary(engine, bytes).map_err(|error| compile_error(&error))?;
        let unwanted: Vec<String> = component
            .component_type()
            .imports(engine)
            .map(|(name, _)| bounded(name))
            .filter(|name| !imports::PROVIDED.contains(&name.as_str()))
            .collect();
        if !unwanted.is_empty() {
            return Err(PluginError::Imports(unwanted));
        }
        let world = |error: wasmtime::Error| PluginError::World(bounded(&format!("{error:#}")));
        let mut linker = Linker::new(engine);
        imports::link(&mut linker).map_err(world)?;
        let pre = linker.instantiate_pre(&component).map_err(world)?;
        let mut linker = Linker::new(engine);
        remote::imports::link(&mut linker).map_err(world)?;
        let remote_pre = linker.instantiate_pre(&component).map_err(world)?;
        Ok(Code {
            pre: PluginPre::new(pre).map_err(world)?,
            remote_pre,
            epoch: self.0.epoch.clone(),
        })
    }

    /// Reads a file and compiles it, see [`Runtime::load`].
    ///
    /// # Errors
    ///
    /// [`PluginError`], as there, and when the file cannot be read.
    pub fn load_file(&self, path: impl AsRef<Path>) -> Result<Plugin, PluginError> {
        self.load(&self.read(path.as_ref())?)
    }

    /// Whether a [`CodeCache`] keeps what its [`Compiler`](crate::Compiler) has made of a file: loading it takes
    /// milliseconds.
    pub fn has_code_of(&self, path: impl AsRef<Path>) -> bool {
        let Some(cache) = &self.0.config.cache else {
            return false;
        };
        let bytes = self.read(path.as_ref());
        bytes.is_ok_and(|bytes| cache.has(&self.0.engine, &bytes))
    }

    /// A file that may be a component.
    fn read(&self, path: &Path) -> Result<Vec<u8>, PluginError> {
        let limit = self.0.config.component_size;
        let read = || {
            // What is no file may never give a byte, not even an end.
            if !std::fs::metadata(path)?.is_file() {
                return Err(std::io::Error::other("it is not a regular file"));
            }
            let file = File::open(path)?;
            let size = file.metadata()?.len();
            let mut bytes = Vec::new();
            if size <= limit {
                // One more, for a file that grows meanwhile.
                file.take(limit + 1).read_to_end(&mut bytes)?;
            }
            Ok((size.max(bytes.len() as u64), bytes))
        };
        let (size, bytes) = read().map_err(|error: std::io::Error| PluginError::Read {
            path: path.display().to_string(),
            reason: error.to_string(),
        })?;
        if size > limit {
            return Err(too_large(size, limit));
        }
        Ok(bytes)
    }

    /// The plugin built in, without the public suffix list. Compiled once.
    ///
    /// # Errors
    ///
    /// [`PluginError`] when this machine cannot run WebAssembly.
    pub fn builtin(&self) -> Result<Plugin, PluginError> {
        let load = || self.own(remora_artifacts::PLUGIN);
        self.0.builtin.get_or_init(load).clone()
    }

    /// The plugin built in, with the public suffix list that the scope `site` needs. Compiled once.
    ///
    /// # Errors
    ///
    /// As [`Runtime::builtin`].
    pub fn builtin_with_sites(&self) -> Result<Plugin, PluginError> {
        let load = || self.own(remora_artifacts::PLUGIN_WITH_SITES);
        self.0.builtin_with_sites.get_or_init(load).clone()
    }
}

fn too_large(size: u64, limit: u64) -> PluginError {
    PluginError::TooLarge { size, limit }
}
