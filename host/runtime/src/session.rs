//! Sticky policies, and the session table on its own.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use remora_core::{Config, DEFAULT_TTL_MS, Storage};
use uuid::Uuid;

use crate::clock::{Clock, SystemClock};
use crate::contract::PAGE;
use crate::convert::millis;
use crate::error::Error;
use crate::instances::Instances;
use crate::plugin::Plugin;
use crate::storage::MemoryProxyStore;

/// Whether requests to a target stick to one proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StickyPolicy {
    /// No session: every request may leave through another proxy.
    #[default]
    Disabled,
    /// A target is bound to one proxy.
    Domain {
        /// How long, from the bind on; requests do not extend it. Zero is the same as `Disabled`.
        ttl: Duration,
    },
}

impl StickyPolicy {
    /// Sessions of this length.
    pub fn domain(ttl: Duration) -> Self {
        Self::Domain { ttl }
    }

    /// Sessions of 5 minutes.
    pub fn domain_default() -> Self {
        Self::domain(Duration::from_millis(DEFAULT_TTL_MS))
    }
}

/// The session table on its own: which proxy each domain is bound to, and until when.
///
/// It holds up to 100,000 sessions; beyond that the one closest to expiry makes room.
///
/// ```
/// use std::time::Duration;
/// use remora_host::session::SessionMap;
/// use uuid::Uuid;
///
/// let sessions = SessionMap::new();
/// let proxy = Uuid::new_v4();
/// sessions.bind("login.example.com", proxy, Duration::from_secs(300))?;
/// assert_eq!(sessions.lookup("Login.Example.com:443"), Some(proxy));
/// assert_eq!(sessions.active_count(), 1);
/// sessions.unbind("login.example.com");
/// assert_eq!(sessions.lookup("login.example.com"), None);
/// assert_eq!(sessions.purge_expired(), 0);
/// # Ok::<(), remora_host::Error>(())
/// ```
pub struct SessionMap {
    clock: Arc<dyn Clock>,
    storage: Arc<dyn Storage + Send + Sync>,
    instances: OnceLock<Result<Instances, Error>>,
}

impl Default for SessionMap {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SessionMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionMap").finish_non_exhaustive()
    }
}

impl SessionMap {
    /// An empty table in memory.
    pub fn new() -> Self {
        let storage = Arc::new(MemoryProxyStore::default());
        Self::with_parts(storage, Arc::new(SystemClock::default()))
    }

    /// A table on this storage, with this clock.
    pub fn with_parts(storage: Arc<dyn Storage + Send + Sync>, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            storage,
            instances: OnceLock::new(),
        }
    }

    /// Binds a domain to a proxy for `ttl`, whatever it was bound to. A time to live of zero removes the
    /// binding; one above 366 days counts as 366 days.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] when the domain is malformed, [`Error::Plugin`] when the plugin cannot run.
    pub fn bind(&self, domain: &str, proxy_id: Uuid, ttl: Duration) -> Result<(), Error> {
        self.instances()?
            .with(|i| i.bind(domain, proxy_id, millis(ttl)))
    }

    /// The proxy that a domain is bound to; `None` when it has no live session (or is not a domain).
    pub fn lookup(&self, domain: &str) -> Option<Uuid> {
        or_log(self.instances().and_then(|i| i.with(|i| i.lookup(domain)))).flatten()
    }

    /// Ends a domain's session at once. Answers whether it had one.
    pub fn unbind(&self, domain: &str) -> bool {
        or_log(self.instances().and_then(|i| i.with(|i| i.unbind(domain)))).unwrap_or(false)
    }

    /// Removes all expired sessions and answers how many. They are not visible any more, and make room as
    /// new ones come, so nobody has to call this.
    pub fn purge_expired(&self) -> usize {
        or_log(self.instances().and_then(purge_expired)).unwrap_or(0)
    }

    /// How many live sessions there are. Looks at all of them.
    pub fn active_count(&self) -> usize {
        or_log(self.instances().and_then(active_count)).unwrap_or(0)
    }

    fn instances(&self) -> Result<&Instances, Error> {
        let made = self.instances.get_or_init(|| {
            let threads = thread::available_parallelism().map_or(1, usize::from);
            let (clock, storage) = (self.clock.clone(), self.storage.clone());
            Instances::new(
                Plugin::builtin()?,
                clock,
                storage,
                threads,
                Config::default(),
            )
        });
        made.as_ref().map_err(Clone::clone)
    }
}

/// The reference's signatures have no place for an error.
fn or_log<T>(answer: Result<T, Error>) -> Option<T> {
    answer
        .map_err(|error| tracing::warn!(%error, "the session table did not answer"))
        .ok()
}

pub(crate) fn purge_expired(instances: &Instances) -> Result<usize, Error> {
    let mut removed = 0;
    let mut pages = instances.session_pages();
    loop {
        pages.turn()?;
        let page = instances.with(|i| i.purge_expired(PAGE))?;
        removed += page as usize;
        if page < PAGE {
            return Ok(removed);
        }
    }
}

pub(crate) fn active_count(instances: &Instances) -> Result<usize, Error> {
    let mut count = 0;
    let mut cursor = None;
    let mut pages = instances.session_pages();
    loop {
        pages.turn()?;
        let page = instances.with(|i| i.active_count(cursor, PAGE))?;
        count += page.count as usize;
        cursor = page.next;
        if cursor.is_none() {
            return Ok(count);
        }
    }
}
