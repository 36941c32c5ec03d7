//! Several instances that share one storage, against a plain reference (`reference.rs`), under a fake
//! clock: whatever happens in whatever order, they decide as the reference does.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod breakers;
mod doubts;
mod keys;
mod reached;
mod reference;
mod sessions;
mod settlements;
mod steps;

use proptest::prelude::*;
use proptest::test_runner::{Config as Proptest, RngSeed, TestRunner};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};
use remora_core::{
    Attempt, Engine, Outcome, ProxyId, Released, Request, Stats, StrategyKind, Table,
};

use breakers::Gate;
use reached::Reached;
use reference::{Expected, Held, Reference};
use settlements::Settled;
use steps::{Asked, SESSIONS, Setup, Step, TAGS, TARGETS, Who, id};
use support::Shared;

/// Generates what happens. The reference itself is kept beside the engines, since it takes each pick
/// from what was observed.
struct Happenings;

impl ReferenceStateMachine for Happenings {
    type State = Setup;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Setup> {
        steps::setup().boxed()
    }

    fn transitions(setup: &Setup) -> BoxedStrategy<Step> {
        steps::step(setup.instances, setup.targets).boxed()
    }

    fn apply(setup: Setup, _: &Step) -> Setup {
        setup
    }
}

fn target(asked: &Asked) -> &'static str {
    asked.target.map_or("", |i| TARGETS[i].spelling)
}

fn request<'a>(asked: &Asked, tried: &'a [ProxyId]) -> Request<'a> {
    Request {
        target: target(asked),
        session: SESSIONS[asked.session],
        tags: TAGS[asked.tags],
        tried,
        ttl_ms: asked.ttl_ms,
        is_repeatable: asked.repeatable,
    }
}

struct Fleet {
    storage: Shared,
    engines: Vec<Engine<Shared>>,
    reference: Reference,
    strategy: StrategyKind,
}

impl Fleet {
    fn acquire(&mut self, asked: &Asked) {
        let expected = self.reference.expect(asked);
        let tried: Vec<ProxyId> = asked.tried.iter().copied().map(id).collect();
        let request = request(asked, &tried);
        let engine = &mut self.engines[asked.instance];
        let answer = match asked.target {
            Some(_) => engine.acquire(self.reference.now, &request),
            None => engine.acquire_any(self.reference.now, &request),
        };
        Reached::answer(&answer);
        match answer {
            Ok(grant) => self.reference.granted(asked, expected, &grant),
            Err(error) => assert_eq!(expected, Expected::Error(error)),
        }
    }

    /// One of the leases that `may` be chosen.
    fn choose(&self, pick: prop::sample::Index, may: impl Fn(&Held) -> bool) -> Option<usize> {
        let leases = self.reference.leases.iter().enumerate();
        let choice: Vec<usize> = leases
            .filter(|(_, held)| may(held))
            .map(|(i, _)| i)
            .collect();
        (!choice.is_empty()).then(|| choice[pick.index(choice.len())])
    }

    fn release(&mut self, instance: usize, pick: prop::sample::Index, again: bool, how: Outcome) {
        let Some(i) = self.choose(pick, |held| again || !held.released) else {
            return;
        };
        let held = &self.reference.leases[i];
        let how = match held.settled && !again {
            true => {
                Reached::note("given back after it was told");
                Outcome::Cancelled
            }
            false => how,
        };
        let (lease, target) = (held.lease.clone(), target(&held.asked));
        let now = self.reference.now;
        let engine = &mut self.engines[instance];
        let released = engine.release(now, &lease.permit, &lease.key, target, how);
        let expected = self.reference.settle(instance, i, &[how]);
        self.reference.released(instance, i);
        self.settled(instance, i, &[how], &released.unwrap(), &expected);
    }

    fn fail_over(&mut self, instance: usize, i: usize, limit: usize) {
        let held = &self.reference.leases[i];
        let (asked, lease) = (&held.asked, &held.lease);
        let tried: Vec<ProxyId> = asked.tried.iter().copied().map(id).collect();
        let request = request(asked, &tried);
        let (now, engine) = (self.reference.now, &self.engines[instance]);
        let permits = engine.fallbacks(now, &request, &lease.key, &lease.permit, limit);
        let others = self.reference.fallbacks(instance, i, limit);
        self.reference.failed_over(i, &others, permits.unwrap());
    }

