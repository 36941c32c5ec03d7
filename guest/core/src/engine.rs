//! Composes the rules into acquire and release.

mod acquire;
mod failover;
mod pick;
mod release;
mod sessions;
mod settle;
mod status;

use alloc::string::String;
use alloc::vec::Vec;

use crate::breaker::{AdmissionToken, Change};
use crate::config::Config;
use crate::error::Invalid;
use crate::gate;
use crate::hints::Hints;
use crate::policy::Policies;
use crate::pool::{Pool, ProxyId, ProxySpec};
use crate::session::Reason;
use crate::storage::{Storage, StorageError};

pub use settle::Attempt;
pub use status::{ProxyStatus, Stats};

/// What a request says about itself.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The target: a host, with or without a port.
    pub target: &'a str,
    /// The session that the client names, if it does.
    pub session: Option<&'a str>,
    /// The tags that the proxy must carry, all of them.
    pub tags: &'a [&'a str],
    /// The proxies that this request has tried already: left aside while another one is admitted.
    pub tried: &'a [ProxyId],
    /// How long a session that this request begins lasts, in milliseconds; `None`: as the policy says. A
    /// session that is live keeps its own. Where the policy does not let a key stick, this does not either.
    pub ttl_ms: Option<u64>,
    /// Whether the request can be sent again through another exit: nothing happens the second time that did not the first, and
    /// all of it is still there. Only such a request is a good probe (rule 13).
    pub is_repeatable: bool,
}

impl Default for Request<'_> {
    fn default() -> Self {
        Self {
            target: "",
            session: None,
            tags: &[],
            tried: &[],
            ttl_ms: None,
            is_repeatable: true,
        }
    }
}

/// What a lease says apart from its key: fixed in size, so that a hit crosses the guest's border without
/// an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Permit {
    /// The proxy.
    pub proxy: ProxyId,
    /// The generation of the binding; 0 when the key does not stick.
    pub generation: u64,
    /// The era of the proxy's breaker.
    pub era: u32,
    /// Whether the request is the breaker's probe.
    pub probe: bool,
    /// When it was acquired, in milliseconds since the Unix epoch.
    pub acquired_at: u64,
    /// From when on it is not waited for, in milliseconds since the Unix epoch: a probe has lost its
    /// place, a request no longer counts as in flight. Its release is heard all the same.
    pub deadline: u64,
    /// Whether the target may have an entry in the table of doubts (rule 13): then a success needs its key and target, too.
    #[cfg_attr(feature = "serde", serde(default))]
    pub is_doubted: bool,
}

impl Permit {
    fn token(&self) -> AdmissionToken {
        AdmissionToken {
            era: self.era,
            probe: self.probe,
        }
    }
}

/// The right to use a proxy for one request. A plain record: any instance that shares the storage can
/// release what another acquired.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Lease {
    /// The session key; empty for a request without a target.
    pub key: String,
    /// All the rest.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub permit: Permit,
}

impl core::ops::Deref for Lease {
    type Target = Permit;

    fn deref(&self) -> &Permit {
        &self.permit
    }
}

/// From when to when a session lasts, unless something ends it early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Span {
    /// When it was bound, in milliseconds since the Unix epoch.
    pub bound_at: u64,
    /// When its time to live is over, in milliseconds since the Unix epoch.
    pub expires_at: u64,
}

/// What a shell hears of an acquire: a [`Grant`] without the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The lease, apart from its key.
    pub permit: Permit,
    /// Why this proxy.
    pub reason: Reason,
    /// The session's time; `None` where the request belongs to no session.
    pub session: Option<Span>,
}

/// A lease, and why this proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Grant {
    /// The lease.
    pub lease: Lease,
    /// Why this proxy.
    pub reason: Reason,
    /// The session's time; `None` where the request belongs to no session.
    pub session: Option<Span>,
}

