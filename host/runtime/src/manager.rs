//! A pool of proxies with sticky sessions.

mod builder;
mod report;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use remora_core::{Config, Outcome, ProxySpec, Released, Request, Storage};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::config::{ProxyConfig, Strategy};
use crate::decisions::Decisions;
use crate::error::Error;
use crate::handle::ProxyHandle;
use crate::instances::home;
use crate::proxy::{Endpoint, Proxy};
use crate::settlement::Settlement;

pub use builder::ProxyManagerBuilder;
pub(crate) use report::time;
pub use report::{BreakerState, PoolStats, ProxyInfo, SessionInfo};

/// A proxy in the pool, with what the plugin does not see of it.
pub(crate) struct Member {
    pub(crate) id: Uuid,
    pub(crate) proxy: Proxy,
    pub(crate) endpoint: Endpoint,
    /// Its URL without credentials.
    pub(crate) address: String,
}

/// The proxies that a manager knows.
#[derive(Clone, Default)]
pub(crate) struct Members {
    list: Vec<Arc<Member>>,
    places: HashMap<Uuid, usize>,
}

impl Members {
    fn with(&self, members: &[Arc<Member>]) -> Self {
        let mut all = self.clone();
        for member in members {
            match all.places.get(&member.id) {
                Some(place) => all.list[*place] = member.clone(),
                None => {
                    all.places.insert(member.id, all.list.len());
                    all.list.push(member.clone());
                }
            }
        }
        all
    }

    fn without(&self, id: Uuid) -> Self {
        let rest = self.list.iter().filter(|member| member.id != id).cloned();
        Self::default().with(&rest.collect::<Vec<_>>())
    }

    pub(crate) fn count(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn get(&self, id: &Uuid) -> Option<&Member> {
        self.places.get(id).map(|place| &*self.list[*place])
    }
}

/// What a handle holds on to: one counter of references for every thread, rather than one that all threads
/// fight over.
pub(crate) struct View {
    pub(crate) shared: Arc<Shared>,
    members: Arc<Members>,
}

impl View {
    fn of(shared: &Arc<Shared>, members: &Arc<Members>) -> Arc<Self> {
        Arc::new(Self {
            shared: shared.clone(),
            members: members.clone(),
        })
    }

    pub(crate) fn place(&self, id: &Uuid) -> Option<usize> {
        self.members.places.get(id).copied()
    }

    pub(crate) fn member(&self, place: usize) -> &Member {
        &self.members.list[place]
    }
}

/// The views of the threads, and the lock of those who change them.
pub(crate) struct Views {
    /// One for each instance. A tenant that was not asked for a while is in no cache: the fewer steps to a proxy, the
    /// better.
    current: Box<[ArcSwap<View>]>,
    changing: Arc<Mutex<()>>,
}

impl Views {
    fn new(shared: &Arc<Shared>) -> Self {
        let members = Arc::new(Members::default());
        let view = |_| ArcSwap::new(View::of(shared, &members));
        Self {
            current: (0..shared.decisions.count()).map(view).collect(),
            changing: Arc::default(),
        }
    }

    fn set(&self, shared: &Arc<Shared>, members: Members) {
        let members = Arc::new(members);
        for view in &self.current {
            view.store(View::of(shared, &members));
        }
    }

    fn members(&self) -> Arc<Members> {
        self.current[0].load().members.clone()
    }

    /// This thread's.
    fn own(&self) -> Arc<View> {
        self.current[home() % self.current.len()].load_full()
    }
}

impl Drop for Views {
    /// The last clone of the manager is gone. Handles may be out for as long as a tunnel is open: they keep what it takes
    /// to release them, and no instance.
    fn drop(&mut self) {
        if let Some(view) = self.current.first() {
            view.load().shared.decisions.retire();
        }
    }
}

/// What a manager and its handles share.
pub(crate) struct Shared {
    pub(crate) decisions: Decisions,
    strategy: Strategy,
    /// The outcome of a handle that is dropped without a mark.
    unmarked: Outcome,
}

/// A pool of proxies with sticky sessions, rotation and circuit breakers. Cheap to clone; clones are the
/// same pool.
#[derive(Clone)]
pub struct ProxyManager {
    shared: Arc<Shared>,
    views: Arc<Views>,
}

impl std::fmt::Debug for ProxyManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProxyManager")
            .field("proxies", &self.views.members().list.len())
            .field("decisions", &self.shared.decisions)
            .finish_non_exhaustive()
    }
}

