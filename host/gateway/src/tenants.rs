//! Whom a request is from, and so through which pool it goes.
//!
//! | module | what it does |
//! |---|---|
//! | `directory` | who is served at this moment |
//! | `tenant` | one tenant: its pool, its limits |
//! | `admission` | how much a tenant may ask for |
//! | `maker` | makes tenants of what their files say |
//! | `threads` | what plugins of tenants run on |
//! | `change` | adds, changes and removes tenants while others are served |
//! | `watch` | sees that the files of tenants have changed |

mod admission;
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
use hyper::body::Incoming;
use hyper::{Request, Response};
use remora_host::PoolStats;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::body::Body;
use crate::build::{gateway, gateway_on, trust};
use crate::client::Refused;
use crate::config::{BuildError, Config, Timeouts};
use crate::gateway::{Gateway, Opened};
use crate::metrics::Traffic;
use crate::password::Inspector;
use crate::reply;
use crate::seldom::Seldom;
use crate::target::target;
pub(crate) use admission::{Beyond, Place};
use change::Changing;
pub(crate) use directory::{Directory, Party, Top};
use maker::Maker;
use maker::PATIENCE_ALONE;
pub(crate) use maker::{COMPILE, PATIENCE};
pub(crate) use tenant::Tenant;
pub(crate) use watch::{first, of_file, watch};

/// All that is served: one pool, or those of any number of tenants.
#[derive(Debug)]
pub struct Tenants {
    directory: ArcSwap<Directory>,
    malformed: Seldom,
    inspector: Inspector,
    traffic: Traffic,
    /// `None`: there is one pool, and always will be.
    maker: Option<Maker>,
    /// Who changes the directory holds it.
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
            session_header: config.session_header.clone(),
        };
        Self::new(top, maker, config.timeouts)
    }

    /// The tenants of a file, to see whether they are good: made with a storage that is gone with them, and so is
    /// what is compiled. `pool`: the one at the top, whose users come before theirs.
    pub(crate) fn trial(config: &Config, pool: Option<Gateway>) -> Result<Arc<Self>, BuildError> {
        let top = Top {
            pool: pool.map(|gateway| Arc::new(Tenant::top(gateway))),
            secrets: config.secrets.clone(),
            session_header: None,
        };
        let maker = Maker::trial(config, trust(config)?)?;
        let tenants = Self::new(top, Some(maker), config.timeouts)?;
        Ok(Arc::new(tenants))
    }

    /// One pool, for everybody.
    ///
    /// # Errors
    ///
    /// When the system has no randomness to give.
    pub fn only(gateway: Gateway) -> Result<Self, BuildError> {
        let timeouts = gateway.timeouts();
        let top = Top {
            pool: Some(Arc::new(Tenant::top(gateway))),
            secrets: HashMap::new(),
            session_header: None,
        };
        Self::new(top, None, timeouts)
    }

    fn new(top: Top, maker: Option<Maker>, timeouts: Timeouts) -> Result<Self, BuildError> {
        let directory = match &maker {
            None => Directory::alone(top),
            Some(_) => Directory::among_tenants(top),
        };
        Ok(Self {
            directory: ArcSwap::from_pointee(directory),
            malformed: Seldom::default(),
            inspector: Inspector::new().map_err(|_| BuildError::Random)?,
            traffic: Traffic::default(),
            maker,
            changing: Mutex::new(Changing {
                timeouts,
                making: HashMap::new(),
                busy: HashSet::new(),
            }),
            at_work: TaskTracker::new(),
        })
    }

    /// Who is served at this moment.
    pub(crate) fn directory(&self) -> Arc<Directory> {
        self.directory.load_full()
    }

    /// Whether there can be more pools than one.
    pub(crate) fn are_many(&self) -> bool {
        self.maker.is_some()
    }

    pub(crate) fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// The record of the pool at the top gets its file.
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

    /// Serves one request of a client.
    pub(crate) async fn serve(
        &self,
        mut request: Request<Incoming>,
        opened: &Opened,
    ) -> Response<Body> {
        let target = match target(request.method(), request.uri()) {
            Ok(target) => target,
            Err(line) => {
                return self.malformed(line);
            }
        };
        let heard = {
            let directory = self.directory.load();
            directory
                .clients
                .hear(request.headers_mut(), &self.inspector)
        };
        let sure = match heard {
            Ok(heard) => heard.sure(&self.inspector).await,
            Err(refused) => Err(refused),
        };
        let (tenant, wishes) = match sure {
            Ok((Party::There(tenant), wishes)) => (tenant, wishes),
            Ok((Party::Absent(tenant), _)) => {
                let host = target.host();
                tracing::info!(target: "remora::access", %tenant, host, "the tenant is not there");
                return reply::absent_tenant();
            }
            Err(Refused::Unknown) => {
                let host = target.host();
                tracing::info!(target: "remora::access", host, "unknown client");
                return reply::unknown_client();
            }
            Err(Refused::Malformed(line)) => return self.malformed(line),
            Err(Refused::Busy) => {
                tracing::warn!(target: "remora::access", "too many clients say who they are for the first time");
                return reply::busy();
            }
        };
        let place = match tenant.admit() {
            Ok(place) => place,
            Err(beyond) => {
                let tenant = tenant.gateway().tenant().map(|name| &**name);
                tracing::info!(target: "remora::access", tenant, host = target.host(), limit = beyond.name(), "limited");
                return reply::beyond(beyond);
            }
        };
        let gateway = tenant.gateway();
        gateway.serve(request, target, &wishes, place, opened).await
    }

    /// A client that has to be mended: whoever runs the gateway hears of it.
    fn malformed(&self, line: &str) -> Response<Body> {
        if self.malformed.is_due() {
            tracing::warn!(target: "remora::access", line, "refused with 400; others like it are said once a minute");
        }
        tracing::debug!(target: "remora::access", line, "malformed");
        reply::malformed(line)
    }

    /// Closes connections to upstream proxies that nobody has used for a while.
    pub(crate) fn sweep(&self) {
        for tenant in self.directory().all() {
            tenant.gateway().sweep();
        }
    }

    /// Before the process ends: every release is through, and what has changed is on disk. None of them waits for
    /// another.
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
