//! The calls into a plugin, whatever its storage is: near at hand, or behind a network.

mod apart;
mod local;

use std::sync::Arc;

use remora_core::{Config, Grant, Lease, Permit, ProxySpec, Released, Request};
use uuid::Uuid;

use crate::bindings::{control, sessions};
use crate::contract::Pages;
use crate::error::Error;
use crate::remote::{OwnedRequest, RemoteInstances};
use crate::settlement::Settlement;

pub(crate) use apart::Apart;
pub(crate) use local::Local;

/// What a manager asks a plugin.
///
/// With a storage in this process a call runs on the caller's thread and never waits; with a networked one it
/// is a task of its own, which ends even if nobody waits for it any more. Apart, it runs on a thread that may wait.
// A manager has one of them, on the heap; a hit is spared one more pointer.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub(crate) enum Decisions {
    Local(Local),
    Apart(Apart),
    Remote(Arc<RemoteInstances>),
}

impl Decisions {
    pub(crate) async fn acquire(&self, request: &Request<'_>) -> Result<Grant, Error> {
        match self {
            Self::Local(local) => local.acquire(request),
            Self::Apart(apart) => apart.acquire(request).await,
            Self::Remote(remote) => remote.acquire(request).await,
        }
    }

    pub(crate) async fn settle(&self, settlement: Settlement) -> Result<Released, Error> {
        match self {
            Self::Local(local) => local.settle(&settlement),
            Self::Apart(apart) => apart.settle(settlement).await,
            Self::Remote(remote) => remote.settle(settlement).await,
        }
    }

    pub(crate) async fn fallbacks(
        &self,
        lease: Permit,
        request: &Request<'_>,
        limit: u32,
    ) -> Result<Vec<Permit>, Error> {
        match self {
            Self::Local(local) => local.fallbacks(&lease, request, limit),
            Self::Apart(apart) => {
                let request = OwnedRequest::from(request);
                let ask = move |l: &Local| request.lend(|r| l.fallbacks(&lease, r, limit));
                apart.run(ask).await
            }
            Self::Remote(remote) => {
                let request = OwnedRequest::from(request);
                let ask = remote.run(move |i| Box::pin(i.fallbacks(lease, request, limit)));
                ask.await
            }
        }
    }

    pub(crate) async fn holds(&self, lease: Lease) -> Result<bool, Error> {
        match self {
            Self::Local(local) => local.holds(&lease),
            Self::Apart(apart) => apart.run(move |l| l.holds(&lease)).await,
            Self::Remote(remote) => remote.run(move |i| Box::pin(i.holds(lease))).await,
        }
    }

    /// [`Decisions::settle`] for callers that cannot wait, such as destructors: `then` hears how it went, at once
    /// or later.
    pub(crate) fn settle_then(
        &self,
        settlement: Settlement,
        then: impl FnOnce(Result<Released, Error>) + Send + 'static,
    ) {
        match self {
            Self::Local(local) => then(local.settle(&settlement)),
            Self::Apart(apart) => apart.settle_then(settlement, then),
            Self::Remote(remote) => remote.settle_then(settlement, then),
        }
    }