    fn settle(
        &mut self,
        instance: usize,
        pick: prop::sample::Index,
        again: bool,
        mut outcomes: Vec<Outcome>,
    ) {
        let Some(i) = self.choose(pick, |held| again || !held.settled) else {
            return;
        };
        let further = outcomes.len() - 1;
        if self.reference.leases[i].fallbacks.is_empty() && further > 0 {
            self.fail_over(instance, i, further);
        }
        let held = &self.reference.leases[i];
        let further = further.min(held.fallbacks.len());
        // Where there are too few exits the last one that was tried ends the request.
        outcomes.drain(further..outcomes.len() - 1);
        let permits = held.fallbacks.iter().map(|(permit, _)| *permit);
        let attempts: Vec<Attempt> = std::iter::once(held.lease.permit)
            .chain(permits)
            .zip(&outcomes)
            .map(|(permit, outcome)| Attempt {
                permit,
                outcome: *outcome,
            })
            .collect();
        let (key, target) = (held.lease.key.clone(), target(&held.asked));
        let now = self.reference.now;
        let settled = self.engines[instance].settle(now, &attempts, &key, target);
        let expected = self.reference.settle(instance, i, &outcomes);
        Reached::note("told early");
        self.settled(instance, i, &outcomes, &settled.unwrap(), &expected);
    }

    fn settled(
        &mut self,
        instance: usize,
        i: usize,
        outcomes: &[Outcome],
        settled: &Released,
        expected: &Settled,
    ) {
        assert_eq!(*settled, expected.released);
        Reached::settled(outcomes, settled);
        if let Some(exit) = expected.moved_to {
            // Its generation is the instance's to choose.
            let key = &self.reference.leases[i].lease.key.clone();
            let now = self.reference.now;
            let page = self.engines[instance].list_sessions(now, None, 10_000);
            let sessions = page.unwrap().sessions;
            let (_, moved) = sessions.iter().find(|(listed, _)| listed == key).unwrap();
            self.reference.new_generation(moved.generation);
            let sessions = &mut self.reference.sessions;
            sessions.move_to(key, exit, moved.generation, now);
        }
    }

    fn holds(&self, instance: usize, pick: prop::sample::Index) {
        let Some(i) = self.choose(pick, |_| true) else {
            return;
        };
        let lease = &self.reference.leases[i].lease;
        let now = self.reference.now;
        let holds = self.engines[instance].holds(now, &lease.permit, &lease.key);
        assert_eq!(holds, Ok(self.reference.holds(instance, i)), "{lease:?}");
        Reached::note(match holds {
            Ok(true) => "holds",
            _ => "no longer holds",
        });
    }

    fn told(&self, who: Who) -> std::ops::Range<usize> {
        match who {
            Who::All => 0..self.engines.len(),
            Who::One(instance) => instance..instance + 1,
        }
    }

    fn unbind(&mut self, instance: usize, target: usize, session: usize) {
        let asked = Asked {
            instance,
            target: Some(target),
            session,
            tags: 0,
            tried: Vec::new(),
            ttl_ms: None,
            repeatable: true,
        };
        let now = self.reference.now;
        if let Ok((key, _)) = self.reference.key(&asked) {
            let had = self.engines[instance].unbind(now, &key).unwrap();
            assert_eq!(had, self.reference.sessions.unbind(&key, now));
        }
    }

    /// What an instance says of the pool is what the reference knows.
    fn check_pool(&self, engine: &mut Engine<Shared>, instance: usize) {
        let now = self.reference.now;
        let told = engine.proxies(now, 0, 100).unwrap();
        let members = &self.reference.pools[instance];
        assert_eq!(told.len(), members.len());
        let mut stats = Stats::default();
        for (told, member) in told.iter().zip(members) {
            let breaker = self.reference.breaker(member.id);
            let open = breaker.until().is_some_and(|until| now < until);
            assert_eq!((told.id, told.weight), (member.id, member.weight));
            assert!(told.tags.iter().eq(&member.tags));
            assert_eq!(told.healthy, member.healthy);
            assert_eq!(told.available, member.healthy && !open, "{breaker:?}");
            assert_eq!(told.breaker.refuses_until(), breaker.until());
            let (failures, probing) = match breaker.gate {
                Gate::Closed { failures } => (failures, false),
                Gate::Open { .. } => (0, false),
                Gate::Probing { .. } => (0, true),
            };
            assert_eq!(told.breaker.failures(), failures);
            assert_eq!(told.breaker.strikes() as usize, breaker.row.sites.len());
            assert_eq!(told.breaker.is_half_open(), probing);
            if self.strategy == StrategyKind::LeastUsed {
                assert_eq!(told.in_flight, self.reference.in_flight(member.id));
            }
            stats.total += 1;
            stats.healthy += u32::from(member.healthy && !open);
            stats.open += u32::from(member.healthy && open);
        }
        assert_eq!(engine.stats(now), Ok(stats));
    }

