//! Record what was asked and decided, and replay it.
//!
//! A record is a text of JSON lines: a header, then for every call the time, the event and the decision.
//! Replayed on the same plugin (or on the core without WebAssembly) it gives the same decisions, byte for
//! byte, so a bug report becomes a test. A record holds targets, session ids, tags and proxy ids; never a
//! proxy's address or credentials.

mod native;
mod recorder;

use std::io::{BufRead, Write};
use std::sync::Arc;

use remora_core::{Config, Grant, Permit, ProxySpec, Released, Request};
use serde::{Deserialize, Serialize};
use thiserror::Error as ThisError;
use uuid::Uuid;

use crate::clock::ManualClock;
use crate::error::Error;
use crate::instance::Instance;
use crate::plugin::Plugin;
use crate::settlement::Settlement;
use crate::storage::MemoryProxyStore;

pub use native::Native;
pub(crate) use recorder::{PinnedClock, Recorder};

/// The first line of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    /// The version of the format.
    remora_trace: u32,
    /// The seed of the store that the decisions were made on.
    seed: u64,
}

const VERSION: u32 = 2;

/// A call into a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// `control.configure`
    Configure(Box<Config>),
    /// `control.add-proxies`
    AddProxies(Vec<ProxySpec>),
    /// `control.remove-proxy`
    RemoveProxy(Uuid),
    /// `control.set-health`
    SetHealth(Uuid, bool),
    /// `egress.acquire`
    Acquire {
        /// Empty: a request without a target.
        target: String,
        /// The session that the client names.
        session: Option<String>,
        /// The tags asked for.
        tags: Vec<String>,
        /// The proxies tried already.
        tried: Vec<Uuid>,
        /// How long the client wants its session to last.
        #[serde(default)]
        ttl_ms: Option<u64>,
        /// Whether the request can be sent again.
        is_repeatable: bool,
    },
    /// `egress.fallbacks`
    Fallbacks {
        /// The lease that has others.
        lease: Permit,
        /// The request's `acquire`.
        of: Box<Event>,
        /// How many at most.
        limit: u32,
    },
    /// `egress.settle` and `egress.release`
    Settle(Box<Settlement>),
    /// `sessions.unbind`
    Unbind(String),
    /// `sessions.purge-expired`
    PurgeExpired(u32),
}

impl Event {
    pub(crate) fn acquire(request: &Request<'_>) -> Self {
        Self::Acquire {
            target: request.target.to_owned(),
            session: request.session.map(str::to_owned),
            tags: request.tags.iter().map(|tag| (*tag).to_owned()).collect(),
            tried: request.tried.to_vec(),
            ttl_ms: request.ttl_ms,
            is_repeatable: request.is_repeatable,
        }
    }

    pub(crate) fn fallbacks(lease: &Permit, request: &Request<'_>, limit: u32) -> Self {
        Self::Fallbacks {
            lease: *lease,
            of: Box::new(Self::acquire(request)),
            limit,
        }
    }

    /// Calls `f` with the request of an acquire; `None` for every other event.
    pub(crate) fn with_request<T>(&self, f: impl FnOnce(&Request<'_>) -> T) -> Option<T> {
        let Self::Acquire {
            target,
            session,
            tags,
            tried,
            ttl_ms,
            is_repeatable,
        } = self
        else {
            return None;
        };
        let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
        Some(f(&Request {
            target,
            session: session.as_deref(),
            tags: &tags,
            tried,
            ttl_ms: *ttl_ms,
            is_repeatable: *is_repeatable,
        }))
    }
}

/// What the plugin answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Decision {
    /// Done; nothing to say.
    Done,
    /// Whether there was something to do it to.
    Found(bool),
    /// How many.
    Count(u32),
    /// A lease.
    Granted(Grant),
    /// What the settlement did.
    Released(Released),
    /// Leases on other exits.
    Fallbacks(Vec<Permit>),
    /// No, and why.
    Refused(String),
}

impl From<Released> for Decision {
    fn from(released: Released) -> Self {
        Self::Released(released)
    }
}

impl From<Vec<Permit>> for Decision {
    fn from(fallbacks: Vec<Permit>) -> Self {
        Self::Fallbacks(fallbacks)
    }
}

impl From<Grant> for Decision {
    fn from(grant: Grant) -> Self {
        Self::Granted(grant)
    }
}

impl From<bool> for Decision {
    fn from(found: bool) -> Self {
        Self::Found(found)
    }
}

impl From<u32> for Decision {
    fn from(count: u32) -> Self {
        Self::Count(count)
    }
}

impl From<()> for Decision {
    fn from((): ()) -> Self {
        Self::Done
    }
}

impl Decision {
    pub(crate) fn of<T: Clone + Into<Self>>(answer: &Result<T, Error>) -> Self {
        match answer {
            Ok(answer) => answer.clone().into(),
            Err(error) => Self::Refused(error.to_string()),
        }
    }
}

