//! Lends instances, each to one call at a time.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::instance::{Calling, RemoteInstance};
use crate::error::{CallError, Error, PluginError};

/// What a place of the pool holds.
#[derive(Default)]
enum Place {
    /// Not made yet, or lost to a trap.
    #[default]
    Empty,
    Idle(Box<Known>),
    Lent,
}

/// An instance, and how old what it knows is.
struct Known {
    instance: RemoteInstance,
    version: u64,
}

pub(super) struct Pool {
    /// As many as there are places that are not lent.
    free: Semaphore,
    places: Mutex<Box<[Place]>>,
    count: usize,
    traps: AtomicU64,
    /// Whether no instance is kept any more. It counts under the lock of `places`.
    is_retired: AtomicBool,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("instances", &self.count)
            .field("traps", &self.traps)
            .finish_non_exhaustive()
    }
}

impl Pool {
    pub(super) fn new(count: usize) -> Self {
        let count = count.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            free: Semaphore::new(count),
            places: Mutex::new((0..count).map(|_| Place::default()).collect()),
            count,
            traps: AtomicU64::new(0),
            is_retired: AtomicBool::new(false),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn traps(&self) -> u64 {
        self.traps.load(Ordering::Relaxed)
    }

    /// Keeps no instance from now on.
    pub(super) fn retire(&self) {
        let mut places = self.places.lock();
        self.is_retired.store(true, Ordering::Relaxed);
        for place in places.iter_mut() {
            if let Place::Idle(_) = place {
                *place = Place::Empty;
            }
        }
    }

    /// The instance at that place if it is not lent, else one that is there already, else an empty place.
    pub(super) async fn lend(&self, at: usize) -> Lent<'_> {
        // It is never closed.
        let permit = self.free.acquire().await.ok();
        let mut places = self.places.lock();
        let fits = |wanted: fn(&Place) -> bool, places: &[Place]| places.iter().position(wanted);
        let at = match places.get(at) {
            Some(Place::Lent) | None => fits(|p| matches!(p, Place::Idle(_)), &places)
                .or_else(|| fits(|p| matches!(p, Place::Empty), &places))
                .unwrap_or(at),
            Some(_) => at,
        };
        let place = places
            .get_mut(at)
            .map(|p| std::mem::replace(p, Place::Lent));
        Lent {
            pool: self,
            at,
            known: match place {
                Some(Place::Idle(known)) => Some(known),
                _ => None,
            },
            _permit: permit,
        }
    }
}

/// A place of the pool that one call has to itself.
pub(super) struct Lent<'a> {
    pool: &'a Pool,
    at: usize,
    known: Option<Box<Known>>,
    // Given back after the place is, see `drop`.
    _permit: Option<SemaphorePermit<'a>>,
}

impl Lent<'_> {
    pub(super) fn version(&self) -> Option<u64> {
        self.known.as_ref().map(|known| known.version)
    }

    pub(super) fn put(&mut self, instance: RemoteInstance, version: u64) {
        self.known = Some(Box::new(Known { instance, version }));
    }

    /// Runs a call and gives the instance back; one that traps is lost, and so is one whose call is given up.
    pub(super) async fn call<T>(
        mut self,
        deadline: Instant,
        f: impl FnOnce(&mut RemoteInstance) -> Calling<'_, T>,
    ) -> Result<T, Error> {
        let Some(mut known) = self.known.take() else {
            return Err(Error::Plugin(PluginError::Start("no instance".into())));
        };
        known.instance.enter(deadline);
        let answer = f(&mut known.instance).await;
        if let Err(CallError::Trapped(error)) = &answer {
            tracing::warn!(%error, "an instance of the plugin is lost; it will be replaced");
            self.pool.traps.fetch_add(1, Ordering::Relaxed);
        } else {
            self.known = Some(known);
        }
        Ok(answer?)
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut places = self.pool.places.lock();
        let known = self.known.take();
        let known = known.filter(|_| !self.pool.is_retired.load(Ordering::Relaxed));
        if let Some(lent) = places.get_mut(self.at) {
            *lent = known.map_or(Place::Empty, Place::Idle);
        }
    }
}
