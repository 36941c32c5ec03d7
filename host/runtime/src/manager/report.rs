//! What a manager says about its pool and its sessions.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use super::ProxyManager;
use crate::bindings::{control, sessions};
use crate::contract::{PAGE, Pages};
use crate::error::Error;

/// A pool in numbers. `total` is `healthy`, `open` and those that are switched off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Proxies in the pool.
    pub total: usize,
    /// Proxies that the next acquire may get.
    pub healthy: usize,
    /// Proxies whose circuit breaker refuses the next acquire.
    pub open: usize,
    /// Live sessions.
    pub active_sessions: usize,
}

/// Where a circuit breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// It admits everything.
    Closed {
        /// Failures in a row so far.
        failures: u32,
    },
    /// It admits nothing before `until`, and then one probe.
    Open {
        /// When the first probe is due.
        until: SystemTime,
    },
    /// A probe is out. It admits nothing else until the probe is back, or until `until`.
    HalfOpen {
        /// When the probe loses its place.
        until: SystemTime,
    },
}

/// One proxy of the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyInfo {
    /// Its id.
    pub id: Uuid,
    /// Its URL without credentials.
    pub url: String,
    /// Its weight.
    pub weight: u32,
    /// Its tags, sorted.
    pub tags: Vec<String>,
    /// Whether it is switched on.
    pub healthy: bool,
    /// Whether the next acquire may get it.
    pub available: bool,
    /// Its circuit breaker.
    pub breaker: BreakerState,
    /// Its requests in flight; counted only under the `least-used` strategy.
    pub in_flight: u64,
}

/// A live session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// Its key.
    pub key: String,
    /// The proxy that the key is bound to.
    pub proxy_id: Uuid,
    /// The proxy's URL without credentials; `None` once it has been removed.
    pub proxy_url: Option<String>,
    /// When it was bound.
    pub bound_at: SystemTime,
    /// When its time to live is over.
    pub expires_at: SystemTime,
}

impl ProxyManager {
    /// The pool in numbers. Looks at every proxy and every session.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] or [`Error::Plugin`].
    pub async fn pool_stats(&self) -> Result<PoolStats, Error> {
        let decisions = &self.shared.decisions;
        let pool = decisions.stats().await?;
        let mut active_sessions = 0;
        let mut cursor = None;
        let mut pages = decisions.session_pages();
        loop {
            pages.turn()?;
            let page = decisions.active_count(cursor, PAGE).await?;
            active_sessions += page.count as usize;
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        Ok(PoolStats {
            total: pool.total as usize,
            healthy: pool.healthy as usize,
            open: pool.open as usize,
            active_sessions,
        })
    }

    /// Whether the next acquire may get a proxy. Looks at every proxy, but at no session: for health checks.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] or [`Error::Plugin`].
    pub async fn is_available(&self) -> Result<bool, Error> {
        Ok(self.shared.decisions.stats().await?.healthy > 0)
    }

    /// Every proxy, in the order in which they were added.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] or [`Error::Plugin`].
    pub async fn proxies(&self) -> Result<Vec<ProxyInfo>, Error> {
        let mut all = Vec::new();
        let mut pages = Pages::of(self.views.members().count() as u64, PAGE);
        loop {
            pages.turn()?;
            let offset = u32::try_from(all.len()).unwrap_or(u32::MAX);
            let page = self.shared.decisions.proxies(offset, PAGE).await?;
            let last = page.len() < PAGE as usize;
            all.extend(page.into_iter().map(|status| self.proxy_info(status)));
            if last {
                return Ok(all);
            }
        }
    }

    /// Every live session, in no particular order.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] or [`Error::Plugin`].
    pub async fn sessions(&self) -> Result<Vec<SessionInfo>, Error> {
        let mut all = Vec::new();
        let mut cursor = None;
        let mut pages = self.shared.decisions.session_pages();
        loop {
            pages.turn()?;
            let page = self.shared.decisions.list(cursor, PAGE).await?;
            all.extend(page.sessions.into_iter().map(|s| self.session_info(s)));
            cursor = page.next;
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }

    /// Ends a session at once, by its key. Answers whether it was live.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] when the key is malformed; [`Error::Storage`] or [`Error::Plugin`].
    pub async fn end_session(&self, key: &str) -> Result<bool, Error> {
        self.shared.decisions.unbind(key).await
    }

    /// Removes the expired sessions from the storage and answers how many. They are not visible any more,
    /// and make room as new ones come, so nobody has to call this.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] or [`Error::Plugin`].
    pub async fn purge_expired(&self) -> Result<usize, Error> {
        let mut removed = 0;
        let mut pages = self.shared.decisions.session_pages();
        loop {
            pages.turn()?;
            let page = self.shared.decisions.purge_expired(PAGE).await?;
            removed += page as usize;
            if page < PAGE {
                return Ok(removed);
            }
        }
    }

    /// How many instances of the plugin have been lost to traps and replaced.
    pub fn plugin_traps(&self) -> u64 {
        self.shared.decisions.traps()
    }

    fn proxy_info(&self, status: control::ProxyStatus) -> ProxyInfo {
        let id = status.proxy.id.into();
        ProxyInfo {
            id,
            url: self.address_of(id).unwrap_or_default(),
            weight: status.proxy.weight,
            tags: status.proxy.tags,
            healthy: status.healthy,
            available: status.available,
            breaker: match status.breaker {
                control::BreakerState::Closed(failures) => BreakerState::Closed { failures },
                control::BreakerState::Open(until) => BreakerState::Open { until: time(until) },
                control::BreakerState::HalfOpen(until) => {
                    BreakerState::HalfOpen { until: time(until) }
                }
            },
            in_flight: status.in_flight,
        }
    }

    fn session_info(&self, session: sessions::Session) -> SessionInfo {
        let proxy_id = session.proxy.into();
        SessionInfo {
            key: session.key,
            proxy_id,
            proxy_url: self.address_of(proxy_id),
            bound_at: time(session.bound_at),
            expires_at: time(session.expires_at),
        }
    }

    fn address_of(&self, id: Uuid) -> Option<String> {
        let members = self.views.members();
        members.get(&id).map(|member| member.address.clone())
    }
}

/// The end of the year 9999: the last moment that RFC 3339 can say.
const LAST_MS: u64 = 253_402_300_799_999;

/// A time that a plugin answered with, which may be any.
pub(crate) fn time(ms: u64) -> SystemTime {
    UNIX_EPOCH
        .checked_add(Duration::from_millis(ms.min(LAST_MS)))
        .unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_a_plugin_made_up_can_be_written_down() {
        for ms in [253_402_300_799_999, 253_402_300_800_000, u64::MAX] {
            let text = humantime::format_rfc3339_millis(time(ms)).to_string();
            assert_eq!(text, "9999-12-31T23:59:59.999Z");
        }
    }
}
