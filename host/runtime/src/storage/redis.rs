//! State on a Redis or Valkey server, or a cluster of them: shared by a fleet.

pub(crate) mod calls;
mod clock;
mod connection;
mod layout;
mod link;
mod options;
mod recent;
mod refusal;
mod script;
mod verdict;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use redis::Value;
use remora_core::{Storage, StorageError, Table, cursor_of_a_member};
use thiserror::Error;

use super::health::Health;
use super::memory::MemoryProxyStore;
use layout::Layout;
use link::Link;
pub use options::{RedisAddressError, RedisOptions};
use script::Call;
use verdict::Verdict;

/// How long an outage is waited out: about what a failover takes. After that calls fail at once.
const PATIENCE: Duration = Duration::from_secs(2);

/// The pause before a call is sent again.
const AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Why a store cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RedisOpenError {
    /// The address is not good.
    #[error("the address of the Redis server is not accepted: {0}")]
    Address(String),
    /// The certificates to trust cannot be read.
    #[error("cannot read the certificates in {path}: {reason}")]
    Certificates {
        /// The file.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// It was not made inside a tokio runtime.
    #[error("a Redis store needs a tokio runtime to be made in")]
    NoRuntime,
}

/// State on a Redis or Valkey server or cluster, shared by all that use the same server and prefix.
///
/// Wants version 6.2 or later, and of its users the commands `GET MGET EVAL EVALSHA DEL SET ZADD ZREM ZCOUNT ZSCAN
/// ZRANGEBYSCORE TIME INFO` on the keys `{prefix}:*`.
pub struct RedisStorage {
    link: Arc<Link>,
    layout: Layout,
    /// [`Table::Cursor`]: this process's own.
    cursor: MemoryProxyStore,
    /// Marks changes, so that one that is sent again is known.
    marks: AtomicU64,
}

impl fmt::Debug for RedisStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStorage")
            .field("layout", &self.layout)
            .field("health", &self.link.health)
            .finish_non_exhaustive()
    }
}

impl RedisStorage {
    /// A store on this server. It connects in the background, and again whenever it has to; whether it is there yet
    /// is in [`RedisStorage::health`].
    ///
    /// # Errors
    ///
    /// [`RedisOpenError`] when the address or the certificates are no good, or there is no runtime.
    pub fn open(options: RedisOptions) -> Result<Self, RedisOpenError> {
        let layout = Layout::new(&options.prefix);
        let link = Link::new(options, &layout)?;
        let (seed, marks) = uuid::Uuid::new_v4().as_u64_pair();
        let cursor = MemoryProxyStore::default();
        let (key, cell) = cursor_of_a_member(seed);
        // An empty store in memory takes what it is given.
        let _ = cursor.compare_exchange(Table::Cursor, key, None, Some(&cell));
        Ok(Self {
            link,
            layout,
            cursor,
            // Begins anywhere: no two processes come across the same numbers.
            marks: AtomicU64::new(marks),
        })
    }

    /// Waits until the server has answered for the first time. Who calls decides for how long.
    pub async fn reached(&self) {
        while self.link.connection(PATIENCE).await.is_none() {
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    /// Whether the server answers, and takes changes.
    pub fn health(&self) -> &Arc<Health> {
        &self.link.health
    }

    /// Sends a call, and again on a new connection while the trouble is young: every call may be sent twice. Answers
    /// with whether it was, too. An outage that has lasted is no news, and nobody waits for it.
    async fn send(&self, call: &Call) -> Result<(Value, bool), StorageError> {
        let mut again = false;
        loop {
            let Some(mut connection) = self.link.connection(PATIENCE).await else {
                return Err(StorageError::Unavailable);
            };
            let error = match call.send(&mut connection).await {
                Ok(answer) => return Ok((answer, again)),
                Err(error) => error,
            };
            match Verdict::of(&error) {
                Verdict::Refused(answer) => {
                    if call.changes() && answer == StorageError::Unavailable {
                        self.link.refused_change(&error);
                    } else {
                        self.link.refused(&error);
                    }
                    return Err(answer);
                }
                Verdict::NotNow => {}
                Verdict::Lost => self.link.doubt(&error),
                Verdict::Replica => self.link.leave(&error),
            }
            if self.link.has_been_gone_for(PATIENCE) {
                return Err(StorageError::Unavailable);
            }
            tokio::time::sleep(AGAIN_AFTER).await;
            again = true;
        }
    }
}