    /// Runs a change to its end, whether who asked still waits or not. Calls that never wait are at their end before
    /// anybody can give them up.
    pub(crate) async fn whole<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let runtime = match self {
            Self::Local(_) => return change.await,
            Self::Apart(apart) => apart.runtime(),
            Self::Remote(remote) => remote.runtime(),
        };
        let change = runtime.spawn(change).await;
        change.unwrap_or_else(|_| Err(apart::ended()))
    }

    /// Waits until every release that has begun is through.
    pub(crate) async fn settled(&self) {
        match self {
            Self::Local(_) => {}
            Self::Apart(apart) => apart.settled().await,
            Self::Remote(remote) => remote.settled().await,
        }
    }

    pub(crate) async fn add_proxies(&self, specs: &[ProxySpec]) -> Result<(), Error> {
        match self {
            Self::Local(local) => local.add_proxies(specs),
            Self::Apart(apart) => {
                let specs = specs.to_vec();
                apart.run(move |l| l.add_proxies(&specs)).await
            }
            Self::Remote(remote) => remote.add_proxies(specs.to_vec()).await,
        }
    }

    pub(crate) async fn remove_proxy(&self, id: Uuid) -> Result<bool, Error> {
        match self {
            Self::Local(local) => local.remove_proxy(id),
            Self::Apart(apart) => apart.run(move |l| l.remove_proxy(id)).await,
            Self::Remote(remote) => remote.remove_proxy(id).await,
        }
    }

    pub(crate) async fn set_health(&self, id: Uuid, healthy: bool) -> Result<bool, Error> {
        match self {
            Self::Local(local) => local.set_health(id, healthy),
            Self::Apart(apart) => apart.run(move |l| l.set_health(id, healthy)).await,
            Self::Remote(remote) => remote.set_health(id, healthy).await,
        }
    }

    pub(crate) async fn configure(&self, config: Config) -> Result<(), Error> {
        match self {
            Self::Local(local) => local.configure(&config),
            Self::Apart(apart) => apart.run(move |l| l.configure(&config)).await,
            Self::Remote(remote) => remote.configure(config).await,
        }
    }

    pub(crate) async fn unbind(&self, key: &str) -> Result<bool, Error> {
        match self {
            Self::Local(local) => local.unbind(key),
            Self::Apart(apart) => {
                let key = key.to_owned();
                apart.run(move |l| l.unbind(&key)).await
            }
            Self::Remote(remote) => remote.unbind(key.to_owned()).await,
        }
    }

    pub(crate) async fn purge_expired(&self, limit: u32) -> Result<u32, Error> {
        match self {
            Self::Local(local) => local.purge_expired(limit),
            Self::Apart(apart) => apart.run(move |l| l.purge_expired(limit)).await,
            Self::Remote(remote) => remote.run(move |i| Box::pin(i.purge_expired(limit))).await,
        }
    }

    /// The pages that a list of sessions may have. Never waits for a call.
    pub(crate) fn session_pages(&self) -> Pages {
        match self {
            Self::Local(local) => local.instances.session_pages(),
            Self::Apart(apart) => apart.local().instances.session_pages(),
            Self::Remote(remote) => remote.session_pages(),
        }
    }

    pub(crate) async fn stats(&self) -> Result<control::PoolStats, Error> {
        match self {
            Self::Local(local) => local.instances.with(|i| i.stats()),
            Self::Apart(apart) => apart.run(|l| l.instances.with(|i| i.stats())).await,
            Self::Remote(remote) => remote.run(|i| Box::pin(i.stats())).await,
        }
    }

    pub(crate) async fn proxies(
        &self,
        offset: u32,
        limit: u32,
    ) -> Result<Vec<control::ProxyStatus>, Error> {
        match self {
            Self::Local(local) => local.instances.with(|i| i.proxies(offset, limit)),
            Self::Apart(apart) => {
                let proxies = move |l: &Local| l.instances.with(|i| i.proxies(offset, limit));
                apart.run(proxies).await
            }
            Self::Remote(remote) => {
                remote
                    .run(move |i| Box::pin(i.proxies(offset, limit)))
                    .await
            }
        }
    }

    pub(crate) async fn active_count(
        &self,
        cursor: Option<u64>,
        limit: u32,
    ) -> Result<sessions::CountPage, Error> {
        match self {
            Self::Local(local) => local.instances.with(|i| i.active_count(cursor, limit)),
            Self::Apart(apart) => {
                let count = move |l: &Local| l.instances.with(|i| i.active_count(cursor, limit));
                apart.run(count).await
            }
            Self::Remote(remote) => {
                remote
                    .run(move |i| Box::pin(i.active_count(cursor, limit)))
                    .await
            }
        }
    }

    pub(crate) async fn list(
        &self,
        cursor: Option<u64>,
        limit: u32,
    ) -> Result<sessions::SessionPage, Error> {
        match self {
            Self::Local(local) => local.instances.with(|i| i.list(cursor, limit)),
            Self::Apart(apart) => {
                let list = move |l: &Local| l.instances.with(|i| i.list(cursor, limit));
                apart.run(list).await
            }
            Self::Remote(remote) => remote.run(move |i| Box::pin(i.list(cursor, limit))).await,
        }
    }

    /// Nobody asks for a proxy any more; what is out can still be released. Gives back the room of the instances.
    pub(crate) fn retire(&self) {
        match self {
            Self::Local(local) => local.instances.retire(),
            Self::Apart(apart) => apart.retire(),
            Self::Remote(remote) => remote.retire(),
        }
    }

    /// How many instances have been lost to traps.
    pub(crate) fn traps(&self) -> u64 {
        match self {
            Self::Local(local) => local.instances.traps(),
            Self::Apart(apart) => apart.local().instances.traps(),
            Self::Remote(remote) => remote.traps(),
        }
    }

    /// How many instances there are at most.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Local(local) => local.instances.count(),
            Self::Apart(apart) => apart.local().instances.count(),
            Self::Remote(remote) => remote.count(),
        }
    }
}
