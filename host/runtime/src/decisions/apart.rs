//! Calls on threads that may be kept waiting: for a plugin that may take as long as it can.

use std::fmt;
use std::sync::Arc;

use remora_core::{Grant, Released, Request};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::task::TaskTracker;

use super::local::Local;
use crate::error::{Error, PluginError};
use crate::remote::OwnedRequest;
use crate::settlement::Settlement;

/// Instances that no thread of the reactor waits for. Cheap to clone; clones are the same.
#[derive(Clone)]
pub(crate) struct Apart {
    local: Arc<Local>,
    runtime: Handle,
    /// As many calls at a time as there are instances: the others wait here and hold no thread.
    places: Arc<Semaphore>,
    releases: TaskTracker,
}

impl fmt::Debug for Apart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Apart").field(&self.local).finish()
    }
}

impl Apart {
    pub(crate) fn new(local: Local, runtime: Handle) -> Self {
        Self {
            places: Arc::new(Semaphore::new(local.instances.count())),
            local: Arc::new(local),
            runtime,
            releases: TaskTracker::new(),
        }
    }

    /// Where its tasks run.
    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// What needs no call.
    pub(super) fn local(&self) -> &Local {
        &self.local
    }

    /// Runs a call to its end, whether who asked still waits or not; given up before there is a place for it, it does not
    /// begin.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Local) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let place = self.places.clone().acquire_owned().await;
        let local = self.local.clone();
        let call = self.runtime.spawn_blocking(move || {
            let _watched = local.instances.watch();
            let answer = f(&local);
            drop(place);
            answer
        });
        call.await.unwrap_or_else(|_| Err(ended()))
    }

    pub(super) async fn acquire(&self, request: &Request<'_>) -> Result<Grant, Error> {
        let request = OwnedRequest::from(request);
        let this = self.clone();
        let (sender, answer) = oneshot::channel();
        let place = self.places.clone().acquire_owned().await;
        self.runtime.spawn_blocking(move || {
            let watched = this.local.instances.watch();
            let granted = request.lend(|request| this.local.acquire(request));
            drop(watched);
            drop(place);
            // Dropped on the way, it goes back.
            let _ = sender.send(granted.map(|grant| Delivery {
                grant: Some(grant),
                from: this.clone(),
            }));
        });
        let mut delivery = answer.await.unwrap_or_else(|_| Err(ended()))?;
        delivery.grant.take().ok_or_else(ended)
    }

    /// It is made, whether who asked still waits or not: nobody else has the lease.
    pub(super) async fn settle(&self, settlement: Settlement) -> Result<Released, Error> {
        let (sender, answer) = oneshot::channel();
        self.settle_then(settlement, |released| {
            // Nobody may be listening.
            let _ = sender.send(released);
        });
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    pub(super) fn settle_then(
        &self,
        settlement: Settlement,
        then: impl FnOnce(Result<Released, Error>) + Send + 'static,
    ) {
        let this = self.clone();
        let settle = async move {
            let released = this.run(move |local| local.settle(&settlement));
            then(released.await);
        };
        self.releases.spawn_on(settle, &self.runtime);
    }

    pub(super) fn retire(&self) {
        let local = self.local.clone();
        // It waits for the call that is going on.
        self.runtime
            .spawn_blocking(move || local.instances.retire());
    }

    pub(super) async fn settled(&self) {
        self.releases.close();
        self.releases.wait().await;
        self.releases.reopen();
    }
}

/// A grant on its way to who asked. If that one has gone, it is released.
struct Delivery {
    grant: Option<Grant>,
    from: Apart,
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(grant) = self.grant.take() {
            let unused = Settlement::unused(grant.lease);
            self.from.settle_then(unused, |_| {});
        }
    }
}

/// The runtime is being shut down.
pub(super) fn ended() -> Error {
    Error::Plugin(PluginError::Runtime("the process is ending".into()))
}
