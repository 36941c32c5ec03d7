//! The rules of DESIGN §4 written down a second time, as plainly as possible: maps, no eras, no
//! compare-and-exchange, everything looked up anew each time. What is left to the strategy (which of
//! the proxies that will do) and the numbers of generations are taken from what was observed.

use std::collections::{BTreeMap, BTreeSet};

use remora_core::{
    AcquireError, BreakerChange, Config, End, Grant, KeyError, Lease, OnBad, Permit, ProxyId,
    ProxySpec, Reason, Sticky, StrategyKind,
};

use crate::breakers::{Breaker, Gate, Verdict};
use crate::doubts::Doubts;
use crate::keys;
use crate::reached::Reached;
use crate::sessions::{Sessions, make_room};
use crate::steps::{Asked, Setup, TAGS, id};
use crate::support::T0;

#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) id: ProxyId,
    pub(crate) weight: u32,
    pub(crate) tags: BTreeSet<String>,
    pub(crate) healthy: bool,
}

/// A lease that was handed out at some time.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) lease: Lease,
    /// What it was handed out for.
    pub(crate) asked: Asked,
    pub(crate) settled: bool,
    pub(crate) released: bool,
    /// Its proxy's breaker has opened or sent out another probe since: its verdict no longer counts.
    pub(crate) stale: bool,
    /// The other exits of its request, and whether they are stale.
    pub(crate) fallbacks: Vec<(Permit, bool)>,
}

/// What an acquire has to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Error(AcquireError),
    /// The proxy and the generation of the live session, and whether it sends a probe.
    Stay(ProxyId, u64, bool),
    /// One of these, for this reason; with a session or without.
    Pick(BTreeSet<ProxyId>, Reason, Option<Sticky>),
}

#[derive(Debug)]
pub(crate) struct Reference {
    pub(crate) config: Config,
    pub(crate) now: u64,
    pub(crate) pools: Vec<Vec<Member>>,
    breakers: BTreeMap<ProxyId, Breaker>,
    /// That of a proxy of which nothing is known.
    unknown: Breaker,
    pub(crate) sessions: Sessions,
    /// `proxy/place` → until when the target avoids the proxy.
    pub(crate) blocks: BTreeMap<String, u64>,
    pub(crate) doubts: Doubts,
    pub(crate) leases: Vec<Held>,
    generations: BTreeSet<u64>,
    /// Where the round-robin goes on.
    next_place: usize,
    /// Requests in flight by proxy and by the window of time they began in.
    in_flight: BTreeMap<(ProxyId, u64), u64>,
}

impl Reference {
    pub(crate) fn new(setup: &Setup) -> Self {
        let mut reference = Self {
            config: setup.config.clone(),
            now: T0,
            pools: vec![Vec::new(); setup.instances],
            breakers: BTreeMap::new(),
            unknown: Breaker::default(),
            sessions: Sessions::default(),
            blocks: BTreeMap::new(),
            doubts: Doubts::default(),
            leases: Vec::new(),
            generations: BTreeSet::new(),
            next_place: 0,
            in_flight: BTreeMap::new(),
        };
        for instance in 0..setup.instances {
            for spec in &setup.pool {
                reference.add(instance, spec);
            }
        }
        reference
    }

    pub(crate) fn key(&self, asked: &Asked) -> Result<(String, Option<Sticky>), KeyError> {
        keys::key(&self.config, asked)
    }

    pub(crate) fn breaker(&self, proxy: ProxyId) -> &Breaker {
        self.breakers.get(&proxy).unwrap_or(&self.unknown)
    }

    pub(crate) fn put_breaker(&mut self, proxy: ProxyId, breaker: Breaker) {
        self.breakers.insert(proxy, breaker);
    }

    pub(crate) fn place(&self, asked: &Asked) -> Option<String> {
        keys::place(&self.config, asked)
    }

    pub(crate) fn is_avoided(&self, proxy: ProxyId, place: &str) -> bool {
        let until = self.blocks.get(&format!("{proxy}/{place}"));
        until.is_some_and(|until| self.now < *until)
    }

    /// Those of the pool that are switched on and carry the tags.
    pub(crate) fn would_do(&self, asked: &Asked) -> Vec<&Member> {
        let tags = TAGS[asked.tags];
        self.pools[asked.instance]
            .iter()
            .filter(|m| m.healthy && tags.iter().all(|tag| m.tags.contains(*tag)))
            .collect()
    }

