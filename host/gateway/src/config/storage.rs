//! `storage`: where sessions and breakers live.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use remora_host::ProxyManagerBuilder;
use remora_host::storage::{
    Degrading, Durability, OnStorageError, RedbOptions, RedbStore, RedisOptions, RedisStorage,
};
use serde::Deserialize;
use tokio::runtime::Handle;

use super::build::{BuildError, field};
use super::file::File;
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

    fn read(&self) -> Result<Place, BuildError> {
        if self.0 == "memory" {
            return Ok(Place::Memory);
        }
        if let Some(path) = self.0.strip_prefix("redb:") {
            let (path, durability) = match path.split_once('?') {
                None => (path, Durability::Relaxed),
                Some((path, "durability=relaxed")) => (path, Durability::Relaxed),
                Some((path, "durability=immediate")) => (path, Durability::Immediate),
                Some(_) => return Err(field("storage", "redb:…", ACCEPTED)),
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
            return options.map(Place::Redis);
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
        self.storage.read()?;
        self.storage = StorageField::default();
        Ok(())
    }

    /// Opens the storage and hands it to the manager that is being built.
    pub(super) fn store(
        &self,
        builder: ProxyManagerBuilder,
    ) -> Result<(ProxyManagerBuilder, Store), BuildError> {
        let place = self.storage.read()?;
        if self.record.is_some() && !matches!(place, Place::Memory) {
            let accepted =
                "only with `storage = \"memory\"`: a replay begins with an empty storage";
            return Err(field("record", "set", accepted));
        }
        if let Some(timeout) = self.storage_timeout.filter(|t| *t < MIN_TIMEOUT) {
            let timeout = humantime::format_duration(timeout);
            return Err(field("storage_timeout", timeout, "at least 10ms"));
        }
        let builder = match self.storage_timeout {
            Some(timeout) => builder.storage_timeout(timeout),
            None => builder,
        };
        let failed = |reason: String| BuildError::Storage { reason };
        match place {
            Place::Memory => Ok((builder, Store::default())),
            Place::File(path, durability) => {
                let options = RedbOptions {
                    durability,
                    on_storage_error: self.on_storage_error.into(),
                    ..RedbOptions::default()
                };
                let file = RedbStore::open(path, options).map_err(|e| failed(e.to_string()))?;
                let clock = remora_host::SystemClock::not_before(file.last_seen_ms());
                let file = Arc::new(file);
                let builder = builder.clock(Arc::new(clock)).storage(file.clone());
                Ok((builder, Store::file(file)))
            }
            Place::Redis(options) => {
                let redis = RedisStorage::open(options).map_err(|e| failed(e.to_string()))?;
                let redis = Arc::new(redis);
                let health = redis.health().clone();
                if self.on_storage_error == OnError::Refuse {
                    return Ok((builder.remote_storage(redis), Store::server(health)));
                }
                let degrading = Arc::new(Degrading::new(redis, Handle::current()));
                let alone = degrading.health().clone();
                Ok((
                    builder.remote_storage(degrading),
                    Store::optional_server(health, alone),
                ))
            }
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
