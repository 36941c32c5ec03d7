//! Makes tenants of what their files say.

use std::collections::{HashMap, HashSet};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use remora_host::{
    CodeCache, Compiler, Error, Outcome, Plugin, PluginError, Proxy, ProxyManager, Runtime,
    RuntimeConfig, Scope,
};
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::stamp::Stamp;
use super::tenant::{Made, Tenant};
use super::threads::PluginThreads;
use crate::admission::Admission;
use crate::build::own_plugin;
use crate::config::{BuildError, Config, Settings, Storage, TenantConfig, Timeouts, field};
use crate::gateway::Gateway;
use crate::password::remember;
use crate::router::RoutedPool;
use crate::storage::{OpenStorage, Storages};
use crate::upstream::Trust;

/// How many instances of all plugins there can be: each takes 4 GiB of a process's 128 TiB of addresses.
const MAX_INSTANCES: u32 = 20_000;

/// How many instances of the plugin built in a tenant has at most. Each takes about 100 KB once it is used, and
/// a call keeps one for microseconds.
const MAX_INSTANCES_EACH: u32 = 2;

/// Room for tenants that are made anew while the old ones are still there, and for trying out a change.
const SPARE: u32 = 64;

/// The argument by which this program is a compiler of plugins.
pub(crate) const COMPILE: &str = "compile-plugin";

/// What tenants are made with.
pub(crate) struct Maker {
    pub(super) runtime: Runtime,
    trust: Trust,
    storage: Storages,
    /// How many instances of the plugin built in each tenant has.
    instances: usize,
    pub(super) max_tenants: usize,
    has_code_cache: bool,
    /// Whether state lives behind a network.
    keeps_far_away: bool,
    /// How many plugins are compiled at a time: each takes a processor, and up to a gigabyte.
    compiling: Semaphore,
    /// How many are read from the disk at a time.
    reading: Semaphore,
    /// What plugins of tenants run on.
    threads: PluginThreads,
    /// The plugins of files, so that a thousand tenants may use one.
    plugins: Mutex<HashMap<(PathBuf, Stamp), Plugin>>,
    /// Where compiled code is, while it is only tried out.
    _place: Option<TempDir>,
}

/// Plugins of people who are not trusted are compiled in a process of its own.
fn compiled_apart(directory: PathBuf) -> CodeCache {
    CodeCache {
        directory,
        compiler: Some(Compiler {
            args: vec![COMPILE.into()],
            // This very program, also when another version has been installed in its place meanwhile.
            ..Compiler::new("/proc/self/exe")
        }),
    }
}

impl std::fmt::Debug for Maker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Maker")
            .field("runtime", &self.runtime)
            .field("max_tenants", &self.max_tenants)
            .finish_non_exhaustive()
    }
}

impl Maker {
    pub(super) fn new(config: &Config, trust: Trust) -> Result<Self, BuildError> {
        let cache = config.file.code_cache.clone().map(compiled_apart);
        Self::with(config, trust, config.storage.clone(), cache)
    }

    /// One that touches nothing that the file names: compiled code and state are gone with it. What keeps a plugin from
    /// taking a server's time and memory holds here, too.
    pub(super) fn trial(config: &Config, trust: Trust) -> Result<Self, BuildError> {
        let storage = Storage::memory();
        if config.file.code_cache.is_none() {
            // There will be no plugin.
            return Self::with(config, trust, storage, None);
        }
        let mut private = tempfile::Builder::new();
        let private = private.permissions(Permissions::from_mode(0o700)).tempdir();
        let place = private.map_err(|error| BuildError::Path {
            field: "code_cache",
            path: std::env::temp_dir().display().to_string(),
            error,
        })?;
        let cache = compiled_apart(place.path().to_owned());
        Ok(Self {
            _place: Some(place),
            ..Self::with(config, trust, storage, Some(cache))?
        })
    }