    /// For how long a breaker refuses this request; `None`: it is closed, or the request may be its probe.
    fn refuses(&self, proxy: ProxyId, asked: &Asked) -> Option<u64> {
        let since = self.breaker(proxy).until()?;
        let entry = self
            .place(asked)
            .and_then(|place| self.doubts.get(&place, self.now));
        let in_doubt =
            entry.is_some_and(|d| d.is_in_doubt(self.now, self.config.attribution.doubt_for_ms));
        let from = match asked.repeatable && !in_doubt {
            true => since,
            false => since + self.config.breaker.half_open_after_ms,
        };
        if since <= self.now && self.now < from {
            Reached::note(if in_doubt {
                "no probe: in doubt"
            } else {
                "no probe: unrepeatable"
            });
        } else if since < from {
            Reached::note("overdue probe");
        }
        (self.now < from).then(|| from - self.now)
    }

    pub(crate) fn member(&self, instance: usize, proxy: ProxyId) -> Option<&Member> {
        self.pools[instance].iter().find(|m| m.id == proxy)
    }

    pub(crate) fn expect(&self, asked: &Asked) -> Expected {
        let (key, policy) = match self.key(asked) {
            Ok(parts) => parts,
            Err(error) => return Expected::Error(AcquireError::Key(error)),
        };
        let Some(policy) = policy else {
            return self.pick(asked, None, Reason::Rotated, None);
        };
        let Some(session) = self.sessions.get(&key) else {
            return self.pick(asked, None, Reason::Bound, Some(policy));
        };
        // Rule 4: everything that may end it.
        let serves = self
            .member(asked.instance, session.proxy)
            .is_some_and(|m| m.healthy);
        let open = match session.awaits_probe {
            true => self.refuses(session.proxy, asked).is_some(),
            false => session.opened || !self.breaker(session.proxy).lets_its_session(self.now),
        };
        let end = session
            .end_by_time_or_release(self.now)
            .or(session.spent(&policy).then_some(End::MaxRequests))
            .or((!serves).then_some(End::Removed))
            .or(open.then_some(End::Open));
        match end {
            None => Expected::Stay(session.proxy, session.generation, session.awaits_probe),
            Some(end) if end.is_bad() && policy.on_bad == OnBad::Strict => {
                Expected::Error(AcquireError::SessionLost {
                    end,
                    retry_after_ms: session.due() - self.now,
                })
            }
            Some(end) => {
                let previous = Some(session.proxy);
                self.pick(asked, previous, Reason::Rebound(end), Some(policy))
            }
        }
    }

    // Rules 6 and 9.
    fn pick(
        &self,
        asked: &Asked,
        previous: Option<ProxyId>,
        reason: Reason,
        policy: Option<Sticky>,
    ) -> Expected {
        let would_do = self.would_do(asked);
        let refusals = would_do.iter().filter_map(|m| self.refuses(m.id, asked));
        let Some(retry_after_ms) = refusals.min() else {
            if would_do.is_empty() {
                return Expected::Error(AcquireError::NoProxy);
            }
            return self.fresh(asked, previous, reason, policy, &would_do);
        };
        let admitted: Vec<&Member> = would_do
            .into_iter()
            .filter(|m| self.refuses(m.id, asked).is_none())
            .collect();
        if admitted.is_empty() {
            return Expected::Error(AcquireError::Exhausted { retry_after_ms });
        }
        self.fresh(asked, previous, reason, policy, &admitted)
    }

    fn fresh(
        &self,
        asked: &Asked,
        previous: Option<ProxyId>,
        reason: Reason,
        policy: Option<Sticky>,
        admitted: &[&Member],
    ) -> Expected {
        let tried: BTreeSet<ProxyId> = asked.tried.iter().copied().map(id).collect();
        let place = self.place(asked);
        let avoided = |m: &Member| {
            let place = place.as_deref();
            place.is_some_and(|place| self.is_avoided(m.id, place))
        };
        let untried = |m: &Member| !tried.contains(&m.id);
        let welcome = |m: &Member| untried(m) && !avoided(m);
        let those = |will_do: &dyn Fn(&Member) -> bool| -> Vec<&Member> {
            admitted.iter().copied().filter(|m| will_do(m)).collect()
        };
        let planned = matches!(reason, Reason::Rebound(end) if !end.is_bad());
        let fresh = those(&|m| welcome(m) && Some(m.id) != previous);
        let again = those(&|m| welcome(m) && planned);
        let untried = those(&untried);
        let choices = [&fresh, &again, &untried];
        let choice = choices.into_iter().find(|choice| !choice.is_empty());
        let choice = choice.map_or(admitted, Vec::as_slice);
        Expected::Pick(self.by_strategy(asked.instance, choice), reason, policy)
    }

