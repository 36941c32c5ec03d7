//! Instances of a plugin whose storage is behind a network.
//!
//! An instance serves one call at a time and waits with it for the network, so there are more of them than cores. A
//! call is a task: it goes on to its end when the client that asked has gone, because half a decision would cost
//! the instance, and a lease that nobody hears of would be lost.

mod clock;
mod exports;
pub(crate) mod imports;
mod instance;
mod pool;

use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;
use parking_lot::RwLock;
use remora_core::{Config, Grant, ProxySpec, Released, Request, StorageError};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::clock::Clock;
use crate::contract::Pages;
use crate::error::Error;
use crate::instances::{Wanted, session_pages};
use crate::plugin::Plugin;
use crate::settlement::Settlement;
use crate::storage::RemoteStorage;
pub(crate) use clock::FleetClock;
pub(crate) use instance::OwnedRequest;
use instance::{Calling, RemoteInstance};
use pool::Pool;

/// How many instances there are unless somebody says otherwise.
pub(crate) const INSTANCES: usize = 32;

/// The instances, and what it takes to make another one.
pub(crate) struct RemoteInstances {
    plugin: Plugin,
    clock: Arc<dyn Clock>,
    storage: Arc<dyn RemoteStorage>,
    /// How long a decision may take, all in all.
    patience: Duration,
    pool: Pool,
    /// What every instance has to know, and how often that has changed.
    wanted: RwLock<(Wanted, u64)>,
    /// Changes of `wanted` come one after the other.
    telling: Arc<Mutex<()>>,
    runtime: Handle,
    releases: TaskTracker,
    hasher: FixedState,
}

impl fmt::Debug for RemoteInstances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteInstances")
            .field("plugin", &self.plugin)
            .field("pool", &self.pool)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

impl RemoteInstances {
    pub(crate) fn new(
        plugin: Plugin,
        clock: Arc<dyn Clock>,
        storage: Arc<dyn RemoteStorage>,
        count: usize,
        config: Config,
        patience: Duration,
    ) -> Result<Arc<Self>, Error> {
        let runtime = Handle::try_current().map_err(|_| {
            Error::invalid(
                "remote_storage",
                "no runtime",
                "a manager with a networked storage is built inside a tokio runtime",
            )
        })?;
        let wanted = Wanted {
            config,
            proxies: Vec::new(),
        };
        Ok(Arc::new(Self {
            plugin,
            clock,
            storage,
            patience,
            pool: Pool::new(count),
            wanted: RwLock::new((wanted, 0)),
            telling: Arc::default(),
            runtime,
            releases: TaskTracker::new(),
            hasher: FixedState::default(),
        }))
    }

    pub(crate) fn traps(&self) -> u64 {
        self.pool.traps()
    }

    pub(crate) fn count(&self) -> usize {
        self.pool.count()
    }

    /// Gives back the room that instances take. The leases that are out can still be released.
    pub(crate) fn retire(&self) {
        self.pool.retire();
    }

    pub(crate) fn session_pages(&self) -> Pages {
        session_pages(self.wanted.read().0.config.max_sessions)
    }

    pub(crate) async fn acquire(self: &Arc<Self>, request: &Request<'_>) -> Result<Grant, Error> {
        let request = OwnedRequest::from(request);
        let this = self.clone();
        let (sender, answer) = oneshot::channel();
        self.runtime.spawn(async move {
            // The same key on the same instance: it has a good guess where the key is bound to.
            let place = this.place(&request.target);
            let granted = this
                .decide(place, move |i| Box::pin(i.acquire(request)))
                .await;
            // Dropped on the way, it goes back.
            let _ = sender.send(granted.map(|grant| Delivery {
                grant: Some(grant),
                from: this.clone(),
            }));
        });
        let mut delivery = answer.await.unwrap_or_else(|_| Err(unavailable()))?;
        delivery.grant.take().ok_or_else(unavailable)
    }

    pub(crate) async fn settle(
        self: &Arc<Self>,
        settlement: Settlement,
    ) -> Result<Released, Error> {
        let (sender, answer) = oneshot::channel();
        self.settle_then(settlement, |released| {
            // Nobody may be listening.
            let _ = sender.send(released);
        });
        answer.await.unwrap_or_else(|_| Err(unavailable()))
    }

    pub(crate) fn settle_then(
        self: &Arc<Self>,
        settlement: Settlement,
        then: impl FnOnce(Result<Released, Error>) + Send + 'static,
    ) {
        let this = self.clone();
        let settle = async move {
            let place = this.place(&settlement.lease.key);
            let call = this.call(place, move |i| Box::pin(i.settle(settlement)));
            then(call.await);
        };
        self.releases.spawn_on(settle, &self.runtime);
    }

    pub(crate) async fn settled(&self) {
        self.releases.close();
        self.releases.wait().await;
        self.releases.reopen();
    }

    pub(crate) async fn add_proxies(self: &Arc<Self>, specs: Vec<ProxySpec>) -> Result<(), Error> {
        let told = specs.clone();
        self.tell(
            move |i| Box::pin(i.add_proxies(told)),
            move |wanted| wanted.set(&specs),
        )
        .await
    }