    fn with(
        config: &Config,
        trust: Trust,
        storage: Storage,
        cache: Option<CodeCache>,
    ) -> Result<Self, BuildError> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let cores = u32::try_from(cores).unwrap_or(u32::MAX);
        let most = config.file.limits.max_tenants;
        let each = (MAX_INSTANCES / most).clamp(1, cores.min(MAX_INSTANCES_EACH));
        let runtime = Runtime::new(RuntimeConfig {
            instances: most.saturating_mul(each) + cores.min(1_024) + SPARE,
            cache,
            ..RuntimeConfig::default()
        });
        let threads = PluginThreads::new(most);
        let threads = threads.map_err(|error| PluginError::Runtime(error.to_string()));
        Ok(Self {
            runtime: runtime.map_err(Error::from)?,
            threads: threads.map_err(Error::from)?,
            trust,
            storage: Storages::new(storage),
            keeps_far_away: config.storage.is_remote(),
            instances: each as usize,
            max_tenants: most as usize,
            has_code_cache: config.file.code_cache.is_some(),
            compiling: Semaphore::new((cores as usize / 2).max(1)),
            reading: Semaphore::new(cores as usize),
            plugins: Mutex::default(),
            _place: None,
        })
    }

    /// Makes a tenant, or the one that follows `before`: on the same manager where no other is needed, so that
    /// nothing is lost that can stay. Nothing that is served changes yet.
    pub(super) async fn prepare(
        &self,
        name: &str,
        fields: Arc<TenantConfig>,
        timeouts: Timeouts,
        before: Option<&Tenant>,
    ) -> Result<Prepared, BuildError> {
        fields.sound()?;
        let settings = fields.pool.settings(timeouts);
        let limits = fields.limits;
        let mut secrets = fields.secrets.clone();
        let stamp = fields.plugin().and_then(Stamp::of);
        let old = before.and_then(|before| Some((before, before.made.as_ref()?)));
        if let Some((_, made)) = old {
            remember(&mut secrets, &made.secrets);
        }
        let (gateway, storage, change) = match old {
            Some((before, made)) if runs_on(made, &fields, stamp) => {
                // Tried on a pool that nobody uses, before it is done to the one that is used.
                self.manager(&fields, stamp, None).await?;
                let change = Change {
                    config: fields.pool.config.clone(),
                    proxies: fields.pool.proxies.clone(),
                    settings,
                };
                (before.gateway().clone(), made.storage.clone(), Some(change))
            }
            old => {
                let storage = match old {
                    // Another plugin may not understand what this one has left in its memory.
                    Some((_, made))
                        if !self.storage.is_memory() || made.has_plugin(&fields, stamp) =>
                    {
                        made.storage.clone()
                    }
                    _ => self.storage.open(Some(name))?,
                };
                let (manager, ids) = self.manager(&fields, stamp, Some(&storage)).await?;
                let gateway = Gateway::new(manager, settings, self.trust.clone())
                    .managed_by_file(ids)
                    .with_store(storage.store.clone())
                    .of(name);
                let gateway = match old {
                    Some((before, _)) => gateway.following(before.gateway()),
                    None => gateway,
                };
                (Arc::new(gateway), storage, None)
            }
        };
        let admission = before.and_then(|before| before.pool.admission.as_ref());
        let admission = match admission {
            Some(before) => Admission::following(limits, before),
            None => Admission::new(limits),
        };
        let tenant = Tenant {
            pool: Arc::new(RoutedPool {
                gateway,
                admission: Some(admission),
            }),
            made: Some(Made {
                plugin: stamp,
                secrets,
                storage,
                fields,
            }),
        };
        Ok(Prepared { tenant, change })
    }

    /// A manager of what the fields say, and its proxies; without a storage, one to try it out.
    async fn manager(
        &self,
        fields: &TenantConfig,
        stamp: Option<Stamp>,
        storage: Option<&OpenStorage>,
    ) -> Result<(ProxyManager, Vec<Uuid>), BuildError> {
        let plugin = self.plugin(fields, stamp).await?;
        let plugin = plugin.with_limits(fields.plugin_limits);
        let mut builder = ProxyManager::builder()
            .config(fields.pool.config.clone())
            .unmarked(Outcome::Cancelled)
            .plugin(plugin);
        if let Some(storage) = storage {
            builder = storage.under(builder, Some(fields.storage_bytes));
        }
        let manager = if fields.plugin().is_some() {
            // It may take its time in being made, too.
            let threads = self.threads.handle();
            let apart = builder.instances(1).on_blocking_threads(threads.clone());
            let built = threads.spawn_blocking(move || apart.build()).await;
            built.map_err(|_| Error::from(ending()))??
        } else {
            builder.instances(self.instances).build()?
        };
        let ids = manager.add_proxies(fields.pool.proxies.clone()).await?;
        Ok((manager, ids))
    }

    async fn plugin(
        &self,
        fields: &TenantConfig,
        stamp: Option<Stamp>,
    ) -> Result<Plugin, BuildError> {
        let Some(path) = fields.plugin() else {
            let plugin = match fields.pool.config.scope {
                Scope::Site => self.runtime.builtin_with_sites(),
                _ => self.runtime.builtin(),
            };
            return Ok(plugin.map_err(Error::from)?);
        };
        if self.keeps_far_away {
            let accepted = "left out where the `storage` is behind a network: there a plugin that does not answer \
                            could keep others waiting";
            return Err(field("plugin", path.display(), accepted));
        }
        if !self.has_code_cache {
            let accepted = "left out, unless `code_cache` at the top of remora.toml names a directory: plugins of \
                            tenants are compiled in a process of their own, which leaves the code there";
            return Err(field("plugin", path.display(), accepted));
        }
        let key = stamp.map(|stamp| (path.to_owned(), stamp));
        if let Some(plugin) = key.as_ref().and_then(|key| self.known(key)) {
            return Ok(plugin);
        }
        let (runtime, file) = (self.runtime.clone(), path.to_owned());
        // Files are read whole, and there may be a thousand.
        let mut turn = self.reading.acquire().await;
        let has_code = spawn_blocking(move || runtime.has_code_of(file)).await;
        // What was compiled before does not wait for what takes long.
        if !has_code.unwrap_or(false) {
            drop(turn);
            turn = self.compiling.acquire().await;
        }
        // Another tenant may have brought it meanwhile.
        if let Some(plugin) = key.as_ref().and_then(|key| self.known(key)) {
            return Ok(plugin);
        }
        let (runtime, file) = (self.runtime.clone(), path.to_owned());
        let loaded = spawn_blocking(move || runtime.load_file(file)).await;
        drop(turn);
        let plugin = own_plugin(path, loaded.map_err(|_| Error::from(ending()))?)?;
        if let Some(key) = key {
            self.plugins.lock().insert(key, plugin.clone());
        }
        Ok(plugin)
    }

    fn known(&self, key: &(PathBuf, Stamp)) -> Option<Plugin> {
        self.plugins.lock().get(key).cloned()
    }

    /// Forgets the plugins that none of these use any more.
    pub(super) fn keep_plugins_of<'a>(&self, tenants: impl Iterator<Item = &'a Arc<Tenant>>) {
        let used: HashSet<(&Path, Stamp)> = tenants
            .filter_map(|tenant| Some((tenant.plugin()?, tenant.made.as_ref()?.plugin?)))
            .collect();
        let mut plugins = self.plugins.lock();
        plugins.retain(|(path, stamp), _| used.contains(&(path.as_path(), *stamp)));
    }
}

