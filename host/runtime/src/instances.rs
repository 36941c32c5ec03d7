//! Several instances of a plugin that decide as one, because they share a storage.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};
use remora_core::{Config, ProxySpec, Storage};
use uuid::Uuid;

use crate::budget::{Budget, Spending};
use crate::clock::Clock;
use crate::contract::{PAGE, Pages};
use crate::epoch::Watched;
use crate::error::{CallError, Error, PluginError};
use crate::instance::Instance;
use crate::plugin::Plugin;

/// A place for an instance, on cache lines of its own: its lock is for one thread, as a rule.
#[derive(Default)]
#[repr(align(128))]
struct Slot(Mutex<Option<Instance>>);

/// The instances, and what it takes to make another one.
pub(crate) struct Instances {
    plugin: Plugin,
    clock: Arc<dyn Clock>,
    storage: Arc<dyn Storage + Send + Sync>,
    /// `None`: not made yet, or lost to a trap.
    slots: Box<[Slot]>,
    /// Lock order: before any slot. It may be held for as long as a call lasts.
    wanted: RwLock<Wanted>,
    /// That of `wanted`, for who must not wait for a call.
    max_sessions: AtomicU64,
    /// Whether only releases are left to come: no instance is kept for them. It counts under the lock of a slot.
    is_retired: AtomicBool,
    traps: AtomicU64,
    budget: Budget,
}

/// What every instance has been told; what a new one has to be told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) config: Config,
    pub(crate) proxies: Vec<(ProxySpec, bool)>,
}

/// The pages that a list of sessions may have. A store that others share may hold more than the configuration says.
pub(crate) fn session_pages(max_sessions: u64) -> Pages {
    Pages::of(max_sessions.saturating_mul(4), PAGE)
}

impl Wanted {
    pub(crate) fn set(&mut self, specs: &[ProxySpec]) {
        for spec in specs {
            match self.proxies.iter_mut().find(|(p, _)| p.id == spec.id) {
                Some((known, _)) => known.clone_from(spec),
                None => self.proxies.push((spec.clone(), true)),
            }
        }
    }

    pub(crate) fn remove(&mut self, id: Uuid) {
        self.proxies.retain(|(spec, _)| spec.id != id);
    }

    pub(crate) fn set_health(&mut self, id: Uuid, healthy: bool) {
        for (spec, on) in &mut self.proxies {
            if spec.id == id {
                *on = healthy;
            }
        }
    }
}

impl fmt::Debug for Instances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instances")
            .field("plugin", &self.plugin)
            .field("instances", &self.slots.len())
            .field("traps", &self.traps)
            .finish_non_exhaustive()
    }
}

impl Instances {
    /// Makes the first instance, so that a configuration or a plugin that is no good is known at once.
    pub(crate) fn new(
        plugin: Plugin,
        clock: Arc<dyn Clock>,
        storage: Arc<dyn Storage + Send + Sync>,
        count: usize,
        config: Config,
    ) -> Result<Self, Error> {
        let instances = Self {
            budget: Budget::new(plugin.limits().processor_percent),
            plugin,
            clock,
            storage,
            slots: (0..count.max(1)).map(|_| Slot::default()).collect(),
            max_sessions: AtomicU64::new(config.max_sessions),
            is_retired: AtomicBool::new(false),
            wanted: RwLock::new(Wanted {
                config,
                proxies: Vec::new(),
            }),
            traps: AtomicU64::new(0),
        };
        instances.with(|_| Ok(()))?;
        Ok(instances)
    }

    /// How many instances have been lost to traps.
    pub(crate) fn traps(&self) -> u64 {
        self.traps.load(Ordering::Relaxed)
    }

    pub(crate) fn session_pages(&self) -> Pages {
        session_pages(self.max_sessions.load(Ordering::Relaxed))
    }

    /// Gives back the room that instances take. The leases that are out can still be released, each by an instance that
    /// is made for it. Waits for the calls that are going on.
    pub(crate) fn retire(&self) {
        self.is_retired.store(true, Ordering::Relaxed);
        for slot in &self.slots {
            drop(slot.0.lock().take());
        }
    }

