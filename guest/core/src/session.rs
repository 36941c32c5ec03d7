//! What a binding is, when it is live and how it ends (rules 2, 4 and 5).

use core::fmt;
use uuid::Uuid;

use crate::end::End;
use crate::policy::Sticky;
use crate::pool::ProxyId;
use crate::storage::{Cell, StorageError};

/// The most requests that a binding counts: what fits beside the other fields of its word.
pub(crate) const MAX_USES: u32 = (1 << 24) - 1;

/// The bit of the last word that says [`Session::is_doubted`].
const DOUBTED: u64 = 1 << 31;

/// Why an acquire got the proxy it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Reason {
    /// The key was bound to it.
    Hit,
    /// The key had no session; now it has.
    Bound,
    /// The key had no session, and another request bound it at the same moment.
    Adopted,
    /// The key's session had ended so; now it has a new one.
    Rebound(End),
    /// The key does not stick.
    Rotated,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hit => f.write_str("hit"),
            Self::Bound => f.write_str("bound"),
            Self::Adopted => f.write_str("adopted"),
            Self::Rebound(end) => write!(f, "rebound {{{end}}}"),
            Self::Rotated => f.write_str("rotated"),
        }
    }
}

/// Whether a binding has been ended by a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Live,
    Failed,
    Blocked,
}

/// A binding as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The proxy.
    pub proxy: ProxyId,
    /// Tells this binding from every other one of its key.
    pub generation: u64,
    /// When it was bound, in milliseconds since the Unix epoch.
    pub bound_at: u64,
    /// When its time to live is over, in milliseconds since the Unix epoch.
    pub expires_at: u64,
    /// The era of the proxy's breaker at the bind.
    pub(crate) era: u32,
    /// How many requests it has had, the bind's own included. Counted only where a limit is set.
    pub(crate) uses: u32,
    pub(crate) mark: Mark,
    /// Whether its key has had an entry in the table of doubts since it was bound (rule 13).
    pub(crate) is_doubted: bool,
    /// When it ends unless another request comes: the time to live or the idle time, whichever is
    /// sooner.
    pub(crate) idle_at: u64,
}

impl Session {
    pub(crate) fn new(
        proxy: ProxyId,
        generation: u64,
        era: u32,
        now: u64,
        policy: &Sticky,
    ) -> Self {
        let expires_at = now.saturating_add(policy.ttl_ms);
        let session = Self {
            proxy,
            generation,
            bound_at: now,
            expires_at,
            era,
            uses: 0,
            mark: Mark::Live,
            is_doubted: false,
            idle_at: expires_at,
        };
        session.used(now, policy)
    }

    /// The session as it goes on with another proxy: as long again as it would have lasted.
    pub(crate) fn moved(&self, proxy: ProxyId, generation: u64, era: u32, now: u64) -> Self {
        let expires_at = now.saturating_add(self.expires_at - self.bound_at);
        Self {
            proxy,
            generation,
            bound_at: now,
            expires_at,
            era,
            uses: u32::from(self.uses > 0),
            mark: Mark::Live,
            is_doubted: self.is_doubted,
            idle_at: expires_at,
        }
    }

    /// The session after one more request.
    pub(crate) fn used(mut self, now: u64, policy: &Sticky) -> Self {
        if policy.max_requests.is_some() {
            self.uses = (self.uses + 1).min(MAX_USES);
        }
        if let Some(idle) = policy.idle_ms {
            self.idle_at = now.saturating_add(idle).min(self.expires_at);
        }
        self
    }

    /// The session after a release has ended it. It stays on record until its time to live is over:
    /// the next bind avoids its proxy (rule 6), and a strict policy refuses until then.
    pub(crate) fn ended(mut self, mark: Mark) -> Self {
        self.mark = mark;
        self.idle_at = self.expires_at;
        self
    }

    /// How the session has ended as far as it knows itself; `None` while it is live. `policy` is
    /// `None` where only the recorded times count.
    pub(crate) fn end(&self, now: u64, policy: Option<&Sticky>) -> Option<End> {
        if now >= self.expires_at {
            return Some(End::Expired);
        }
        match self.mark {
            Mark::Failed => return Some(End::Failed),
            Mark::Blocked => return Some(End::Blocked),
            Mark::Live => {}
        }
        if now >= self.idle_at {
            return Some(End::Idle);
        }
        let spent = policy
            .and_then(|p| p.max_requests)
            .is_some_and(|max| self.uses >= max);
        spent.then_some(End::MaxRequests)
    }

    /// Whether it lasts for a connection that was opened under it. What moves there is use that the session does not see, so its
    /// idle time does not count.
    pub(crate) fn holds(&self, now: u64) -> bool {
        self.mark == Mark::Live && now < self.expires_at
    }

    pub(crate) fn decode(cell: &Cell) -> Result<Self, StorageError> {
        let [high, low, generation, bound_at, expires_at, rest] = cell.words;
        Ok(Self {
            proxy: Uuid::from_u64_pair(high, low),
            generation,
            bound_at,
            expires_at,
            era: (rest >> 32) as u32,
            uses: rest as u32 & MAX_USES,
            is_doubted: rest & DOUBTED != 0,
            mark: match (rest & !DOUBTED) as u32 >> 24 {
                1 => Mark::Live,
                2 => Mark::Failed,
                3 => Mark::Blocked,
                _ => return Err(StorageError::Corrupt),
            },
            idle_at: cell.expires_at,
        })
    }

    pub(crate) fn encode(&self) -> Cell {
        let (high, low) = self.proxy.as_u64_pair();
        let mark: u64 = match self.mark {
            Mark::Live => 1,
            Mark::Failed => 2,
            Mark::Blocked => 3,
        };
        let doubted = if self.is_doubted { DOUBTED } else { 0 };
        let rest = u64::from(self.era) << 32 | doubted | mark << 24 | u64::from(self.uses);
        Cell {
            words: [
                high,
                low,
                self.generation,
                self.bound_at,
                self.expires_at,
                rest,
            ],
            expires_at: self.idle_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cell_survives_the_round_trip(
            id: u128, generation: u64, bound_at: u64, expires_at: u64, era: u32,
            uses in 0..=MAX_USES, mark in 0..3usize, is_doubted: bool, idle_at: u64,
        ) {
            let session = Session {
                proxy: Uuid::from_u128(id), generation, bound_at, expires_at, era, uses,
                mark: [Mark::Live, Mark::Failed, Mark::Blocked][mark], is_doubted, idle_at,
            };
            prop_assert_eq!(Session::decode(&session.encode()), Ok(session));
        }
    }
}
