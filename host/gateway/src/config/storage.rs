//! `storage`: where sessions and breakers live.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use remora_host::ProxyManagerBuilder;
use remora_host::storage::{
    Degrading, Durability, MemoryProxyStore, OnStorageError, Quota, RedbError, RedbOptions,
    RedbStore, RedisOptions, RedisStorage,
};
use serde::Deserialize;
use tokio::runtime::Handle;

use super::build::{BuildError, field};
use super::file::File;
use super::time::shown;
use crate::store::Store;

/// No server answers faster than that every time.
const MIN_TIMEOUT: Duration = Duration::from_millis(10);

/// The field as it stands in the file. Never shown: there may be a password in it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct StorageField(String);

impl Default for StorageField {
    fn default() -> Self {
        Self("memory".into())
    }
}

impl fmt::Debug for StorageField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

/// What happens while the storage does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OnError {
    #[default]
    Refuse,
    Degrade,
}

impl From<OnError> for OnStorageError {
    fn from(on_error: OnError) -> Self {
        match on_error {
            OnError::Refuse => Self::Refuse,
            OnError::Degrade => Self::Degrade,
        }
    }
}

/// What the field means.
#[derive(Clone)]
enum Place {
    Memory,
    File(PathBuf, Durability),
    Redis(RedisOptions),
}

const ACCEPTED: &str = "memory, redb:PATH (or redb:PATH?durability=immediate), redis://…, rediss://…, \
                        redis-cluster://…, rediss-cluster://…";

impl StorageField {
    /// What kind of storage it is: all of it that may be shown.
    pub(super) fn kind(&self) -> &'static str {
        let kind = self.0.split(':').next().unwrap_or_default();
        let kinds = [
            "memory",
            "redb",
            "redis",
            "rediss",
            "redis-cluster",
            "rediss-cluster",
        ];
        kinds
            .into_iter()
            .find(|known| *known == kind)
            .unwrap_or("…")
    }

    /// Whether state lives in the process.
    pub(super) fn is_memory(&self) -> bool {
        self.0 == "memory"
    }

    /// Whether a server's address has a database that there can be, or none.
    fn has_database(&self) -> bool {
        let address = self.0.split(['?', '#']).next().unwrap_or_default();
        let place = address.split_once("://").map_or("", |(_, place)| place);
        let database = place.split_once('/').map_or("", |(_, database)| database);
        let is_cluster = self.kind().ends_with("-cluster");
        match database.trim_matches('/') {
            "" => true,
            number => number
                .parse::<u32>()
                .is_ok_and(|number| number == 0 || !is_cluster),
        }
    }

    fn read(&self) -> Result<Place, BuildError> {
        if self.0 == "memory" {
            return Ok(Place::Memory);
        }
        if let Some(path) = self.0.strip_prefix("redb:") {
            let (path, durability) = match path.split_once('?') {
                None => (path, Durability::Relaxed),
                Some((path, "durability=relaxed")) => (path, Durability::Relaxed),
                Some((path, "durability=immediate")) => (path, Durability::Immediate),
                Some((_, option)) => {
                    // There is no place for a password behind a file.
                    let plain = |c: char| c.is_ascii_alphanumeric() || "=_-&".contains(c);
                    let option = match option.len() <= 40 && option.chars().all(plain) {
                        true => option,
                        false => "…",
                    };
                    let accepted = "`?durability=relaxed` or `?durability=immediate` behind the path, or nothing";
                    return Err(field("storage", format!("redb:…?{option}"), accepted));
                }
            };
            if path.is_empty() {
                return Err(field("storage", "redb:", ACCEPTED));
            }
            return Ok(Place::File(path.into(), durability));
        }
        if self.0.contains("://") && self.kind() != "…" {
            let options = RedisOptions::parse(&self.0).map_err(|error| BuildError::Storage {
                reason: error.to_string(),
            });
            let options = options?;
            if !self.has_database() {
                // Not shown: it may be the rest of a password with a `/` in it.
                let reason = "what stands behind the host is not the number of a database; accepted: \
                              redis://host:port/0, or nothing there, and nothing but 0 for a cluster";
                let reason = reason.into();
                return Err(BuildError::Storage { reason });
            }
            return Ok(Place::Redis(options));
        }
        // What is no address may still be a password.
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        let scheme = self
            .0
            .split_once("://")
            .map_or(self.0.as_str(), |(scheme, _)| scheme);
        let shown = if scheme.chars().all(plain) && scheme.len() < 20 {
            scheme
        } else {
            "…"
        };
        Err(field("storage", shown, ACCEPTED))
    }
}