impl Made {
    /// Whether its plugin is this one.
    fn has_plugin(&self, fields: &TenantConfig, stamp: Option<Stamp>) -> bool {
        let has_sites = |fields: &TenantConfig| fields.pool.config.scope == Scope::Site;
        match fields.plugin() {
            None => self.fields.plugin().is_none() && has_sites(&self.fields) == has_sites(fields),
            Some(_) => self.fields.plugin() == fields.plugin() && self.plugin == stamp,
        }
    }
}

/// A tenant that could be, and what has to be done to the pool that is served before it is.
pub(super) struct Prepared {
    tenant: Tenant,
    /// `None`: its pool is another one.
    change: Option<Change>,
}

struct Change {
    config: remora_host::Config,
    proxies: Vec<Proxy>,
    settings: Settings,
}

impl Prepared {
    /// As [`Tenant::is_made_of`].
    pub(super) fn is_made_of(&self, fields: &TenantConfig) -> bool {
        self.tenant.is_made_of(fields)
    }

    /// Whether it is a change of the pool that is served: calls of its plugin.
    pub(super) fn is_in_place(&self) -> bool {
        self.change.is_some()
    }

    /// From here on the pool that is served is the tenant's as it was prepared.
    pub(super) async fn apply(self) -> Result<Tenant, BuildError> {
        if let Some(change) = self.change {
            let gateway = self.tenant.gateway();
            let changed = gateway.change(change.config, change.proxies, change.settings);
            changed.await?;
        }
        Ok(self.tenant)
    }
}

/// Once `new` is served instead of `old`: the proxies that are gone leave nothing behind. Their breakers would stay
/// for ever in a storage that goes on.
pub(super) async fn forget_proxies(old: &Tenant, new: &Tenant) {
    let (Some(old_made), Some(made)) = (&old.made, &new.made) else {
        return;
    };
    if Arc::ptr_eq(old.gateway(), new.gateway()) {
        return;
    }
    let goes_on = Arc::ptr_eq(&old_made.storage.store, &made.storage.store);
    for id in old
        .gateway()
        .file_proxies()
        .difference(&new.gateway().file_proxies())
    {
        new.gateway().forget(*id);
        if goes_on && let Err(error) = old.gateway().remove_proxy(*id).await {
            tracing::warn!(tenant = old.gateway().tenant().map(|name| &**name), %id, %error, "a breaker is left behind");
        }
    }
}

/// Whether the manager that was made so can be told these fields.
fn runs_on(made: &Made, fields: &TenantConfig, stamp: Option<Stamp>) -> bool {
    let old = &made.fields;
    made.has_plugin(fields, stamp)
        && old.plugin_limits == fields.plugin_limits
        && old.storage_bytes == fields.storage_bytes
        && old.pool.config.strategy == fields.pool.config.strategy
}

fn ending() -> PluginError {
    PluginError::Runtime("the process is ending".into())
}

/// How long a tenant's plugin may take to say how it is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// How long a pool may take that has no neighbour: of many sessions on a server that is far away. Less than those wait
/// who ask for counters (10 s, unless they were told otherwise).
pub(crate) const PATIENCE_ALONE: Duration = Duration::from_secs(5);