    // Rule 11, as far as it says which one.
    fn by_strategy(&self, instance: usize, choice: &[&Member]) -> BTreeSet<ProxyId> {
        let all = || choice.iter().map(|m| m.id);
        match self.config.strategy {
            StrategyKind::Random | StrategyKind::Weighted => all().collect(),
            StrategyKind::RoundRobin => {
                let pool = &self.pools[instance];
                let turn = (0..pool.len()).map(|i| &pool[(self.next_place + i) % pool.len()]);
                let chosen = |m: &&Member| choice.iter().any(|c| c.id == m.id);
                turn.filter(chosen).map(|m| m.id).take(1).collect()
            }
            StrategyKind::LeastUsed => {
                let least = all().map(|proxy| self.in_flight(proxy)).min();
                all()
                    .filter(|proxy| Some(self.in_flight(*proxy)) == least)
                    .collect()
            }
        }
    }

    pub(crate) fn in_flight(&self, proxy: ProxyId) -> u64 {
        let window = self.now / self.config.lease_timeout_ms;
        let count = |w| self.in_flight.get(&(proxy, w)).copied().unwrap_or(0);
        count(window) + count(window - 1)
    }

    /// Checks a grant against what was expected, and takes it in.
    pub(crate) fn granted(&mut self, asked: &Asked, expected: Expected, grant: &Grant) {
        let (key, _) = self.key(asked).unwrap();
        let lease = &grant.lease;
        let place = self.place(asked);
        let listed = place.is_some_and(|place| self.doubts.get(&place, self.now).is_some());
        let doubted = match expected {
            Expected::Stay(..) => self.sessions.get(&key).is_some_and(|s| s.doubted),
            _ => listed,
        };
        assert_eq!(lease.is_doubted, doubted);
        let mut patience = self.config.lease_timeout_ms;
        match expected {
            Expected::Error(error) => panic!("granted {grant:?} instead of {error:?}"),
            Expected::Stay(proxy, generation, probe) => {
                let granted = (grant.reason, lease.proxy, lease.generation, lease.probe);
                assert_eq!(granted, (Reason::Hit, proxy, generation, probe));
                if probe {
                    patience = self.config.breaker.half_open_after_ms;
                    let until = self.now + patience;
                    self.change_gate(proxy, Gate::Probing { until });
                    self.sessions.probes_again(&key);
                }
                let (_, policy) = self.key(asked).unwrap();
                self.sessions.used(&key, self.now, &policy.unwrap());
            }
            Expected::Pick(among, reason, policy) => {
                assert_eq!(grant.reason, reason);
                assert!(
                    among.contains(&lease.proxy),
                    "{} not in {among:?}",
                    lease.proxy
                );
                let pool = &self.pools[asked.instance];
                let place = pool.iter().position(|m| m.id == lease.proxy);
                self.next_place = place.unwrap() + 1;
                assert_eq!(lease.probe, !self.breaker(lease.proxy).is_closed());
                if lease.probe {
                    patience = self.config.breaker.half_open_after_ms;
                    let until = self.now + patience;
                    self.change_gate(lease.proxy, Gate::Probing { until });
                }
                match policy {
                    None => assert_eq!(lease.generation, 0),
                    Some(policy) => self.bound(&key, lease, &policy, listed),
                }
            }
        }
        assert_eq!(lease.key, key);
        let span = grant.session.map(|span| (span.bound_at, span.expires_at));
        let session = self.sessions.get(&key).filter(|_| lease.generation != 0);
        assert_eq!(span, session.map(|s| (s.bound_at, s.expires_at)));
        assert_eq!(lease.acquired_at, self.now);
        assert_eq!(lease.deadline, self.now + patience);
        if self.config.strategy == StrategyKind::LeastUsed {
            let window = self.now / self.config.lease_timeout_ms;
            *self.in_flight.entry((lease.proxy, window)).or_default() += 1;
        }
        self.leases.push(Held {
            lease: lease.clone(),
            asked: asked.clone(),
            settled: false,
            released: false,
            stale: false,
            fallbacks: Vec::new(),
        });
    }

