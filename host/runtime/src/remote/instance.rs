//! One running instance of a plugin that waits for its storage.

use std::pin::Pin;
use std::sync::Arc;

use remora_core::{Config, Grant, Lease, Permit, ProxySpec, Released, Request, StorageError};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;
use wasmtime::Store;
use wasmtime::component::{ComponentNamedList, Func, Lift, Lower};

use super::exports::Exports;
use super::imports::{REPORTED, RemoteState, Snapshot};
use crate::bindings::{control, egress, sessions, types};
use crate::clock::Clock;
use crate::contract;
use crate::convert::config::to_wit;
use crate::epoch;
use crate::error::{CallError, Error, PluginError};
use crate::imports::Allowance;
use crate::instance::{
    about, about_release, asks, attempts_of, granted, proxies_of, start_error, tags_of, tried_of,
};
use crate::plugin::Plugin;
use crate::settlement::Settlement;
use crate::storage::RemoteStorage;

type Answer<T> = Result<T, CallError>;

/// A call on an instance.
pub(super) type Calling<'a, T> = Pin<Box<dyn Future<Output = Answer<T>> + Send + 'a>>;

/// One instance. Its calls do what those of [`Instance`](crate::instance::Instance) do.
pub(crate) struct RemoteInstance {
    store: Store<RemoteState>,
    exports: Exports,
}

/// A [`Request`] that a task can take along.
pub(crate) struct OwnedRequest {
    pub(crate) target: String,
    session: Option<String>,
    tags: Vec<String>,
    tried: Vec<Uuid>,
    ttl_ms: Option<u64>,
    is_repeatable: bool,
}

impl From<&Request<'_>> for OwnedRequest {
    fn from(request: &Request<'_>) -> Self {
        Self {
            target: request.target.to_owned(),
            session: request.session.map(str::to_owned),
            tags: request.tags.iter().map(|tag| (*tag).to_owned()).collect(),
            tried: request.tried.to_vec(),
            ttl_ms: request.ttl_ms,
            is_repeatable: request.is_repeatable,
        }
    }
}

impl OwnedRequest {
    pub(crate) fn lend<T>(&self, f: impl FnOnce(&Request<'_>) -> T) -> T {
        f(&self.with_tags(&self.tags()))
    }

    fn tags(&self) -> Vec<&str> {
        self.tags.iter().map(String::as_str).collect()
    }

    fn with_tags<'a>(&'a self, tags: &'a [&'a str]) -> Request<'a> {
        Request {
            target: &self.target,
            session: self.session.as_deref(),
            tags,
            tried: &self.tried,
            ttl_ms: self.ttl_ms,
            is_repeatable: self.is_repeatable,
        }
    }
}

impl RemoteInstance {
    /// Starts a plugin on a storage behind a network.
    pub(super) async fn start(
        plugin: &Plugin,
        clock: Arc<dyn Clock>,
        storage: Arc<dyn RemoteStorage>,
    ) -> Result<Self, PluginError> {
        let (code, limits) = (plugin.code(), plugin.limits());
        let state = RemoteState {
            clock,
            storage,
            limits: limits.of_store(),
            allowance: Allowance::new(&limits),
            deadline: Instant::now(),
            snapshot: None,
        };
        let mut store = Store::new(code.remote_pre.engine(), state);
        store.limiter(|state| &mut state.limits);
        store.set_hostcall_fuel(limits.transfer);
        epoch::limit(&mut store, epoch::yield_task);
        let instance = code.remote_pre.instantiate_async(&mut store).await;
        let exports = instance.and_then(|instance| Exports::find(&instance, &mut store));
        Ok(Self {
            exports: exports.map_err(start_error)?,
            store,
        })
    }

    /// A call begins: its time starts to run.
    pub(super) fn enter(&mut self, deadline: Instant) {
        self.store.data_mut().deadline = deadline;
    }