    /// The stored sessions are those of the reference, all of them, and only the live ones are listed.
    fn check_sessions(&self, engine: &mut Engine<Shared>) {
        let now = self.reference.now;
        let sessions = &self.reference.sessions.0;
        assert_eq!(self.storage.population(Table::Sessions), sessions.len());
        assert_eq!(
            self.storage.population(Table::Blocks),
            self.reference.blocks.len()
        );
        let doubts = self.storage.population(Table::Doubts);
        assert_eq!(doubts, self.reference.doubts.0.len());
        let page = engine.list_sessions(now, None, 10_000).unwrap();
        let mut listed = page.sessions;
        listed.sort_by(|a, b| a.0.cmp(&b.0));
        let live = sessions
            .iter()
            .filter(|(_, s)| s.end_by_time_or_release(now).is_none());
        let told = listed
            .iter()
            .map(|(key, s)| (key, s.proxy, s.generation, s.bound_at, s.expires_at));
        let known = live.map(|(key, s)| (key, s.proxy, s.generation, s.bound_at, s.expires_at));
        assert!(
            told.eq(known),
            "{listed:?} are not the live ones of {sessions:?}"
        );
    }
}

impl StateMachineTest for Fleet {
    type SystemUnderTest = Self;
    type Reference = Happenings;

    fn init_test(setup: &Setup) -> Self {
        let storage = Shared::default();
        let engine = |_| {
            let mut engine = Engine::new(storage.clone());
            engine.configure(setup.config.clone()).unwrap();
            engine.add_proxies(&setup.pool).unwrap();
            engine
        };
        Self {
            engines: (0..setup.instances).map(engine).collect(),
            reference: Reference::new(setup),
            strategy: setup.config.strategy,
            storage,
        }
    }

    fn apply(mut fleet: Self, _: &Setup, step: Step) -> Self {
        match step {
            Step::Acquire(asked) => fleet.acquire(&asked),
            Step::Release {
                instance,
                lease,
                again,
                outcome,
            } => fleet.release(instance, lease, again, outcome),
            Step::Failover {
                instance,
                lease,
                limit,
            } => {
                if let Some(i) = fleet.choose(lease, |held| !held.settled) {
                    fleet.fail_over(instance, i, limit);
                }
            }
            Step::Settle {
                instance,
                lease,
                again,
                outcomes,
            } => fleet.settle(instance, lease, again, outcomes),
            Step::Holds { instance, lease } => fleet.holds(instance, lease),
            Step::Advance(ms) => fleet.reference.now += ms,
            Step::Add(who, spec) => {
                for i in fleet.told(who) {
                    fleet.engines[i]
                        .add_proxies(std::slice::from_ref(&spec))
                        .unwrap();
                    fleet.reference.add(i, &spec);
                }
            }
            Step::Remove(who, n) => {
                for i in fleet.told(who) {
                    let removed = fleet.engines[i].remove_proxy(&id(n)).unwrap();
                    assert_eq!(removed, fleet.reference.remove(i, id(n)));
                }
            }
            Step::SetHealth(who, n, healthy) => {
                for i in fleet.told(who) {
                    let known = fleet.engines[i].set_health(&id(n), healthy);
                    assert_eq!(known, fleet.reference.set_health(i, id(n), healthy));
                }
            }
            Step::Unbind {
                instance,
                target,
                session,
            } => fleet.unbind(instance, target, session),
            Step::Purge { instance, limit } => {
                let now = fleet.reference.now;
                let purged = fleet.engines[instance].purge_expired(now, limit).unwrap();
                assert_eq!(purged, fleet.reference.sessions.purge(now, limit));
            }
        }
        // Here and not in `check_invariants`, since an instance answers only to `&mut`.
        let mut engines = std::mem::take(&mut fleet.engines);
        for (i, engine) in engines.iter_mut().enumerate() {
            fleet.check_pool(engine, i);
        }
        fleet.check_sessions(&mut engines[0]);
        fleet.engines = engines;
        fleet
    }
}

/// `PROPTEST_CASES` and `PROPTEST_RNG_SEED` ask for more than what every run does.
#[test]
fn whatever_happens_the_instances_decide_as_the_reference_does() {
    let mut config = Proptest {
        failure_persistence: None,
        ..Proptest::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 3_000;
    }
    if std::env::var_os("PROPTEST_RNG_SEED").is_none() {
        config.rng_seed = RngSeed::Fixed(0x7265_6d6f_7261);
    }
    let mut runner = TestRunner::new(config.clone());
    let outcome = runner.run(
        &Happenings::sequential_strategy(1..150),
        |(setup, steps, seen)| {
            Fleet::test_sequential(config.clone(), setup, steps, seen);
            Ok(())
        },
    );
    if let Err(error) = outcome {
        panic!("{error}");
    }
    Reached::everything();
}