    fn bound(&mut self, key: &str, lease: &Lease, policy: &Sticky, listed: bool) {
        self.new_generation(lease.generation);
        self.sessions
            .bind(key, lease.proxy, lease.generation, self.now, policy, listed);
        self.sessions
            .make_room(key, self.now, self.config.max_sessions);
    }

    /// Rule 5 rests on this: no two bindings share a generation.
    pub(crate) fn new_generation(&mut self, generation: u64) {
        assert_ne!(generation, 0);
        assert!(self.generations.insert(generation));
    }

    /// Another state of a breaker that ends what was before: its sessions and the say of its leases.
    pub(crate) fn change_gate(&mut self, proxy: ProxyId, gate: Gate) {
        self.sessions.breaker_changed(proxy);
        self.set_gate(proxy, gate);
    }

    fn set_gate(&mut self, proxy: ProxyId, gate: Gate) {
        self.breakers.entry(proxy).or_default().gate = gate;
        for held in &mut self.leases {
            held.stale |= held.lease.proxy == proxy;
            for (permit, stale) in &mut held.fallbacks {
                *stale |= permit.proxy == proxy;
            }
        }
    }

    /// The target at a place avoids a proxy from now on.
    pub(crate) fn avoid(&mut self, proxy: ProxyId, place: &str) {
        if self.config.avoid_blocked_for_ms == 0 {
            return;
        }
        let entry = format!("{proxy}/{place}");
        let until = self.now + self.config.avoid_blocked_for_ms;
        self.blocks.insert(entry.clone(), until);
        let max = self.config.max_sessions;
        make_room(&mut self.blocks, |until| *until, &entry, self.now, max);
    }

    /// The lease is given back: its request is no longer in flight.
    pub(crate) fn released(&mut self, instance: usize, i: usize) {
        self.leases[i].released = true;
        let lease = &self.leases[i].lease;
        let counts = self.config.strategy == StrategyKind::LeastUsed;
        if counts && self.member(instance, lease.proxy).is_some() {
            let window = lease.acquired_at / self.config.lease_timeout_ms;
            let count = self.in_flight.entry((lease.proxy, window)).or_default();
            *count = count.saturating_sub(1);
        }
    }

    // Rule 7.
    pub(crate) fn verdict(
        &mut self,
        proxy: ProxyId,
        probe: bool,
        verdict: Verdict,
    ) -> BreakerChange {
        let mut breaker = self.breaker(proxy).clone();
        let change = breaker.verdict(self.now, probe, verdict, &self.config.breaker);
        let gate = breaker.gate;
        self.put_breaker(proxy, breaker);
        match change {
            BreakerChange::None | BreakerChange::Closed => {}
            BreakerChange::ProbeReturned => {
                self.sessions.probe_returned(proxy);
                self.set_gate(proxy, gate);
            }
            BreakerChange::Opened | BreakerChange::Reopened => self.change_gate(proxy, gate),
        }
        change
    }

    pub(crate) fn add(&mut self, instance: usize, spec: &ProxySpec) {
        let pool = &mut self.pools[instance];
        let tags = spec.tags.iter().cloned().collect();
        match pool.iter_mut().find(|m| m.id == spec.id) {
            Some(member) => (member.weight, member.tags) = (spec.weight, tags),
            None => pool.push(Member {
                id: spec.id,
                weight: spec.weight,
                tags,
                healthy: true,
            }),
        }
    }

    // Rule 8.
    pub(crate) fn remove(&mut self, instance: usize, proxy: ProxyId) -> bool {
        let before = self.pools[instance].len();
        self.pools[instance].retain(|m| m.id != proxy);
        let removed = self.pools[instance].len() < before;
        if removed && !self.breaker(proxy).is_closed() {
            self.change_gate(proxy, Gate::closed());
        }
        if removed {
            self.breakers.remove(&proxy);
        }
        removed
    }

    pub(crate) fn set_health(&mut self, instance: usize, proxy: ProxyId, healthy: bool) -> bool {
        let member = self.pools[instance].iter_mut().find(|m| m.id == proxy);
        member.map(|m| m.healthy = healthy).is_some()
    }
}
