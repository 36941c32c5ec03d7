//! A manager with everything left to say.

use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::thread;

use remora_core::{Scope, Storage};

use super::{ProxyManager, Shared, Views};
use crate::clock::{Clock, SystemClock};
use crate::config::{ProxyConfig, Strategy};
use crate::error::Error;
use crate::instances::Instances;
use crate::plugin::Plugin;
use crate::storage::MemoryProxyStore;
use crate::trace::{Event, PinnedClock, Recorder, write_header};

/// Says what a [`ProxyManager`] is made of; what is not said has a default.
#[derive(Default)]
pub struct ProxyManagerBuilder {
    storage: Option<Arc<dyn Storage + Send + Sync>>,
    clock: Option<Arc<dyn Clock>>,
    config: ProxyConfig,
    strategy: Strategy,
    plugin: Option<Plugin>,
    instances: Option<usize>,
    record: Option<Box<dyn Write + Send>>,
}

impl fmt::Debug for ProxyManagerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyManagerBuilder")
            .field("config", &self.config)
            .field("strategy", &self.strategy)
            .field("plugin", &self.plugin)
            .field("instances", &self.instances)
            .finish_non_exhaustive()
    }
}

impl ProxyManagerBuilder {
    /// Where sessions and breakers live. Default: a [`MemoryProxyStore`] of its own.
    #[must_use]
    pub fn storage<S: Storage + Send + Sync + 'static>(mut self, storage: Arc<S>) -> Self {
        self.storage = Some(storage);
        self
    }

    /// The clock. Default: [`SystemClock`].
    #[must_use]
    pub fn clock<C: Clock + 'static>(mut self, clock: Arc<C>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The settings. Default: [`ProxyConfig::default`].
    #[must_use]
    pub fn config(mut self, config: ProxyConfig) -> Self {
        self.config = config;
        self
    }

    /// How new sessions are spread over the pool. Default: round-robin.
    #[must_use]
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Who decides. Default: the plugin built in.
    #[must_use]
    pub fn plugin(mut self, plugin: Plugin) -> Self {
        self.plugin = Some(plugin);
        self
    }

    /// How many instances of the plugin serve calls at the same time. Default: one for each core.
    #[must_use]
    pub fn instances(mut self, count: usize) -> Self {
        self.instances = Some(count);
        self
    }

    /// Records every call as a line of JSON, see [`trace`](crate::trace). Calls wait for each other while
    /// it is on. The storage has to be an empty one; without [`storage`](Self::storage) it is.
    #[must_use]
    pub fn record(mut self, out: impl Write + Send + 'static) -> Self {
        self.record = Some(Box::new(out));
        self
    }

    /// Makes the manager.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] names the first setting that is not accepted; [`Error::Plugin`] when the plugin
    /// cannot run.
    pub fn build(self) -> Result<ProxyManager, Error> {
        let plugin = match self.plugin {
            Some(plugin) => plugin,
            None if self.config.sticky_scope == Scope::Site => Plugin::builtin_with_sites()?,
            None => Plugin::builtin()?,
        };
        let mut clock = self
            .clock
            .unwrap_or_else(|| Arc::new(SystemClock::default()));
        let seed = uuid::Uuid::new_v4().as_u64_pair().1;
        let storage = self
            .storage
            .unwrap_or_else(|| Arc::new(MemoryProxyStore::with_seed(seed)));
        let mut recorder = None;
        if let Some(mut out) = self.record {
            write_header(&mut out, seed).map_err(|error| {
                Error::invalid("record", error.to_string(), "a file that can be written")
            })?;
            let pinned = Arc::new(PinnedClock::new(clock));
            recorder = Some(Recorder::new(pinned.clone(), out));
            clock = pinned;
        }
        let count = self
            .instances
            .unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
        let config = self.config.for_plugin(self.strategy);
        let configure = Event::Configure(Box::new(config.clone()));
        let instances = Instances::new(plugin, clock, storage, count, config)?;
        if let Some(recorder) = &recorder {
            recorder.record(configure, || Ok(()))?;
        }
        let shared = Arc::new(Shared {
            instances,
            strategy: self.strategy,
            recorder,
        });
        let views = Arc::new(Views::new(&shared));
        Ok(ProxyManager { shared, views })
    }
}
