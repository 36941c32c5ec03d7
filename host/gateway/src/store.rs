//! The storage as its operator sees it: whether it works, and what is done about it.

use std::fmt;
use std::sync::Arc;

use remora_host::storage::{Health, RedbStore};
use serde::{Deserialize, Serialize};

/// What there is to know of a storage, and to do for it at the end.
#[derive(Debug, Default)]
pub(crate) struct Store {
    /// Of the server or the file; memory always works.
    health: Option<Arc<Health>>,
    /// Failing while the process is on its own.
    alone: Option<Arc<Health>>,
    file: Option<Arc<RedbStore>>,
}

/// A storage at this moment, as `/healthz` and `/stats` show it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoreState {
    /// `ok`; `unreachable`; `alone`: the process goes on with its own memory.
    pub(crate) state: String,
    /// Since when it is not `ok`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<String>,
    /// How often it has stopped answering.
    #[serde(default)]
    pub(crate) failures: u64,
    /// How often another server, or the same one after a restart, has taken over: what had changed in the moments
    /// before may be lost.
    #[serde(default)]
    pub(crate) failovers: u64,
    /// How many sessions have lost a change to one, of those that this process had changed last.
    #[serde(default)]
    pub(crate) lost_sessions: u64,
}

impl fmt::Display for StoreState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.since {
            None => f.write_str(&self.state),
            Some(since) => write!(f, "{} since {since}", self.state),
        }
    }
}

impl Store {
    pub(crate) fn file(file: Arc<RedbStore>) -> Self {
        Self {
            health: Some(file.health().clone()),
            alone: None,
            file: Some(file),
        }
    }

    pub(crate) fn server(health: Arc<Health>) -> Self {
        Self {
            health: Some(health),
            ..Self::default()
        }
    }

    /// One that the process goes on without.
    pub(crate) fn optional_server(health: Arc<Health>, alone: Arc<Health>) -> Self {
        Self {
            health: Some(health),
            alone: Some(alone),
            file: None,
        }
    }

    pub(crate) fn state(&self) -> StoreState {
        let failing = |health: &Option<Arc<Health>>| health.as_ref()?.failing_since();
        let (state, since) = match (failing(&self.alone), failing(&self.health)) {
            (Some(since), _) => ("alone", Some(since)),
            // The process has not needed it yet, or no more than an attempt was lost.
            (None, Some(since)) => ("unreachable", Some(since)),
            (None, None) => ("ok", None),
        };
        let count = |count: fn(&Health) -> u64| self.health.as_ref().map_or(0, |h| count(h));
        StoreState {
            state: state.to_owned(),
            since: since.map(|since| humantime::format_rfc3339_millis(since).to_string()),
            failures: count(Health::failures),
            failovers: count(Health::failovers),
            lost_sessions: count(Health::lost_sessions),
        }
    }

    /// Before the process ends: what has changed goes to disk. Blocks.
    pub(crate) fn flush(&self) {
        if let Some(file) = &self.file
            && let Err(error) = file.flush()
        {
            tracing::error!(%error, "the last changes are not on disk");
        }
    }
}