impl ProxyManager {
    /// A manager that gives new sessions each proxy in turn.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] names the first setting that is not accepted.
    pub fn with_round_robin<S: Storage + Send + Sync + 'static>(
        storage: Arc<S>,
        config: ProxyConfig,
    ) -> Result<Self, Error> {
        Self::with_strategy(Strategy::RoundRobin, storage, config)
    }

    /// A manager that gives new sessions any proxy, each as likely.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] names the first setting that is not accepted.
    pub fn with_random<S: Storage + Send + Sync + 'static>(
        storage: Arc<S>,
        config: ProxyConfig,
    ) -> Result<Self, Error> {
        Self::with_strategy(Strategy::Random, storage, config)
    }

    /// A manager that gives new sessions each proxy as often as its weight says.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] names the first setting that is not accepted.
    pub fn with_weighted<S: Storage + Send + Sync + 'static>(
        storage: Arc<S>,
        config: ProxyConfig,
    ) -> Result<Self, Error> {
        Self::with_strategy(Strategy::Weighted, storage, config)
    }

    /// A manager that gives new sessions the proxy with the fewest requests in flight.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] names the first setting that is not accepted.
    pub fn with_least_used<S: Storage + Send + Sync + 'static>(
        storage: Arc<S>,
        config: ProxyConfig,
    ) -> Result<Self, Error> {
        Self::with_strategy(Strategy::LeastUsed, storage, config)
    }

    fn with_strategy<S: Storage + Send + Sync + 'static>(
        strategy: Strategy,
        storage: Arc<S>,
        config: ProxyConfig,
    ) -> Result<Self, Error> {
        let builder = Self::builder().storage(storage).config(config);
        builder.strategy(strategy).build()
    }

    /// A manager with everything left to say.
    pub fn builder() -> ProxyManagerBuilder {
        ProxyManagerBuilder::default()
    }

    /// Adds a proxy and answers with its id, which follows from its URL and user name
    /// ([`Proxy::id`]). Adding one again gives it its new password, weight and tags, and leaves its
    /// sessions and breaker alone.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] says what is wrong with it; the pool is as before.
    pub async fn add_proxy(&self, proxy: Proxy) -> Result<Uuid, Error> {
        let ids = self.add_proxies(vec![proxy]).await?;
        Ok(ids[0])
    }

    /// Adds proxies, all or none. See [`ProxyManager::add_proxy`].
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] names the first proxy that is not accepted; the pool is as before.
    pub async fn add_proxies(&self, proxies: Vec<Proxy>) -> Result<Vec<Uuid>, Error> {
        let members: Vec<Arc<Member>> = proxies
            .into_iter()
            .map(|proxy| Member::new(proxy).map(Arc::new))
            .collect::<Result<_, _>>()?;
        let specs: Vec<ProxySpec> = members.iter().map(|member| member.spec()).collect();
        let ids = members.iter().map(|member| member.id).collect();
        self.change(move |this| async move {
            // Known here before the plugin can choose them.
            let before = this.views.members();
            this.views.set(&this.shared, before.with(&members));
            let added = this.shared.decisions.add_proxies(&specs).await;
            if added.is_err() {
                this.views.set(&this.shared, (*before).clone());
            }
            added
        })
        .await?;
        Ok(ids)
    }

    /// Takes a proxy out. Its sessions end at their next acquire, its handles are released to no effect.
    /// Answers whether it was in the pool.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] when its breaker could not be forgotten; the pool is as before.
    pub async fn remove_proxy(&self, id: Uuid) -> Result<bool, Error> {
        self.change(move |this| async move {
            let found = this.shared.decisions.remove_proxy(id).await?;
            let rest = this.views.members().without(id);
            this.views.set(&this.shared, rest);
            Ok(found)
        })
        .await
    }

    /// Changes the pool, one after the other. Once it is its turn, it goes on to its end, whether who asked still waits
    /// or not: the plugin and the views say the same.
    async fn change<T, F>(&self, change: impl FnOnce(Self) -> F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let turn = self.views.changing.clone().lock_owned().await;
        let change = change(self.clone());
        let in_turn = async move {
            let changed = change.await;
            drop(turn);
            changed
        };
        self.shared.decisions.whole(in_turn).await
    }

    /// Switches a proxy off (it gets no requests, its sessions end at their next acquire) or on again: for
    /// health checks and maintenance. Answers whether it is in the pool.
    ///
    /// # Errors
    ///
    /// [`Error::Plugin`] when the plugin cannot run.
    pub async fn set_health(&self, id: Uuid, healthy: bool) -> Result<bool, Error> {
        self.shared.decisions.set_health(id, healthy).await
    }

    /// Replaces the settings, but for the strategy. Live sessions keep the time to live they began with.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] names the first setting that is not accepted; the old ones stay in force.
    pub async fn reconfigure(&self, config: impl Into<Config>) -> Result<(), Error> {
        let config = Config {
            strategy: self.shared.strategy,
            ..config.into()
        };
        self.shared.decisions.configure(config).await
    }

    /// Waits until every release that has begun is through. Handles that are dropped release in the background
    /// where the storage is behind a network; a program that ends should wait for them.
    pub async fn settled(&self) {
        self.shared.decisions.settled().await;
    }

    /// The next proxy by rotation, for a request that belongs to no session.
    ///
    /// # Errors
    ///
    /// [`Error`] says why there is none, and [`Error::retry_after`] when to try again.
    pub async fn acquire_proxy(&self) -> Result<ProxyHandle, Error> {
        self.acquire(&Request::default()).await
    }

    /// The proxy for a request to `domain`: the one its session is bound to, or a fresh one that a new
    /// session is bound to.
    ///
    /// # Errors
    ///
    /// [`Error`] says why there is none, and [`Error::retry_after`] when to try again.
    pub async fn acquire_for_domain(&self, domain: &str) -> Result<ProxyHandle, Error> {
        if domain.is_empty() {
            return Err(Error::Key(remora_core::KeyError::Empty));
        }
        let request = Request {
            target: domain,
            ..Request::default()
        };
        self.acquire(&request).await
    }

    /// The proxy for a request, with all that can be said of one: the client's own session id, tags that
    /// the proxy must carry, proxies that were tried already. A request whose `target` is empty belongs to
    /// no session.
    ///
    /// ```
    /// # use remora_host::{Proxy, ProxyManager, Request};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), remora_host::Error> {
    /// let mgr = ProxyManager::builder().build()?;
    /// let tags = vec!["de".to_string()];
    /// mgr.add_proxy(Proxy { tags, ..Proxy::from_url("http://192.0.2.1:8080")? }).await?;
    /// let handle = mgr
    ///     .acquire(&Request {
    ///         target: "shop.example.com",
    ///         session: Some("alice"),
    ///         tags: &["de"],
    ///         ..Request::default()
    ///     })
    ///     .await?;
    /// assert_eq!(handle.session_key(), Some("shop.example.com?de#alice"));
    /// handle.mark_success();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error`] says why there is none, and [`Error::retry_after`] when to try again.
    pub async fn acquire(&self, request: &Request<'_>) -> Result<ProxyHandle, Error> {
        let target = to_ascii(request.target)?;
        let request = Request {
            target: &target,
            ..*request
        };
        let grant = self.shared.decisions.acquire(&request).await?;
        let view = self.views.own();
        let Some(place) = view.place(&grant.lease.proxy) else {
            // Removed between the decision and now, or a plugin that makes proxies up.
            let decisions = &self.shared.decisions;
            decisions.settle(Settlement::unused(grant.lease)).await?;
            return Err(Error::NoProxy);
        };
        let unmarked = self.shared.unmarked;
        let target = request.target;
        Ok(ProxyHandle::new(
            view,
            place,
            grant,
            target,
            request.tags,
            unmarked,
        ))
    }

    /// Whether decisions wait for a storage behind a network.
    pub fn is_networked(&self) -> bool {
        matches!(self.shared.decisions, Decisions::Remote(_))
    }

    /// Up to `limit` other exits for a request whose own one does not serve it, in the order in which they are to be tried
    /// (rule 13). `request` is the one that `handle` was acquired for. The handles are told to
    /// [`ProxyHandle::settle`]; dropped, they say nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] or [`Error::Plugin`].
    pub async fn fallbacks(
        &self,
        handle: &ProxyHandle,
        request: &Request<'_>,
        limit: u32,
    ) -> Result<Vec<ProxyHandle>, Error> {
        let Some(lease) = handle.lease() else {
            return Ok(Vec::new());
        };
        let target = to_ascii(request.target)?;
        let request = Request {
            target: &target,
            ..*request
        };
        let decisions = &self.shared.decisions;
        let permits = decisions.fallbacks(lease.permit, &request, limit).await?;
        let view = self.views.own();
        let known = permits.into_iter().filter_map(|permit| {
            let place = view.place(&permit.proxy)?;
            Some(handle.fallback(view.clone(), place, permit, request.tags))
        });
        Ok(known.collect())
    }

    /// Sends a request through one exit and, where that does not answer, through up to `retries` others, and settles it: the
    /// first exit that answers is a witness against those before it (rule 13).
    ///
    /// `attempt` sends the request through the exit of the handle and says how that ended; the last result is the
    /// function's. A request that [cannot be sent again](Request::is_repeatable) has one attempt.
    ///
    /// # Errors
    ///
    /// [`Error`] says why there is no proxy, and that no attempt was made. A storage that fails later is logged. Dropped before
    /// its end, the request counts as cancelled.
    pub async fn run<T>(
        &self,
        request: &Request<'_>,
        retries: u32,
        mut attempt: impl AsyncFnMut(&ProxyHandle) -> (Outcome, T),
    ) -> Result<T, Error> {
        let handle = self.acquire(request).await?;
        // Given up on the way, it is nobody's fault.
        handle.mark_cancelled();
        let (outcome, mut result) = attempt(&handle).await;
        let calls_for_another =
            |outcome: Outcome| outcome.is_ambiguous() || outcome == Outcome::Failure;
        if !request.is_repeatable || retries == 0 || !calls_for_another(outcome) {
            lost(handle.release(outcome).await);
            return Ok(result);
        }
        let mut others = Vec::new();
        let fallbacks = self.fallbacks(&handle, request, retries).await;
        for fallback in fallbacks.unwrap_or_default() {
            let (outcome, answer) = attempt(&fallback).await;
            result = answer;
            others.push((fallback, outcome));
            if !calls_for_another(outcome) {
                break;
            }
        }
        let ended: Vec<_> = others
            .iter()
            .map(|(handle, outcome)| (handle, *outcome))
            .collect();
        lost(handle.settle(outcome, &ended).await);
        Ok(result)
    }
}