/// One line of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Milliseconds since the Unix epoch.
    pub now: u64,
    /// What was asked.
    pub event: Event,
    /// What was decided.
    pub decision: Decision,
}

/// Something that decides: a plugin, or the core without WebAssembly.
pub trait Decider {
    /// Decides. `now` in milliseconds since the Unix epoch, never less than before.
    fn decide(&mut self, now: u64, event: &Event) -> Decision;
}

/// A plugin as a [`Decider`]: one instance on an empty store in memory.
pub struct Component {
    instance: Instance,
    clock: Arc<ManualClock>,
}

impl Component {
    /// An instance of `plugin` on an empty store with this seed.
    ///
    /// # Errors
    ///
    /// [`Error::Plugin`] when it cannot be instantiated.
    pub fn new(plugin: &Plugin, seed: u64) -> Result<Self, Error> {
        let clock = Arc::new(ManualClock::default());
        let storage = Arc::new(MemoryProxyStore::with_seed(seed));
        let instance = Instance::start(plugin, clock.clone(), storage)?;
        Ok(Self { instance, clock })
    }
}

impl Decider for Component {
    fn decide(&mut self, now: u64, event: &Event) -> Decision {
        self.clock.set(now);
        run(&mut self.instance, event)
    }
}

fn run(instance: &mut Instance, event: &Event) -> Decision {
    fn answer<T: Clone + Into<Decision>>(answer: Result<T, crate::error::CallError>) -> Decision {
        Decision::of(&answer.map_err(Error::from))
    }
    match event {
        Event::Configure(config) => answer(instance.configure(config)),
        Event::AddProxies(specs) => answer(instance.add_proxies(specs)),
        Event::RemoveProxy(id) => answer(instance.remove_proxy(*id)),
        Event::SetHealth(id, healthy) => answer(instance.set_health(*id, *healthy)),
        Event::Acquire { .. } => event
            .with_request(|request| answer(instance.acquire(request)))
            .unwrap_or(Decision::Done),
        Event::Fallbacks { lease, of, limit } => of
            .with_request(|request| answer(instance.fallbacks(lease, request, *limit)))
            .unwrap_or(Decision::Done),
        Event::Settle(settlement) => answer(instance.settle(settlement)),
        Event::Unbind(key) => answer(instance.unbind(key)),
        Event::PurgeExpired(limit) => answer(instance.purge_expired(*limit)),
    }
}

/// Why a replay stopped.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum ReplayError {
    /// The record cannot be read.
    #[error("line {line}: {reason}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The decision is another one now.
    #[error("line {line}: the record has\n  {recorded}\nand now it is\n  {replayed}")]
    Differs {
        /// Counted from 1.
        line: usize,
        /// The line as recorded.
        recorded: String,
        /// The line as replayed.
        replayed: String,
    },
    /// The plugin cannot be started.
    #[error("{0}")]
    Plugin(#[from] Error),
}

/// Replays a record on what `decider` makes of its seed, and compares the lines byte for byte. Answers
/// how many decisions were replayed.
///
/// # Errors
///
/// [`ReplayError`] with the first line that differs or cannot be read.
pub fn replay<D: Decider>(
    record: impl BufRead,
    decider: impl FnOnce(u64) -> Result<D, Error>,
) -> Result<usize, ReplayError> {
    let mut lines = record.lines().enumerate().map(|(i, line)| (i + 1, line));
    let bad = |line: usize, reason: String| ReplayError::Line { line, reason };
    let (_, first) = lines.next().ok_or_else(|| bad(1, "empty".into()))?;
    let first = first.map_err(|e| bad(1, e.to_string()))?;
    let header: Header = serde_json::from_str(&first).map_err(|e| bad(1, e.to_string()))?;
    if header.remora_trace != VERSION {
        let reason = format!(
            "format {}; this version reads {VERSION}",
            header.remora_trace
        );
        return Err(bad(1, reason));
    }
    let mut decider = decider(header.seed)?;
    let mut replayed = 0;
    for (number, line) in lines {
        let recorded = line.map_err(|e| bad(number, e.to_string()))?;
        let mut line: Line =
            serde_json::from_str(&recorded).map_err(|e| bad(number, e.to_string()))?;
        line.decision = decider.decide(line.now, &line.event);
        let again = serde_json::to_string(&line).map_err(|e| bad(number, e.to_string()))?;
        if again != recorded {
            return Err(ReplayError::Differs {
                line: number,
                recorded,
                replayed: again,
            });
        }
        replayed += 1;
    }
    Ok(replayed)
}

/// Writes the header of a record.
///
/// # Errors
///
/// What the writer says.
pub fn write_header(out: &mut impl Write, seed: u64) -> std::io::Result<()> {
    let header = Header {
        remora_trace: VERSION,
        seed,
    };
    writeln!(out, "{}", serde_json::to_string(&header)?)
}