impl File {
    /// Says whether the storage can be meant so, without touching it, and forgets it.
    ///
    /// # Errors
    ///
    /// [`BuildError`] names the field.
    pub(crate) fn check_storage(&mut self) -> Result<(), BuildError> {
        self.storage()?;
        self.storage = StorageField::default();
        Ok(())
    }

    /// The storage as all pools of the file use it.
    pub(crate) fn storage(&self) -> Result<StorageFields, BuildError> {
        if let Some(timeout) = self.storage_timeout.filter(|t| *t < MIN_TIMEOUT) {
            return Err(field("storage_timeout", shown(timeout), "at least 10ms"));
        }
        let place = self.storage.read()?;
        if self.record.is_some() && !matches!(place, Place::Memory) {
            let accepted =
                "only with `storage = \"memory\"`: a replay begins with an empty storage";
            return Err(field("record", "set", accepted));
        }
        Ok(StorageFields {
            place,
            on_error: self.on_storage_error,
            timeout: self.storage_timeout,
            files: Arc::default(),
        })
    }
}

/// Where state lives, of each pool apart.
#[derive(Clone)]
pub(crate) struct StorageFields {
    place: Place,
    on_error: OnError,
    timeout: Option<Duration>,
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

impl StorageFields {
    /// In the process.
    pub(crate) fn memory() -> Self {
        Self {
            place: Place::Memory,
            on_error: OnError::default(),
            timeout: None,
            files: Arc::default(),
        }
    }

    /// Whether calls to it go over a network.
    pub(crate) fn is_remote(&self) -> bool {
        matches!(self.place, Place::Redis(_))
    }

    /// The file, where it is one.
    pub(super) fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::File(path, _) => Some(path),
            Place::Memory | Place::Redis(_) => None,
        }
    }

    /// Whether it is gone with the process.
    pub(crate) fn is_memory(&self) -> bool {
        matches!(self.place, Place::Memory)
    }

    /// Opens the storage of a tenant, or that of the pool at the top.
    pub(crate) fn open(&self, tenant: Option<&str>) -> Result<OpenStorage, BuildError> {
        let failed = |reason: String| BuildError::Storage { reason };
        let (medium, store) = match &self.place {
            Place::Memory => {
                let memory = match tenant {
                    None => MemoryProxyStore::default(),
                    Some(_) => MemoryProxyStore::compact(),
                };
                (Medium::Memory(Arc::new(memory)), Store::default())
            }
            Place::File(path, durability) => {
                let options = RedbOptions {
                    durability: *durability,
                    on_storage_error: self.on_error.into(),
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
            Place::Redis(options) => {
                let mut options = options.clone();
                if let Some(name) = tenant {
                    options.prefix = format!("{}:{name}", options.prefix);
                }
                let redis = RedisStorage::open(options).map_err(|e| failed(e.to_string()))?;
                let redis = Arc::new(redis);
                let health = redis.health().clone();
                if self.on_error == OnError::Refuse {
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
            timeout: self.timeout,
            store: Arc::new(store),
        })
    }
}

impl StorageFields {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_error_shows_a_password() {
        for text in [
            "redis://user:s3cret@host:port",
            "redis//user:s3cret@host",
            "postgres://user:s3cret@host/",
            "user:s3cret",
            "s3cret@host is the redis",
            "redis:user:s3cret@host",
        ] {
            let field = StorageField(text.into());
            let error = field.read().map(|_| ()).unwrap_err();
            assert!(
                !format!("{error} {error:?} {field:?}").contains("s3cret"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_database_is_a_number() {
        for (text, good) in [
            ("redis://h", true),
            ("redis://h:1/", true),
            ("rediss://u:p@h:1/15?prefix=a&ca=/etc/ca.pem", true),
            ("redis-cluster://a:1,b:2/0", true),
            ("redis-cluster://a:1,b:2/1", false),
            ("redis://h:1/abc", false),
            ("redis://h:1/-1", false),
            ("redis://h:1/1/2", false),
            ("redis://user:12/s3cret@h", false),
        ] {
            let read = StorageField(text.into()).read();
            assert_eq!(read.is_ok(), good, "{text}");
            if let Err(error) = read {
                assert!(!error.to_string().contains("s3cret"), "{error}");
            }
        }
    }

    #[test]
    fn a_file_says_how_durable_it_is() {
        let read = |text: &str| match StorageField(text.into()).read() {
            Ok(Place::File(path, durability)) => Some((path, durability)),
            _ => None,
        };
        let file = |durability| Some((PathBuf::from("a/b.redb"), durability));
        assert_eq!(read("redb:a/b.redb"), file(Durability::Relaxed));
        assert_eq!(
            read("redb:a/b.redb?durability=immediate"),
            file(Durability::Immediate)
        );
        assert_eq!(read("redb:a/b.redb?durability=maybe"), None);
        assert_eq!(read("redb:"), None);
    }
}