/// A settlement that was lost: the answer of the target is there all the same.
fn lost(settled: Result<Released, Error>) {
    if let Err(error) = settled {
        tracing::warn!(%error, "settlement lost");
    }
}

impl ProxyManager {
    /// The first proxy, without a decision: for benchmarks.
    pub(crate) fn unleased(&self) -> Option<ProxyHandle> {
        let view = self.views.own();
        (!view.members.list.is_empty()).then(|| ProxyHandle::unleased(view))
    }
}

impl Member {
    fn new(proxy: Proxy) -> Result<Self, Error> {
        let endpoint = proxy.endpoint()?;
        let address = endpoint.address();
        Ok(Self {
            id: proxy.id()?,
            proxy: Proxy {
                url: address.clone(),
                username: endpoint.username.clone(),
                password: endpoint.password.clone(),
                ..proxy
            },
            endpoint,
            address,
        })
    }

    fn spec(&self) -> ProxySpec {
        ProxySpec {
            id: self.id,
            weight: self.proxy.weight,
            tags: self.proxy.tags.clone(),
        }
    }
}

/// Rule 1: the plugin takes ASCII; names in other scripts are punycoded here.
fn to_ascii(target: &str) -> Result<Cow<'_, str>, Error> {
    if target.is_ascii() {
        return Ok(Cow::Borrowed(target));
    }
    let (host, port) = match target.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (host, Some(port)),
        _ => (target, None),
    };
    let ascii = idna::domain_to_ascii(host).map_err(|_| Error::Domain(host.to_owned()))?;
    Ok(Cow::Owned(match port {
        Some(port) => format!("{ascii}:{port}"),
        None => ascii,
    }))
}