    /// See [`Plugin::watch`].
    pub(crate) fn watch(&self) -> Watched<'_> {
        self.plugin.watch()
    }

    /// How many there are at most.
    pub(crate) fn count(&self) -> usize {
        self.slots.len()
    }

    /// Runs `f` on an instance that no other thread is using, if the plugin has time left.
    pub(crate) fn with<T>(
        &self,
        f: impl FnOnce(&mut Instance) -> Result<T, CallError>,
    ) -> Result<T, Error> {
        self.spend(Budget::enter, f)
    }

    /// [`with`](Self::with), also where the plugin has no time left: for a release, of which there is one for each
    /// acquire that was let in.
    pub(crate) fn with_overdraft<T>(
        &self,
        f: impl FnOnce(&mut Instance) -> Result<T, CallError>,
    ) -> Result<T, Error> {
        self.spend(Budget::overdraw, f)
    }

    fn spend<T>(
        &self,
        begin: impl FnOnce(&Budget) -> Result<Spending<'_>, PluginError>,
        f: impl FnOnce(&mut Instance) -> Result<T, CallError>,
    ) -> Result<T, Error> {
        let home = home() % self.slots.len();
        let slots = self.slots[home..].iter().chain(&self.slots[..home]);
        // An idle one, from the thread's own on; if all are busy, wait for the thread's own.
        let mut slot = slots
            .filter_map(|slot| slot.0.try_lock())
            .next()
            .unwrap_or_else(|| self.slots[home].0.lock());
        let _spending = begin(&self.budget)?;
        if slot.is_none() {
            // The lock order: let go, take `wanted` first.
            let place = parking_lot::MutexGuard::mutex(&slot);
            drop(slot);
            let wanted = self.wanted.read();
            slot = place.lock();
            if slot.is_none() {
                *slot = Some(self.start(&wanted)?);
            }
        }
        self.call(&mut slot, f)
    }

    /// Tells every instance the same: the first one may refuse, and then nothing has changed. It comes from the pool's
    /// owner, and does not wait until the plugin has time left.
    pub(crate) fn tell<T>(
        &self,
        f: impl Fn(&mut Instance) -> Result<T, CallError>,
        note: impl FnOnce(&mut Wanted),
    ) -> Result<T, Error> {
        let mut wanted = self.wanted.write();
        let mut first = self.slots[0].0.lock();
        let _spending = self.budget.overdraw()?;
        if first.is_none() {
            *first = Some(self.start(&wanted)?);
        }
        let answer = self.call(&mut first, &f);
        if answer.is_err() {
            // What it has taken in before it failed, nobody knows: it is made anew from what is wanted.
            *first = None;
        }
        let answer = answer?;
        note(&mut wanted);
        self.max_sessions
            .store(wanted.config.max_sessions, Ordering::Relaxed);
        for slot in &self.slots[1..] {
            let mut slot = slot.0.lock();
            if slot.is_some() && self.call(&mut slot, &f).is_err() {
                // What the first accepted, this one did not: it is made anew from what is wanted.
                *slot = None;
            }
        }
        Ok(answer)
    }

    fn call<T>(
        &self,
        slot: &mut Option<Instance>,
        f: impl FnOnce(&mut Instance) -> Result<T, CallError>,
    ) -> Result<T, Error> {
        let Some(instance) = slot.as_mut() else {
            // Both callers have just filled the slot.
            return Err(Error::Plugin(PluginError::Start("no instance".into())));
        };
        let answer = f(instance);
        if let Err(CallError::Trapped(error)) = &answer {
            tracing::warn!(%error, "an instance of the plugin is lost; it will be replaced");
            self.traps.fetch_add(1, Ordering::Relaxed);
            *slot = None;
        }
        if self.is_retired.load(Ordering::Relaxed) {
            *slot = None;
        }
        Ok(answer?)
    }

    fn start(&self, wanted: &Wanted) -> Result<Instance, Error> {
        let _watched = self.watch();
        let (clock, storage) = (self.clock.clone(), self.storage.clone());
        let mut instance = Instance::start(&self.plugin, clock, storage)?;
        instance.configure(&wanted.config)?;
        let specs: Vec<ProxySpec> = wanted.proxies.iter().map(|(s, _)| s.clone()).collect();
        instance.add_proxies(&specs)?;
        for (spec, healthy) in &wanted.proxies {
            if !healthy {
                instance.set_health(spec.id, false)?;
            }
        }
        Ok(instance)
    }
}

/// A number for each thread, so that threads keep to different instances.
pub(crate) fn home() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static HOME: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    HOME.with(|home| {
        if home.get() == usize::MAX {
            home.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        home.get()
    })
}
