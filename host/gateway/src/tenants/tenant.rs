//! One tenant: its pool, its limits, and what both were made of.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::admission::{Admission, Beyond, Place};
use super::stamp::Stamp;
use crate::config::TenantConfig;
use crate::gateway::Gateway;
use crate::password::Secret;
use crate::storage::OpenStorage;

/// A pool and who may use it. It does not change: a tenant that changes is another one, which goes on with what
/// stays.
pub(crate) struct Tenant {
    pub(super) gateway: Arc<Gateway>,
    /// `None`: the pool at the top of the file, which has no limits of its own.
    pub(super) admission: Option<Admission>,
    pub(super) made: Option<Made>,
}

/// What a tenant was made of.
pub(super) struct Made {
    pub(super) fields: Arc<TenantConfig>,
    /// Of its plugin's file.
    pub(super) plugin: Option<Stamp>,
    pub(super) secrets: HashMap<String, Secret>,
    pub(super) storage: OpenStorage,
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenant")
            .field("name", &self.gateway.tenant())
            .field("gateway", &self.gateway)
            .field("admission", &self.admission)
            .finish_non_exhaustive()
    }
}

impl Tenant {
    /// The pool at the top of the file.
    pub(super) fn top(gateway: Gateway) -> Self {
        Self {
            gateway: Arc::new(gateway),
            admission: None,
            made: None,
        }
    }

    /// Its pool.
    pub(crate) fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// The file of its plugin; `None` for the one built in.
    pub(crate) fn plugin(&self) -> Option<&Path> {
        self.made.as_ref()?.fields.plugin()
    }

    /// How many of its requests are in flight, where they are counted.
    pub(crate) fn in_flight(&self) -> Option<usize> {
        self.admission.as_ref().map(Admission::in_flight)
    }

    /// Lets a request in.
    pub(super) fn admit(&self) -> Result<Option<Place>, Beyond> {
        let Some(admission) = &self.admission else {
            return Ok(None);
        };
        let admitted = admission.admit();
        let noted = admitted.inspect_err(|beyond| self.gateway.metrics().limited(beyond.name()));
        noted.map(Some)
    }

    /// Whether it is just this: there is nothing to change.
    pub(super) fn is(&self, fields: &TenantConfig) -> bool {
        self.is_made_of(fields) && !self.gateway.is_between()
    }

    /// Whether it was made of just this.
    pub(super) fn is_made_of(&self, fields: &TenantConfig) -> bool {
        self.made.as_ref().is_some_and(|made| {
            *made.fields == *fields && made.plugin == fields.plugin().and_then(Stamp::of)
        })
    }
}
