//! The session table, usable on its own (the reference's `SessionMap`).

use super::{Engine, Permit};
use crate::draw::Draw;
use crate::error::Error;
use crate::gate;
use crate::key::{self, SessionKey};
use crate::policy::{MAX_TTL_MS, Mode, Sticky};
use crate::pool::{ProxyId, Wanted};
use crate::session::Session;
use crate::storage::{Storage, StorageError, Table};
use crate::table::{self, SessionPage};

impl<S: Storage> Engine<S> {
    /// Binds a key to a proxy, whatever it was bound to. A time to live above 366 days counts as 366
    /// days; one of zero removes the binding.
    ///
    /// # Errors
    ///
    /// [`Error`] when the key is malformed or the storage fails.
    pub fn bind(&mut self, now: u64, key: &str, proxy: ProxyId, ttl_ms: u64) -> Result<(), Error> {
        let key = SessionKey::parse(key)?;
        if ttl_ms == 0 {
            table::remove(&self.storage, key.as_str(), now)?;
            return Ok(());
        }
        // A proxy outside the pool has no breaker, and none that could have opened since.
        let era = match self.pool.find(&proxy) {
            Some(i) => {
                gate::look(&self.storage, &self.pool.get(i).key)?
                    .breaker
                    .era
            }
            None => 0,
        };
        let policy = Sticky {
            mode: Mode::Domain,
            ttl_ms: ttl_ms.min(MAX_TTL_MS),
            ..Sticky::default()
        };
        let ticket = Draw::take(&self.storage, now)?;
        let session = Session::new(proxy, ticket, era, now, &policy);
        table::with_room(&self.storage, now, || {
            table::overwrite(&self.storage, key.as_str(), &session)
        })?;
        let max = self.config.max_sessions;
        table::make_room(&self.storage, Table::Sessions, key.as_str(), now, max)?;
        Ok(())
    }

    /// The proxy that a key is bound to, `None` when it has no live session.
    ///
    /// # Errors
    ///
    /// [`Error`] when the key is malformed or the storage fails.
    pub fn lookup(&mut self, now: u64, key: &str) -> Result<Option<ProxyId>, Error> {
        let key = SessionKey::parse(key)?;
        let seen = table::load(&self.storage, key.as_str())?;
        let live = seen.session.filter(|s| s.end(now, None).is_none());
        Ok(live.map(|session| session.proxy))
    }

    /// Whether the session of a lease is still its key's (rule 4, *an end is an end*): what a connection that was opened under
    /// it asks before it serves on. A lease without a session holds as long as its proxy is in the pool and switched on.
    ///
    /// # Errors
    ///
    /// [`StorageError`] when the storage fails.
    pub fn holds(&self, now: u64, permit: &Permit, key: &str) -> Result<bool, StorageError> {
        let in_pool = self.pool.find(&permit.proxy);
        let Some(proxy) = in_pool.filter(|i| self.pool.serves(*i, &Wanted::Any)) else {
            return Ok(false);
        };
        if permit.generation == 0 || !key::is_well_formed(key) {
            return Ok(true);
        }
        let Some(session) = table::load(&self.storage, key)?.session else {
            return Ok(false);
        };
        // The last of `max_requests` is a request of the session, however long it takes.
        if session.generation != permit.generation || !session.holds(now) {
            return Ok(false);
        }
        let breaker = gate::look(&self.storage, &self.pool.get(proxy).key)?.breaker;
        Ok(breaker.keeps(session.era, now) || breaker.is_resumable(session.era))
    }

    /// Ends a key's session at once. Answers whether it had one.
    ///
    /// # Errors
    ///
    /// [`Error`] when the key is malformed or the storage fails.
    pub fn unbind(&mut self, now: u64, key: &str) -> Result<bool, Error> {
        let key = SessionKey::parse(key)?;
        Ok(table::remove(&self.storage, key.as_str(), now)?)
    }

    /// Removes up to `limit` expired bindings. Answers how many it removed; fewer than `limit` means
    /// that none is left.
    ///
    /// # Errors
    ///
    /// [`StorageError`] when the storage fails.
    pub fn purge_expired(&mut self, now: u64, limit: u32) -> Result<u32, StorageError> {
        table::purge_expired(&self.storage, Table::Sessions, now, limit)
    }

    /// A page of the live sessions.
    ///
    /// # Errors
    ///
    /// [`StorageError`] when the storage fails.
    pub fn list_sessions(
        &mut self,
        now: u64,
        cursor: Option<u64>,
        limit: u32,
    ) -> Result<SessionPage, StorageError> {
        table::list(&self.storage, now, cursor, limit)
    }

    /// How many live sessions a page holds, and where to go on.
    ///
    /// # Errors
    ///
    /// [`StorageError`] when the storage fails.
    pub fn count_sessions(
        &mut self,
        now: u64,
        cursor: Option<u64>,
        limit: u32,
    ) -> Result<(u32, Option<u64>), StorageError> {
        let page = table::list(&self.storage, now, cursor, limit)?;
        Ok((page.sessions.len() as u32, page.next))
    }
}
