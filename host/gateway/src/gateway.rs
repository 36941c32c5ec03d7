//! A pool and its state while it is served: manager, settings, connections to upstream proxies, counters.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use remora_host::{Config, Error, Proxy, ProxyManager};
use uuid::Uuid;

use crate::config::{Settings, Timeouts};
use crate::lease::Observers;
use crate::metrics::Metrics;
use crate::record::Record;
use crate::store::Store;
use crate::upstream::{Trust, Upstreams};

/// A pool that is served.
pub struct Gateway {
    manager: ProxyManager,
    settings: ArcSwap<Settings>,
    upstreams: Arc<Upstreams>,
    observers: Arc<Observers>,
    /// Number of requests that have asked for a proxy.
    requests: AtomicU64,
    decides: bool,
    store: Arc<Store>,
    record: Option<Record>,
    /// The proxies that come from a file; those that an operator has added are not among them.
    managed_by_file: Mutex<HashSet<Uuid>>,
    /// Whether a change has begun and not succeeded: the pool may match no file.
    change_pending: AtomicBool,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("manager", &self.manager)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Gateway {
    /// A gateway that sends requests through the proxies that `manager` grants.
    pub fn new(manager: ProxyManager, settings: Settings, trust: Trust) -> Self {
        Self {
            manager,
            settings: ArcSwap::from_pointee(settings),
            upstreams: Arc::new(Upstreams::new(trust)),
            observers: Arc::default(),
            requests: AtomicU64::new(0),
            decides: true,
            store: Arc::default(),
            record: None,
            managed_by_file: Mutex::default(),
            change_pending: AtomicBool::new(false),
        }
    }

    pub(crate) fn with_store(self, store: Arc<Store>) -> Self {
        Self { store, ..self }
    }

    pub(crate) fn with_record(self, record: Option<Record>) -> Self {
        Self { record, ..self }
    }

    /// Notes the proxies that come from a file: they leave when the file names them no longer.
    pub(crate) fn managed_by_file(self, proxies: Vec<Uuid>) -> Self {
        Self {
            managed_by_file: Mutex::new(proxies.into_iter().collect()),
            ..self
        }
    }

    /// Sets the tenant that owns the pool.
    pub(crate) fn of(self, tenant: &str) -> Self {
        let observers = Arc::new(Observers {
            tenant: Some(tenant.into()),
            metrics: self.observers.metrics.clone(),
        });
        Self { observers, ..self }
    }

    /// Goes on with the connections and the counters of another gateway of the same tenant.
    pub(crate) fn following(self, before: &Self) -> Self {
        Self {
            upstreams: before.upstreams.clone(),
            observers: before.observers.clone(),
            ..self
        }
    }

    /// The tenant that owns the pool; `None` for the default pool.
    pub(crate) fn tenant(&self) -> Option<&Arc<str>> {
        self.observers.tenant.as_ref()
    }

    /// The observers of its leases.
    pub(crate) fn observers(&self) -> &Arc<Observers> {
        &self.observers
    }

    /// The upstream proxies.
    pub(crate) fn upstreams(&self) -> &Upstreams {
        &self.upstreams
    }

    /// The settings of this moment, for one request.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// The state of the storage.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// The file that its decisions are written to, if any.
    pub(crate) fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    /// Before the process ends: every release is through, and all changes are on disk.
    pub(crate) async fn settled(&self) {
        self.manager.settled().await;
        self.store.flush();
    }

    /// The pool.
    pub fn manager(&self) -> &ProxyManager {
        &self.manager
    }

    /// From now on every request takes the first proxy without a decision: for benchmarks.
    #[doc(hidden)]
    pub fn decide_nothing(&mut self) {
        self.decides = false;
    }

    /// The next request's number.
    pub(crate) fn count_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn decides(&self) -> bool {
        self.decides
    }

    /// Other settings, from the next request on.
    pub fn set(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    /// Its timeouts.
    pub(crate) fn timeouts(&self) -> Timeouts {
        self.settings.load().timeouts
    }

    /// Applies what a file says now; proxies that an operator has added stay. Answers with the number of proxies
    /// that have left.
    ///
    /// After a failure the next change completes it.
    pub(crate) async fn change(
        &self,
        config: Config,
        proxies: Vec<Proxy>,
        settings: Settings,
    ) -> Result<usize, Error> {
        // Before the first call: this may be dropped on the way.
        self.change_pending.store(true, Ordering::Release);
        self.manager.reconfigure(config).await?;
        let stay = self.manager.add_proxies(proxies).await?;
        let gone: Vec<Uuid> = {
            let mut managed = self.managed_by_file.lock();
            managed.extend(&stay);
            let gone = managed.iter().filter(|id| !stay.contains(id));
            gone.copied().collect()
        };
        self.set(settings);
        // A proxy that cannot leave now does not keep the others.
        let mut left = Ok(gone.len());
        for id in gone {
            if let Err(error) = self.remove_proxy(id).await {
                let tenant = self.observers.tenant.as_deref();
                tracing::warn!(tenant, %id, %error, "a proxy that is to go is still in the pool; the next change tries again");
                left = left.and(Err(error));
            }
        }
        self.change_pending.store(left.is_err(), Ordering::Release);
        left
    }

    /// Whether a change has begun and not succeeded: the pool may match no file.
    pub(crate) fn change_pending(&self) -> bool {
        self.change_pending.load(Ordering::Acquire)
    }

    /// The proxies that come from a file.
    pub(crate) fn file_proxies(&self) -> HashSet<Uuid> {
        self.managed_by_file.lock().clone()
    }

    /// Other timeouts, from the next request on.
    pub(crate) fn set_timeouts(&self, timeouts: Timeouts) {
        let settings = self.settings.load();
        if settings.timeouts != timeouts {
            self.set(Settings {
                timeouts,
                ..(**settings).clone()
            });
        }
    }

    /// Takes a proxy out. Answers whether it was in the pool.
    ///
    /// # Errors
    ///
    /// As [`ProxyManager::remove_proxy`].
    pub async fn remove_proxy(&self, id: Uuid) -> Result<bool, Error> {
        let found = self.manager.remove_proxy(id).await?;
        self.managed_by_file.lock().remove(&id);
        self.forget(id);
        Ok(found)
    }

    /// Closes the connections to a proxy that is not in the pool any more.
    pub(crate) fn forget(&self, id: Uuid) {
        self.upstreams.forget(id);
    }

    /// Its counters.
    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.observers.metrics
    }

    /// Closes the connections to upstream proxies that were idle for too long.
    pub(crate) fn sweep(&self) {
        self.upstreams.sweep();
    }
}
