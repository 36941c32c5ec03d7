//! The storage of each pool, opened: a part of its own of the one that the file names.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use remora_host::ProxyManagerBuilder;
use remora_host::storage::{
    Degrading, MemoryProxyStore, OnStorageError, Quota, RedbError, RedbOptions, RedbStore,
    RedisStorage,
};
use tokio::runtime::Handle;

use crate::config::{BuildError, Storage, StorageUrl};
use crate::store::Store;

/// Opens the storage of each pool apart.
#[derive(Clone)]
pub(crate) struct Storages {
    config: Storage,
    /// The files that are open: one that a tenant has left may be taken up again before its last request is over.
    files: Arc<Mutex<HashMap<PathBuf, Weak<RedbStore>>>>,
}

/// The open storage of one pool. Cheap to clone; clones are the same storage.
#[derive(Clone)]
pub(crate) struct OpenStorage {
    medium: Medium,
    timeout: Option<Duration>,
    /// As its operator sees it.
    pub(crate) store: Arc<Store>,
}

#[derive(Clone)]
enum Medium {
    Memory(Arc<MemoryProxyStore>),
    File(Arc<RedbStore>),
    Server(Arc<RedisStorage>),
    OptionalServer(Arc<Degrading<RedisStorage>>),
}

impl Storages {
    pub(crate) fn new(config: Storage) -> Self {
        Self {
            config,
            files: Arc::default(),
        }
    }

    /// Whether state ends with the process.
    pub(crate) fn is_memory(&self) -> bool {
        self.config.is_memory()
    }

    /// Opens the storage of a tenant, or that of the pool at the top.
    pub(crate) fn open(&self, tenant: Option<&str>) -> Result<OpenStorage, BuildError> {
        let failed = |reason: String| BuildError::Storage { reason };
        let (medium, store) = match &self.config.url {
            StorageUrl::Memory => {
                let memory = match tenant {
                    None => MemoryProxyStore::default(),
                    Some(_) => MemoryProxyStore::compact(),
                };
                (Medium::Memory(Arc::new(memory)), Store::default())
            }
            StorageUrl::File(path, durability) => {
                let options = RedbOptions {
                    durability: *durability,
                    on_storage_error: self.config.on_error,
                    ..RedbOptions::default()
                };
                let path = match tenant {
                    None => path.clone(),
                    Some(name) => tenant_file(path, name).map_err(|e| failed(e.to_string()))?,
                };
                let file = self
                    .file(path, options)
                    .map_err(|e| failed(e.to_string()))?;
                (Medium::File(file.clone()), Store::file(file))
            }
            StorageUrl::Redis(options) => {
                let mut options = options.clone();
                if let Some(name) = tenant {
                    options.prefix = format!("{}:{name}", options.prefix);
                }
                let redis = RedisStorage::open(options).map_err(|e| failed(e.to_string()))?;
                let redis = Arc::new(redis);
                let health = redis.health().clone();
                if self.config.on_error == OnStorageError::Refuse {
                    (Medium::Server(redis), Store::server(health))
                } else {
                    let degrading = Arc::new(Degrading::new(redis, Handle::current()));
                    let alone = degrading.health().clone();
                    let store = Store::optional_server(health, alone);
                    (Medium::OptionalServer(degrading), store)
                }
            }
        };
        Ok(OpenStorage {
            medium,
            timeout: self.config.timeout,
            store: Arc::new(store),
        })
    }
}

impl Storages {
    fn file(&self, path: PathBuf, options: RedbOptions) -> Result<Arc<RedbStore>, RedbError> {
        let mut files = self.files.lock();
        files.retain(|_, file| file.strong_count() > 0);
        if let Some(file) = files.get(&path).and_then(Weak::upgrade) {
            return Ok(file);
        }
        let file = Arc::new(RedbStore::open(&path, options)?);
        files.insert(path, Arc::downgrade(&file));
        Ok(file)
    }
}

/// `state.redb.tenants/NAME.redb` beside `state.redb`.
fn tenant_file(path: &Path, name: &str) -> std::io::Result<PathBuf> {
    let mut directory = path.as_os_str().to_owned();
    directory.push(".tenants");
    let directory = PathBuf::from(directory);
    std::fs::create_dir_all(&directory)?;
    Ok(directory.join(format!("{name}.redb")))
}

impl OpenStorage {
    /// Hands it to a manager that is being built. `quota`: how many bytes it may keep, where that is counted here.
    pub(crate) fn under(
        &self,
        builder: ProxyManagerBuilder,
        quota: Option<u64>,
    ) -> ProxyManagerBuilder {
        let builder = match self.timeout {
            Some(timeout) => builder.storage_timeout(timeout),
            None => builder,
        };
        match (&self.medium, quota) {
            // A record says how the manager's own empty storage was made.
            (Medium::Memory(_), None) => builder,
            (Medium::Memory(memory), Some(bytes)) => {
                builder.storage(Arc::new(Quota::new(memory.clone(), bytes).counted()))
            }
            (Medium::File(file), quota) => {
                let clock = remora_host::SystemClock::not_before(file.last_seen_ms());
                let builder = builder.clock(Arc::new(clock));
                match quota {
                    None => builder.storage(file.clone()),
                    Some(bytes) => {
                        builder.storage(Arc::new(Quota::new(file.clone(), bytes).counted()))
                    }
                }
            }
            (Medium::Server(redis), _) => builder.remote_storage(redis.clone()),
            (Medium::OptionalServer(redis), _) => builder.remote_storage(redis.clone()),
        }
    }
}
