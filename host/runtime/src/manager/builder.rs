//! A manager with everything left to say.

use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use remora_core::{Config, Outcome, Scope, Storage};
use tokio::runtime::Handle;

use super::{ProxyManager, Shared, Views};
use crate::clock::{Clock, SystemClock};
use crate::config::Strategy;
use crate::decisions::{Apart, Decisions, Local};
use crate::error::Error;
use crate::instance::Instance;
use crate::instances::Instances;
use crate::plugin::Plugin;
use crate::remote::{self, FleetClock, RemoteInstances};
use crate::storage::{MemoryProxyStore, RemoteStorage};
use crate::trace::{Event, PinnedClock, Recorder, write_header};

/// Says what a [`ProxyManager`] is made of; what is not said has a default.
#[derive(Default)]
pub struct ProxyManagerBuilder {
    storage: Option<Place>,
    storage_timeout: Option<Duration>,
    clock: Option<Arc<dyn Clock>>,
    config: Config,
    strategy: Option<Strategy>,
    plugin: Option<Plugin>,
    instances: Option<usize>,
    apart: Option<Handle>,
    record: Option<Box<dyn Write + Send>>,
    unmarked: Option<Outcome>,
}

/// Where state lives.
enum Place {
    Local(Arc<dyn Storage + Send + Sync>),
    Remote(Arc<dyn RemoteStorage>),
}

/// How long a decision may take where the storage is behind a network.
const STORAGE_TIMEOUT: Duration = Duration::from_secs(3);

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
        self.storage = Some(Place::Local(storage));
        self
    }

    /// Where sessions and breakers live, behind a network: shared by all managers that use the same. The manager has
    /// to be built inside a tokio runtime, and works on it.
    #[must_use]
    pub fn remote_storage<S: RemoteStorage + 'static>(mut self, storage: Arc<S>) -> Self {
        self.storage = Some(Place::Remote(storage));
        self
    }

    /// How long a decision may take with a [`remote_storage`](Self::remote_storage), all in all; then it fails with
    /// [`StorageError::Unavailable`](crate::StorageError::Unavailable). Default: 3 s.
    #[must_use]
    pub fn storage_timeout(mut self, timeout: Duration) -> Self {
        self.storage_timeout = Some(timeout);
        self
    }

    /// The clock. Default: [`SystemClock`].
    #[must_use]
    pub fn clock<C: Clock + 'static>(mut self, clock: Arc<C>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The settings: a [`ProxyConfig`](crate::ProxyConfig), or a [`Config`]. Default: the defaults of either.
    #[must_use]
    pub fn config(mut self, config: impl Into<Config>) -> Self {
        self.config = config.into();
        self
    }

    /// How new sessions are spread over the pool. Default: as the settings say, and they say round-robin by default.
    #[must_use]
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = Some(strategy);
        self
    }

    /// Who decides. Default: the plugin built in.
    #[must_use]
    pub fn plugin(mut self, plugin: Plugin) -> Self {
        self.plugin = Some(plugin);
        self
    }

    /// How many instances of the plugin serve calls at the same time. Default: one for each core; 32 with a
    /// [`remote_storage`](Self::remote_storage), where a call keeps its instance while it waits.
    #[must_use]
    pub fn instances(mut self, count: usize) -> Self {
        self.instances = Some(count);
        self
    }

    /// Calls run on those threads of `runtime` that may be kept waiting, one for each instance: for a plugin that may
    /// take as long as its [`Limits`](crate::Limits) allow, beside requests that must not wait for it. Without it a
    /// call runs on the thread of who asks, which is faster. With a [`remote_storage`](Self::remote_storage) it is
    /// the same as without.
    #[must_use]
    pub fn on_blocking_threads(mut self, runtime: Handle) -> Self {
        self.apart = Some(runtime);
        self
    }

    /// Records every call as a line of JSON, see [`trace`](crate::trace). Calls wait for each other while
    /// it is on. The storage has to be an empty one; without [`storage`](Self::storage) it is.
    #[must_use]
    pub fn record(mut self, out: impl Write + Send + 'static) -> Self {
        self.record = Some(Box::new(out));
        self
    }

    /// The outcome of a [`ProxyHandle`](crate::ProxyHandle) that is dropped without a mark. Default:
    /// [`Outcome::Failure`]. A server whose futures are dropped when a client goes away chooses [`Outcome::Cancelled`].
    #[must_use]
    pub fn unmarked(mut self, outcome: Outcome) -> Self {
        self.unmarked = Some(outcome);
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
            None if self.config.scope == Scope::Site => Plugin::builtin_with_sites()?,
            None => Plugin::builtin()?,
        };
        let clock = self
            .clock
            .unwrap_or_else(|| Arc::new(SystemClock::default()));
        let strategy = self.strategy.unwrap_or(self.config.strategy);
        let config = Config {
            strategy,
            ..self.config
        };
        let seed = uuid::Uuid::new_v4().as_u64_pair().1;
        let storage = self
            .storage
            .unwrap_or_else(|| Place::Local(Arc::new(MemoryProxyStore::with_seed(seed))));
        let decisions = match storage {
            Place::Local(storage) => {
                let count = self
                    .instances
                    .unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
                let record = self.record.map(|out| (out, seed));
                let local = local(plugin, clock, storage, count, config, record)?;
                match self.apart {
                    None => Decisions::Local(local),
                    Some(runtime) => Decisions::Apart(Apart::new(local, runtime)),
                }
            }
            Place::Remote(_) if self.record.is_some() => {
                return Err(Error::invalid(
                    "record",
                    "a networked storage",
                    "a record of one process only: its storage is not shared",
                ));
            }
            Place::Remote(storage) => {
                // What is wrong with the settings or the plugin shows at once, and needs no network.
                let memory = Arc::new(MemoryProxyStore::default());
                Instance::start(&plugin, clock.clone(), memory)?.configure(&config)?;
                let clock = Arc::new(FleetClock::new(storage.clone(), clock));
                let count = self.instances.unwrap_or(remote::INSTANCES);
                let patience = self.storage_timeout.unwrap_or(STORAGE_TIMEOUT);
                Decisions::Remote(RemoteInstances::new(
                    plugin, clock, storage, count, config, patience,
                )?)
            }
        };
        let shared = Arc::new(Shared {
            decisions,
            strategy,
            unmarked: self.unmarked.unwrap_or(Outcome::Failure),
        });
        let views = Arc::new(Views::new(&shared));
        Ok(ProxyManager { shared, views })
    }
}

/// Instances on a storage of this process, and the record of their calls.
fn local(
    plugin: Plugin,
    mut clock: Arc<dyn Clock>,
    storage: Arc<dyn Storage + Send + Sync>,
    count: usize,
    config: Config,
    record: Option<(Box<dyn Write + Send>, u64)>,
) -> Result<Local, Error> {
    let mut recorder = None;
    if let Some((mut out, seed)) = record {
        write_header(&mut out, seed).map_err(|error| {
            Error::invalid("record", error.to_string(), "a file that can be written")
        })?;
        let pinned = Arc::new(PinnedClock::new(clock));
        recorder = Some(Recorder::new(pinned.clone(), out));
        clock = pinned;
    }
    let configure = Event::Configure(Box::new(config.clone()));
    let instances = Instances::new(plugin, clock, storage, count, config)?;
    if let Some(recorder) = &recorder {
        recorder.record(configure, || Ok(()))?;
    }
    Ok(Local {
        instances,
        recorder,
    })
}