    pub(crate) async fn remove_proxy(self: &Arc<Self>, id: Uuid) -> Result<bool, Error> {
        self.tell(
            move |i| Box::pin(i.remove_proxy(id)),
            move |wanted| wanted.remove(id),
        )
        .await
    }

    pub(crate) async fn set_health(self: &Arc<Self>, id: Uuid, on: bool) -> Result<bool, Error> {
        self.tell(
            move |i| Box::pin(i.set_health(id, on)),
            move |wanted| wanted.set_health(id, on),
        )
        .await
    }

    pub(crate) async fn configure(self: &Arc<Self>, config: Config) -> Result<(), Error> {
        let told = config.clone();
        self.tell(
            move |i| Box::pin(i.configure(told)),
            move |wanted| wanted.config = config,
        )
        .await
    }

    pub(crate) async fn unbind(self: &Arc<Self>, key: String) -> Result<bool, Error> {
        self.run(move |i| Box::pin(i.unbind(key))).await
    }

    /// Tells one instance, which may refuse; all others are made anew from what is wanted. Once it is its turn, it goes
    /// on to its end, whether who asked still waits or not: a change that one instance alone knows would stay there.
    async fn tell<T: Send + 'static>(
        self: &Arc<Self>,
        f: impl FnOnce(&mut RemoteInstance) -> Calling<'_, T> + Send + 'static,
        note: impl FnOnce(&mut Wanted) + Send + 'static,
    ) -> Result<T, Error> {
        let turn = self.telling.clone().lock_owned().await;
        let this = self.clone();
        let task = self.runtime.spawn(async move {
            let answer = this.call(0, f).await;
            let mut wanted = this.wanted.write();
            if answer.is_ok() {
                note(&mut wanted.0);
            }
            // After a refusal, too: what the instance has taken in before it failed, nobody knows.
            wanted.1 += 1;
            drop(wanted);
            drop(turn);
            answer
        });
        task.await.unwrap_or_else(|_| Err(unavailable()))
    }

    /// Where its tasks run.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Runs a call to its end, whether who asked still waits or not.
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        f: impl FnOnce(&mut RemoteInstance) -> Calling<'_, T> + Send + 'static,
    ) -> Result<T, Error> {
        let this = self.clone();
        let task = self.runtime.spawn(async move { this.decide(0, f).await });
        task.await.unwrap_or_else(|_| Err(unavailable()))
    }

    /// [`call`](Self::call) for what looks at the time: not before the fleet's is known.
    async fn decide<T>(
        &self,
        place: usize,
        f: impl FnOnce(&mut RemoteInstance) -> Calling<'_, T> + Send + 'static,
    ) -> Result<T, Error> {
        if self.storage.now_ms().is_none() {
            let known = timeout(self.patience, self.storage.time_known()).await;
            known
                .unwrap_or(Err(StorageError::Unavailable))
                .map_err(Error::Storage)?;
        }
        self.call(place, f).await
    }

    /// Runs a call on an instance that nobody else is using, the one at `place` if it is free.
    async fn call<T>(
        &self,
        place: usize,
        f: impl FnOnce(&mut RemoteInstance) -> Calling<'_, T> + Send + 'static,
    ) -> Result<T, Error> {
        let deadline = Instant::now() + self.patience;
        let lent = timeout_at(deadline, self.pool.lend(place)).await;
        let mut lent = lent.map_err(|_| unavailable())?;
        let (wanted, version) = {
            let wanted = self.wanted.read();
            let stale = lent.version() != Some(wanted.1);
            (stale.then(|| wanted.0.clone()), wanted.1)
        };
        if let Some(wanted) = wanted {
            lent.put(self.start(wanted).await?, version);
        }
        lent.call(deadline, f).await
    }

    async fn start(&self, wanted: Wanted) -> Result<RemoteInstance, Error> {
        let (clock, storage) = (self.clock.clone(), self.storage.clone());
        let mut instance = RemoteInstance::start(&self.plugin, clock, storage).await?;
        instance.configure(wanted.config).await?;
        let (specs, healthy): (Vec<ProxySpec>, Vec<bool>) = wanted.proxies.into_iter().unzip();
        let off: Vec<Uuid> = specs
            .iter()
            .zip(healthy)
            .filter_map(|(spec, healthy)| (!healthy).then_some(spec.id))
            .collect();
        instance.add_proxies(specs).await?;
        for id in off {
            instance.set_health(id, false).await?;
        }
        Ok(instance)
    }

    fn place(&self, key: &str) -> usize {
        self.hasher.hash_one(key) as usize % self.pool.count()
    }
}

/// A grant on its way to who asked. If that one has gone, it is released.
struct Delivery {
    grant: Option<Grant>,
    from: Arc<RemoteInstances>,
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(grant) = self.grant.take() {
            self.from
                .settle_then(Settlement::unused(grant.lease), |_| {});
        }
    }
}

fn unavailable() -> Error {
    Error::Storage(StorageError::Unavailable)
}
