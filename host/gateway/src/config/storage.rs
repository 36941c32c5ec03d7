//! `storage`: the meaning of the field.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use remora_config::{Secret, shown};
use remora_host::storage::{Durability, OnStorageError, RedisOptions};
use serde::Deserialize;

use super::error::{BuildError, field};
use super::file::File;

/// No server answers faster than that every time.
const MIN_TIMEOUT: Duration = Duration::from_millis(10);

/// The field as it stands in the file. Never shown: there may be a password in it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct StorageField(Secret);

impl Default for StorageField {
    fn default() -> Self {
        Self(Secret("memory".into()))
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

/// Where state lives.
#[derive(Clone)]
pub(crate) enum StorageUrl {
    /// In the process.
    Memory,
    /// In a file.
    File(PathBuf, Durability),
    /// On a server.
    Redis(RedisOptions),
}

const ACCEPTED: &str = "memory, redb:PATH (or redb:PATH?durability=immediate), redis://…, rediss://…, \
                        redis-cluster://…, rediss-cluster://…";

impl StorageField {
    fn text(&self) -> &str {
        &self.0.0
    }

    /// What kind of storage it is: all of it that may be shown.
    pub(super) fn kind(&self) -> &'static str {
        let kind = self.text().split(':').next().unwrap_or_default();
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
        self.text() == "memory"
    }

    /// Whether a server's address has a database that there can be, or none.
    fn has_database(&self) -> bool {
        let address = self.text().split(['?', '#']).next().unwrap_or_default();
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

    fn read(&self) -> Result<StorageUrl, BuildError> {
        if self.text() == "memory" {
            return Ok(StorageUrl::Memory);
        }
        if let Some(path) = self.text().strip_prefix("redb:") {
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
            return Ok(StorageUrl::File(path.into(), durability));
        }
        if self.text().contains("://") && self.kind() != "…" {
            let options = RedisOptions::parse(self.text()).map_err(|error| BuildError::Storage {
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
            return Ok(StorageUrl::Redis(options));
        }
        // What is no address may still be a password.
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        let text = self.text();
        let scheme = text.split_once("://").map_or(text, |(scheme, _)| scheme);
        let shown = if scheme.chars().all(plain) && scheme.len() < 20 {
            scheme
        } else {
            "…"
        };
        Err(field("storage", shown, ACCEPTED))
    }
}

/// The storage, as all pools of the file use it.
#[derive(Clone)]
pub(crate) struct Storage {
    pub(crate) url: StorageUrl,
    pub(crate) on_error: OnStorageError,
    pub(crate) timeout: Option<Duration>,
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address may hold a password.
        f.debug_struct("Storage")
            .field("on_error", &self.on_error)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Storage {
    /// In the process.
    pub(crate) fn memory() -> Self {
        Self {
            url: StorageUrl::Memory,
            on_error: OnStorageError::Refuse,
            timeout: None,
        }
    }

    /// Whether calls to it go over a network.
    pub(crate) fn is_remote(&self) -> bool {
        matches!(self.url, StorageUrl::Redis(_))
    }

    /// Whether it is gone with the process.
    pub(crate) fn is_memory(&self) -> bool {
        matches!(self.url, StorageUrl::Memory)
    }

    /// The file, where it is one.
    pub(super) fn path(&self) -> Option<&Path> {
        match &self.url {
            StorageUrl::File(path, _) => Some(path),
            StorageUrl::Memory | StorageUrl::Redis(_) => None,
        }
    }
}

impl File {
    /// The storage; nothing of it is touched.
    pub(super) fn check_storage(&self, errors: &mut Vec<BuildError>) -> Storage {
        let timeout = self.storage_timeout.map(|timeout| timeout.0);
        if let Some(timeout) = timeout.filter(|t| *t < MIN_TIMEOUT) {
            errors.push(field("storage_timeout", shown(timeout), "at least 10ms"));
        }
        let url = self.storage.read().unwrap_or_else(|error| {
            errors.push(error);
            StorageUrl::Memory
        });
        if self.record.is_some() && !matches!(url, StorageUrl::Memory) {
            let accepted =
                "only with `storage = \"memory\"`: a replay begins with an empty storage";
            errors.push(field("record", "set", accepted));
        }
        Storage {
            url,
            on_error: self.on_storage_error.into(),
            timeout,
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
            let field = StorageField(Secret(text.into()));
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
            let read = StorageField(Secret(text.into())).read();
            assert_eq!(read.is_ok(), good, "{text}");
            if let Err(error) = read {
                assert!(!error.to_string().contains("s3cret"), "{error}");
            }
        }
    }

    #[test]
    fn a_file_says_how_durable_it_is() {
        let read = |text: &str| match StorageField(Secret(text.into())).read() {
            Ok(StorageUrl::File(path, durability)) => Some((path, durability)),
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