    async fn call<P, R>(&mut self, func: Func, params: P) -> wasmtime::Result<R>
    where
        P: ComponentNamedList + Lower + Send + Sync,
        R: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        epoch::enter(&mut self.store);
        // It may wait for its storage before anybody looks.
        self.store.data_mut().allowance.look();
        let func = func.typed::<P, R>(&self.store)?;
        func.call_async(&mut self.store, params).await
    }

    /// A call that looks at every proxy.
    async fn report<P, R>(&mut self, func: Func, params: P) -> Answer<R>
    where
        P: ComponentNamedList + Lower + Send + Sync,
        R: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        let state = self.store.data();
        let looking = timeout_at(state.deadline, look(state.storage.clone()));
        let snapshot = looking.await.unwrap_or(Err(StorageError::Unavailable));
        self.store.data_mut().snapshot = Some(snapshot.map_err(Error::Storage)?);
        let answer = self.call(func, params).await;
        self.store.data_mut().snapshot = None;
        Ok(answer?)
    }

    pub(crate) async fn acquire(&mut self, request: OwnedRequest) -> Answer<Grant> {
        let tags = request.tags();
        let request = request.with_tags(&tags);
        let tried = tried_of(&request);
        let (target, options) = asks(&request, &tried);
        let params = (target, options.clone());
        let answer: (Result<egress::Grant, egress::AcquireError>,) =
            self.call(self.exports.acquire, params).await?;
        let grant = answer.0?;
        let key = match target {
            None => String::new(),
            Some(target) if grant.key_is_target => target.to_owned(),
            Some(target) => {
                let key: (Result<String, types::KeyError>,) = self
                    .call(self.exports.session_key, (target, options))
                    .await?;
                contract::key(key.0?)?
            }
        };
        Ok(granted(grant, key))
    }

    pub(crate) async fn settle(&mut self, settlement: Settlement) -> Answer<Released> {
        let lease = egress::Lease::from(settlement.lease.permit);
        if settlement.is_release() {
            let outcome = egress::Outcome::from(settlement.outcome);
            let params = (lease, outcome, about_release(&settlement));
            let answer: (Result<egress::Released, types::StorageError>,) =
                self.call(self.exports.release, params).await?;
            return contract::released(answer.0?);
        }
        let attempts = attempts_of(&settlement);
        let params = (&*attempts, about(&settlement));
        let answer: (Result<egress::Released, types::StorageError>,) =
            self.call(self.exports.settle, params).await?;
        let settled = answer.0?;
        contract::released(settled)
    }

    pub(crate) async fn fallbacks(
        &mut self,
        lease: Permit,
        request: OwnedRequest,
        limit: u32,
    ) -> Answer<Vec<Permit>> {
        let tags = request.tags();
        let request = request.with_tags(&tags);
        let tried = tried_of(&request);
        let (target, options) = asks(&request, &tried);
        let lease = egress::Lease::from(lease);
        let params = (lease, target.unwrap_or_default(), options, limit);
        let answer: (Result<Vec<egress::Lease>, types::StorageError>,) =
            self.call(self.exports.fallbacks, params).await?;
        contract::fallbacks(answer.0?, limit)
    }

    pub(crate) async fn holds(&mut self, lease: Lease) -> Answer<bool> {
        let params = (egress::Lease::from(lease.permit), lease.key.as_str());
        let answer: (Result<bool, types::StorageError>,) =
            self.call(self.exports.holds, params).await?;
        Ok(answer.0?)
    }

    pub(crate) async fn configure(&mut self, config: Config) -> Answer<()> {
        let overrides: Vec<_> = config.overrides.iter().map(Into::into).collect();
        let params = (to_wit(&config, &overrides),);
        let answer: (Result<(), types::Invalid>,) =
            self.call(self.exports.configure, params).await?;
        Ok(answer.0?)
    }

    pub(crate) async fn add_proxies(&mut self, specs: Vec<ProxySpec>) -> Answer<()> {
        let tags = tags_of(&specs);
        let proxies = proxies_of(&specs, &tags);
        let answer: (Result<(), types::Invalid>,) =
            self.call(self.exports.add_proxies, (&*proxies,)).await?;
        Ok(answer.0?)
    }

    pub(crate) async fn remove_proxy(&mut self, id: Uuid) -> Answer<bool> {
        let params = (types::ProxyId::from(id),);
        let answer: (Result<bool, types::StorageError>,) =
            self.call(self.exports.remove_proxy, params).await?;
        Ok(answer.0?)
    }

    pub(crate) async fn set_health(&mut self, id: Uuid, healthy: bool) -> Answer<bool> {
        let params = (types::ProxyId::from(id), healthy);
        let answer: (bool,) = self.call(self.exports.set_health, params).await?;
        Ok(answer.0)
    }

    pub(crate) async fn stats(&mut self) -> Answer<control::PoolStats> {
        let answer: (Result<control::PoolStats, types::StorageError>,) =
            self.report(self.exports.stats, ()).await?;
        Ok(answer.0?)
    }

    pub(crate) async fn proxies(
        &mut self,
        offset: u32,
        limit: u32,
    ) -> Answer<Vec<control::ProxyStatus>> {
        let answer: (Result<Vec<control::ProxyStatus>, types::StorageError>,) =
            self.report(self.exports.proxies, (offset, limit)).await?;
        contract::page(answer.0?, limit)
    }

    pub(crate) async fn unbind(&mut self, key: String) -> Answer<bool> {
        let answer: (Result<bool, sessions::SessionError>,) =
            self.call(self.exports.unbind, (key.as_str(),)).await?;
        Ok(answer.0?)
    }

    pub(crate) async fn purge_expired(&mut self, limit: u32) -> Answer<u32> {
        let answer: (Result<u32, types::StorageError>,) =
            self.call(self.exports.purge_expired, (limit,)).await?;
        Ok(answer.0?)
    }

    pub(crate) async fn active_count(
        &mut self,
        cursor: Option<u64>,
        limit: u32,
    ) -> Answer<sessions::CountPage> {
        let answer: (Result<sessions::CountPage, types::StorageError>,) = self
            .call(self.exports.active_count, (cursor, limit))
            .await?;
        Ok(answer.0?)
    }

    pub(crate) async fn list(
        &mut self,
        cursor: Option<u64>,
        limit: u32,
    ) -> Answer<sessions::SessionPage> {
        let answer: (Result<sessions::SessionPage, types::StorageError>,) =
            self.call(self.exports.list, (cursor, limit)).await?;
        contract::sessions(answer.0?, limit)
    }
}

/// How many entries a page has.
const PAGE: u32 = 1_024;

async fn look(storage: Arc<dyn RemoteStorage>) -> Result<Snapshot, StorageError> {
    let mut snapshot = Snapshot::new();
    for table in REPORTED {
        let mut cursor = None;
        loop {
            let page = storage.scan(table, cursor, PAGE).await?;
            let entries = page.entries.into_iter();
            snapshot.extend(entries.map(|(key, cell)| ((table.index(), key.into()), cell)));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
    }
    Ok(snapshot)
}
