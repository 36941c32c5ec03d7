//! One tenant: its pool, its limits, and the fields that both were built from.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::stamp::Stamp;
use crate::admission::Admission;
use crate::config::TenantConfig;
use crate::gateway::Gateway;
use crate::password::Secret;
use crate::router::RoutedPool;
use crate::storage::OpenStorage;

/// A pool and its users. It is immutable: a tenant that changes is replaced by one that keeps the rest.
pub(crate) struct Tenant {
    pub(super) pool: Arc<RoutedPool>,
    /// `None`: the default pool.
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
            .field("name", &self.gateway().tenant())
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

impl Tenant {
    /// The default pool.
    pub(super) fn top(gateway: Gateway) -> Self {
        let pool = RoutedPool {
            gateway: Arc::new(gateway),
            admission: None,
        };
        Self {
            pool: Arc::new(pool),
            made: None,
        }
    }

    /// Its pool.
    pub(crate) fn gateway(&self) -> &Arc<Gateway> {
        &self.pool.gateway
    }

    /// The file of its plugin; `None` for the one built in.
    pub(crate) fn plugin(&self) -> Option<&Path> {
        self.made.as_ref()?.fields.plugin()
    }

    /// Number of requests in flight, where they are counted.
    pub(crate) fn in_flight(&self) -> Option<usize> {
        self.pool.admission.as_ref().map(Admission::in_flight)
    }

    /// Whether it has these fields, and no change is pending.
    pub(super) fn is(&self, fields: &TenantConfig) -> bool {
        self.is_made_of(fields) && !self.gateway().change_pending()
    }

    /// Whether it was built from these fields and from the plugin's file of this moment.
    pub(super) fn is_made_of(&self, fields: &TenantConfig) -> bool {
        self.made.as_ref().is_some_and(|made| {
            *made.fields == *fields && made.plugin == fields.plugin().and_then(Stamp::of)
        })
    }
}
