//! The pools that are served: the default pool, and those of tenants. Their users are published to the router.
//!
//! | module | what it does |
//! |---|---|
//! | `directory` | the tenants and the users of this moment |
//! | `tenant` | one tenant: its pool, its limits |
//! | `maker` | makes tenants of what their files say |
//! | `threads` | what plugins of tenants run on |
//! | `change` | adds, changes and removes tenants while others are served |
//! | `watch` | sees that the files of tenants have changed |

mod change;
mod directory;
mod maker;
mod stamp;
mod tenant;
mod threads;
mod watch;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use remora_host::PoolStats;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::auth::ParamRules;
use crate::build::{gateway, gateway_on, trust};
use crate::config::{BuildError, Config, Timeouts};
use crate::gateway::Gateway;
use crate::password::Inspector;
use crate::router::Router;
use change::Changing;
pub(crate) use directory::{Directory, Top};
use maker::Maker;
use maker::PATIENCE_ALONE;
pub(crate) use maker::{COMPILE, PATIENCE};
pub(crate) use tenant::Tenant;
pub(crate) use watch::{first, of_file, watch};

/// The default pool, the pools of any number of tenants, or both.
#[derive(Debug)]
pub struct Tenants {
    directory: ArcSwap<Directory>,
    router: Arc<Router>,
    /// `None`: there is one pool, and always will be.
    maker: Option<Maker>,
    /// Locked while the directory changes.
    changing: Mutex<Changing>,
    /// Tenants that are being made on the side.
    at_work: TaskTracker,
}

impl Tenants {
    /// All that a file says, but for the tenants: those come with `become_these`.
    ///
    /// # Errors
    ///
    /// [`BuildError`] is the first thing that cannot be made.
    pub async fn of(config: &Config) -> Result<Self, BuildError> {
        let maker = match config.file.has_tenants() {
            true => Some(Maker::new(config, trust(config)?)?),
            false => None,
        };
        let pool = match (&maker, &config.pool) {
            (_, None) => None,
            (None, Some(_)) => Some(gateway(config).await?),
            (Some(maker), Some(_)) => Some(gateway_on(config, Some(&maker.runtime)).await?),
        };
        let top = Top {
            pool: pool.map(|gateway| Arc::new(Tenant::top(gateway))),
            secrets: config.secrets.clone(),
            params: config.params.clone(),
        };
        Self::new(top, maker, config.timeouts)
    }

    /// The tenants of a file, to see whether they are good: made with a storage that is gone with them, and so is
    /// what is compiled. `pool`: the one at the top, whose users come before theirs.
    pub(crate) fn trial(config: &Config, pool: Option<Gateway>) -> Result<Arc<Self>, BuildError> {
        let top = Top {
            pool: pool.map(|gateway| Arc::new(Tenant::top(gateway))),
            secrets: config.secrets.clone(),
            params: ParamRules::default(),
        };
        let maker = Maker::trial(config, trust(config)?)?;
        let tenants = Self::new(top, Some(maker), config.timeouts)?;
        Ok(Arc::new(tenants))
    }

    /// The default pool alone, without authentication.
    ///
    /// # Errors
    ///
    /// When the system has no randomness to give.
    pub fn only(gateway: Gateway) -> Result<Self, BuildError> {
        let timeouts = gateway.timeouts();
        let top = Top {
            pool: Some(Arc::new(Tenant::top(gateway))),
            secrets: HashMap::new(),
            params: ParamRules::default(),
        };
        Self::new(top, None, timeouts)
    }

    fn new(top: Top, maker: Option<Maker>, timeouts: Timeouts) -> Result<Self, BuildError> {
        let directory = match &maker {
            None => Directory::alone(top),
            Some(_) => Directory::among_tenants(top),
        };
        let inspector = Inspector::new().map_err(|_| BuildError::Random)?;
        Ok(Self {
            router: Arc::new(Router::new(directory.users.clone(), inspector)),
            directory: ArcSwap::from_pointee(directory),
            maker,
            changing: Mutex::new(Changing {
                timeouts,
                making: HashMap::new(),
                busy: HashSet::new(),
            }),
            at_work: TaskTracker::new(),
        })
    }

    /// The tenants and users of this moment.
    pub(crate) fn directory(&self) -> Arc<Directory> {
        self.directory.load_full()
    }

    /// Whether there can be more pools than one.
    pub(crate) fn are_many(&self) -> bool {
        self.maker.is_some()
    }

    /// The way of requests to the pools.
    pub(crate) fn router(&self) -> &Arc<Router> {
        &self.router
    }

    /// Replaces the directory, for the router, too.
    fn publish(&self, directory: Directory) {
        let users = directory.users.clone();
        self.directory.store(Arc::new(directory));
        self.router.publish(users);
    }

    /// Opens the trace file of the default pool.
    pub(crate) fn begin_record(&self) -> Result<(), BuildError> {
        let directory = self.directory();
        let record = directory.top().and_then(|top| top.gateway().record());
        let Some(record) = record else {
            return Ok(());
        };
        let path = record.open().map_err(|error| BuildError::Path {
            field: "record",
            path: record.path().display().to_string(),
            error,
        })?;
        tracing::info!(path = %path.display(), "every decision is recorded");
        Ok(())
    }

    /// Closes the connections to upstream proxies that were idle for too long.
    pub(crate) fn sweep(&self) {
        for tenant in self.directory().all() {
            tenant.gateway().sweep();
        }
    }

    /// Before the process ends: every release is through, and all changes are on disk. No pool waits for another.
    pub(crate) async fn settled(&self) {
        let mut settling = JoinSet::new();
        for tenant in self.directory().all() {
            let tenant = tenant.clone();
            settling.spawn(async move { tenant.gateway().settled().await });
        }
        while settling.join_next().await.is_some() {}
    }

    /// The pool of each of these in numbers, in their order; `None` where it does not say in time. None of them
    /// waits for another.
    pub(crate) async fn stats(&self, tenants: &[Arc<Tenant>]) -> Vec<Option<PoolStats>> {
        let patience = match self.are_many() {
            true => PATIENCE,
            false => PATIENCE_ALONE,
        };
        let mut asked = JoinSet::new();
        for (i, tenant) in tenants.iter().enumerate() {
            let tenant = tenant.clone();
            asked.spawn(async move {
                let stats = tenant.gateway().manager().pool_stats();
                let stats = timeout(patience, stats).await;
                (i, stats.ok().and_then(Result::ok))
            });
        }
        let mut all = vec![None; tenants.len()];
        while let Some(answer) = asked.join_next().await {
            if let Ok((i, stats)) = answer
                && let Some(place) = all.get_mut(i)
            {
                *place = stats;
            }
        }
        all
    }
}