/// How an attempt ended: a request through one exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Outcome {
    /// The target answered through the proxy.
    Success,
    /// The proxy is bad: charged to its breaker, and the session ends.
    Failure,
    /// The target refuses this exit: the session ends and the target avoids this proxy for a while. The
    /// breaker is not charged, since the proxy serves other targets well.
    Blocked,
    /// The exit or the target failed, and the end does not tell which: settled by comparison (rule 13).
    Ambiguous,
    /// The same, by a time-out.
    TimedOut,
    /// There was an answer, and either the exit or the target may have written it. Nothing follows, for no attempt of its
    /// request.
    Inconclusive,
    /// The client went away, or this machine failed: neither the exit nor the target did.
    Cancelled,
}

impl Outcome {
    /// Whether rule 13 settles it by comparison.
    pub fn is_ambiguous(self) -> bool {
        matches!(self, Self::Ambiguous | Self::TimedOut)
    }

    /// The name used in logs, metrics and the WIT interface.
    pub fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Blocked => "blocked",
            Self::Ambiguous => "ambiguous",
            Self::TimedOut => "timed-out",
            Self::Inconclusive => "inconclusive",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What a release or a settlement did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Released {
    /// Whether it ended or moved the session. `false` for a lease of an older generation.
    pub ended_session: bool,
    /// What it did to the breaker of the first attempt's proxy.
    pub breaker: Change,
    /// What it did to the breakers of other proxies: those of further attempts, and those that a success was a witness against.
    pub others: Vec<(ProxyId, Change)>,
}

/// One instance of the decisions. Instances that share a storage decide as one.
#[derive(Debug)]
pub struct Engine<S> {
    storage: S,
    config: Config,
    policies: Policies,
    pool: Pool,
    aside: Vec<ProxyId>,
    /// The key of the request at hand; kept so that a hit does not allocate it.
    key: String,
    hints: Hints,
}

impl<S: Storage> Engine<S> {
    /// An instance with an empty pool and the default configuration.
    pub fn new(storage: S) -> Self {
        Self {
            storage,
            config: Config::default(),
            policies: Policies::default(),
            pool: Pool::default(),
            aside: Vec::new(),
            key: String::new(),
            hints: Hints::default(),
        }
    }

    /// Replaces the configuration. Sessions that are live keep the time to live they began with.
    ///
    /// # Errors
    ///
    /// [`Invalid`] names the first field that is not accepted; the old configuration stays in force.
    pub fn configure(&mut self, config: Config) -> Result<(), Invalid> {
        self.policies = config.compile()?;
        self.config = config;
        Ok(())
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Adds proxies; gives those already in the pool their new weight and tags, and leaves their
    /// sessions and breakers alone.
    ///
    /// # Errors
    ///
    /// [`Invalid`] names the first field that is not accepted; no proxy was added or changed.
    pub fn add_proxies(&mut self, proxies: &[ProxySpec]) -> Result<(), Invalid> {
        self.pool.add(proxies)
    }

    /// Rule 8: takes a proxy out of the pool. Its sessions end at their next acquire, its leases are
    /// released to no effect, its breaker is forgotten. Answers whether it was in the pool.
    ///
    /// # Errors
    ///
    /// [`StorageError`] when its breaker could not be forgotten. The proxy is out of the pool.
    pub fn remove_proxy(&mut self, id: &ProxyId) -> Result<bool, StorageError> {
        match self.pool.remove(id) {
            None => Ok(false),
            Some(proxy) => gate::forget(&self.storage, &proxy.key).map(|()| true),
        }
    }

    /// Switches a proxy off (it gets no requests, its sessions end at their next acquire) or on again.
    /// Answers whether it is in the pool.
    pub fn set_health(&mut self, id: &ProxyId, healthy: bool) -> bool {
        self.pool.set_health(id, healthy)
    }

    /// Says which proxies new sessions and requests without one do not get from now on, while another one is
    /// admitted. Live sessions stay. For plugins that know more of a proxy than its breaker does; an instance
    /// says it for itself.
    pub fn leave_aside(&mut self, proxies: Vec<ProxyId>) {
        self.aside = proxies;
    }
}
