//! What may happen, and in which world.

use proptest::prelude::*;
use proptest::sample::Index;
use remora_core::{
    AttributionPolicy, BreakerPolicy, Config, KeyError, Mode, OnBad, Outcome, Override, ProxySpec,
    Scope, Sticky, StrategyKind,
};

use crate::support::{proxy, tagged};

/// A target as a client spells it, and what is known of it without reading the code.
pub(crate) struct Target {
    pub(crate) spelling: &'static str,
    pub(crate) host: Result<&'static str, KeyError>,
    pub(crate) site: &'static str,
    /// 0 for none.
    pub(crate) port: u16,
}

const fn target(
    spelling: &'static str,
    host: &'static str,
    site: &'static str,
    port: u16,
) -> Target {
    Target {
        spelling,
        host: Ok(host),
        site,
        port,
    }
}

/// At most five sites: a row of strikes remembers no more.
pub(crate) const TARGETS: [Target; 9] = [
    target("a.example", "a.example", "a.example", 0),
    target("A.Example.:443", "a.example", "a.example", 443),
    target("b.example:80", "b.example", "b.example", 80),
    target("b.example:08443", "b.example", "b.example", 8443),
    target("www.shop.co.uk", "www.shop.co.uk", "shop.co.uk", 0),
    target("cdn.SHOP.co.uk", "cdn.shop.co.uk", "shop.co.uk", 0),
    target("v1.api.example", "v1.api.example", "api.example", 0),
    target("[::0:1]:443", "::1", "::1", 443),
    Target {
        spelling: ":443",
        host: Err(KeyError::Empty),
        site: "",
        port: 443,
    },
];

pub(crate) const SESSIONS: [Option<&str>; 3] = [None, Some("s1"), Some("S2")];

pub(crate) const TAGS: [&[&str]; 5] = [&[], &["de"], &["us"], &["us", "de"], &["nowhere"]];

/// The most proxies that a world ever knows.
pub(crate) const PROXIES: u128 = 6;

#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) instances: usize,
    pub(crate) pool: Vec<ProxySpec>,
    /// How many of [`TARGETS`] are asked for: where it is few, much is known of each.
    pub(crate) targets: usize,
}

/// Which instances learn of a change of the pool.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Who {
    All,
    One(usize),
}

#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) instance: usize,
    /// A place in [`TARGETS`]; `None` for a request without a target.
    pub(crate) target: Option<usize>,
    pub(crate) session: usize,
    pub(crate) tags: usize,
    pub(crate) tried: Vec<u128>,
    /// How long the client wants its session to last.
    pub(crate) ttl_ms: Option<u64>,
    /// Whether the request can be sent again.
    pub(crate) repeatable: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Acquire(Asked),
    /// Releases a lease that is still out, or, `again`, one that may have been released before.
    Release {
        instance: usize,
        lease: Index,
        again: bool,
        outcome: Outcome,
    },
    /// Asks for the other exits of a lease's request.
    Failover {
        instance: usize,
        lease: Index,
        limit: usize,
    },
    /// Settles the attempts of a request: its own exit and, for each further outcome, another one, as far as there are any.
    /// The lease stays out.
    Settle {
        instance: usize,
        lease: Index,
        again: bool,
        outcomes: Vec<Outcome>,
    },
    /// Whether any lease there ever was still holds.
    Holds {
        instance: usize,
        lease: Index,
    },
    Advance(u64),
    Add(Who, ProxySpec),
    Remove(Who, u128),
    SetHealth(Who, u128, bool),
    Unbind {
        instance: usize,
        target: usize,
        session: usize,
    },
    Purge {
        instance: usize,
        limit: u32,
    },
}

fn on_bad() -> impl Strategy<Value = OnBad> {
    prop_oneof![3 => Just(OnBad::Rebind), 1 => Just(OnBad::Strict)]
}

fn sticky() -> impl Strategy<Value = Sticky> {
    (
        prop_oneof![6 => Just(Mode::Domain), 1 => Just(Mode::Disabled)],
        prop_oneof![1 => Just(0), 4 => 1..20u64, 8 => 20..200u64],
        prop::option::weighted(0.3, 1..30u64),
        prop::option::weighted(0.3, 1..5u32),
        on_bad(),
    )
        .prop_map(|(mode, ttl_ms, idle_ms, max_requests, on_bad)| Sticky {
            mode,
            ttl_ms,
            idle_ms,
            max_requests,
            on_bad,
        })
}

fn overrides() -> impl Strategy<Value = Vec<Override>> {
    let one = |pattern: &'static str| {
        (
            prop::option::of(prop_oneof![Just(Mode::Domain), Just(Mode::Disabled)]),
            prop::option::of(0..60u64),
            prop::option::weighted(0.3, 1..30u64),
            prop::option::weighted(0.3, 1..5u32),
            prop::option::of(on_bad()),
        )
            .prop_map(
                move |(mode, ttl_ms, idle_ms, max_requests, on_bad)| Override {
                    pattern: pattern.to_owned(),
                    mode,
                    ttl_ms,
                    idle_ms,
                    max_requests,
                    on_bad,
                },
            )
    };
    let some = (
        one("*.example"),
        one("*.api.example"),
        one("b.example"),
        one("*.co.uk"),
    )
        .prop_map(|(a, b, c, d)| vec![a, b, c, d]);
    prop_oneof![
        2 => Just(Vec::new()),
        1 => some.prop_flat_map(|all| {
            let n = all.len();
            prop::sample::subsequence(all, 0..=n)
        }),
    ]
}

fn breaker() -> impl Strategy<Value = BreakerPolicy> {
    (1..4u32, 1..40u64, 1..4u32, 1..100u64).prop_map(|(open_threshold, wait, growth, max)| {
        BreakerPolicy {
            open_threshold,
            half_open_after_ms: wait,
            growth,
            max_half_open_after_ms: max,
        }
    })
}

fn attribution() -> impl Strategy<Value = AttributionPolicy> {
    let gap = prop_oneof![2 => Just(0), 1 => 1..50u64];
    let percent = prop_oneof![2 => Just(10), 1 => 0..=100u32];
    (0..200u64, 1..=4u64, gap, percent).prop_map(|(doubt_for_ms, max_doubts, gap, percent)| {
        AttributionPolicy {
            doubt_for_ms,
            max_doubts,
            strike_gap_ms: gap,
            min_available_percent: percent,
        }
    })
}

fn scope() -> impl Strategy<Value = Scope> {
    let scopes: &[Scope] = if cfg!(feature = "public-suffix-list") {
        &[Scope::Host, Scope::Host, Scope::Session, Scope::Site]
    } else {
        &[Scope::Host, Scope::Session]
    };
    prop::sample::select(scopes)
}

fn config() -> impl Strategy<Value = Config> {
    let strategy = prop_oneof![
        3 => Just(StrategyKind::RoundRobin),
        1 => Just(StrategyKind::Random),
        1 => Just(StrategyKind::Weighted),
        2 => Just(StrategyKind::LeastUsed),
    ];
    (
        sticky(),
        scope(),
        overrides(),
        strategy,
        breaker(),
        attribution(),
        prop_oneof![1 => Just(0), 4 => 1..100u64],
        prop_oneof![1 => 1..5u64, 1 => Just(1_000)],
        1..60u64,
    )
        .prop_map(|parts| Config {
            sticky: parts.0,
            scope: parts.1,
            overrides: parts.2,
            strategy: parts.3,
            breaker: parts.4,
            attribution: parts.5,
            avoid_blocked_for_ms: parts.6,
            max_sessions: parts.7,
            lease_timeout_ms: parts.8,
        })
}

fn some_proxy() -> impl Strategy<Value = ProxySpec> {
    (1..=PROXIES, 1..5u32, 0..4usize).prop_map(|(n, weight, tags)| ProxySpec {
        weight,
        ..tagged(n, TAGS[tags])
    })
}

pub(crate) fn setup() -> impl Strategy<Value = Setup> {
    let pool = prop::collection::vec(some_proxy(), 0..=8);
    let targets = prop_oneof![1 => Just(1), 1 => Just(2), 6 => Just(TARGETS.len())];
    let parts = (config(), 1..=3usize, pool, targets);
    parts.prop_map(|(config, instances, mut pool, targets)| {
        // Instances that begin together know the same pool, each proxy once.
        pool.sort_by_key(|spec| spec.id);
        pool.dedup_by_key(|spec| spec.id);
        Setup {
            config,
            instances,
            pool,
            targets,
        }
    })
}

fn asked(instances: usize, targets: usize) -> impl Strategy<Value = Asked> {
    (
        0..instances,
        prop_oneof![20 => (0..targets).prop_map(Some), 1 => Just(None)],
        prop_oneof![3 => Just(0), 1 => 0..SESSIONS.len()],
        prop_oneof![5 => Just(0), 1 => 0..TAGS.len()],
        prop_oneof![
            5 => Just(Vec::new()),
            1 => prop::collection::vec(1..=PROXIES, 1..4)
        ],
        prop::option::weighted(0.1, 0..300u64),
        prop::bool::weighted(0.7),
    )
        .prop_map(
            |(instance, target, session, tags, tried, ttl_ms, repeatable)| Asked {
                instance,
                target,
                session,
                tags,
                tried,
                ttl_ms,
                repeatable,
            },
        )
}

/// How the attempts of a request end.
fn outcomes() -> impl Strategy<Value = Vec<Outcome>> {
    let earlier = prop_oneof![
        6 => Just(Outcome::Ambiguous),
        1 => Just(Outcome::TimedOut),
        1 => Just(Outcome::Failure),
        1 => Just(Outcome::Blocked),
    ];
    let last = prop_oneof![
        6 => Just(Outcome::Success),
        3 => Just(Outcome::Ambiguous),
        1 => Just(Outcome::TimedOut),
        1 => Just(Outcome::Failure),
        1 => Just(Outcome::Blocked),
        1 => Just(Outcome::Cancelled),
        1 => Just(Outcome::Inconclusive),
    ];
    (prop::collection::vec(earlier, 0..3), last).prop_map(|(mut outcomes, last)| {
        outcomes.push(last);
        outcomes
    })
}

fn who(instances: usize) -> impl Strategy<Value = Who> {
    prop_oneof![2 => Just(Who::All), 1 => (0..instances).prop_map(Who::One)]
}

pub(crate) fn step(instances: usize, targets: usize) -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        4 => Just(Outcome::Failure),
        3 => Just(Outcome::Success),
        1 => Just(Outcome::Blocked),
        1 => Just(Outcome::Cancelled),
        1 => Just(Outcome::Inconclusive),
        3 => Just(Outcome::Ambiguous),
        1 => Just(Outcome::TimedOut),
    ];
    let release = (
        0..instances,
        any::<Index>(),
        prop::bool::weighted(0.1),
        outcome,
    )
        .prop_map(|(instance, lease, again, outcome)| Step::Release {
            instance,
            lease,
            again,
            outcome,
        });
    let settle = (
        0..instances,
        any::<Index>(),
        prop::bool::weighted(0.05),
        outcomes(),
    )
        .prop_map(|(instance, lease, again, outcomes)| Step::Settle {
            instance,
            lease,
            again,
            outcomes,
        });
    let failover =
        (0..instances, any::<Index>(), 0..4usize).prop_map(|(instance, lease, limit)| {
            Step::Failover {
                instance,
                lease,
                limit,
            }
        });
    let holds = (0..instances, any::<Index>())
        .prop_map(|(instance, lease)| Step::Holds { instance, lease });
    let ms = prop_oneof![
        20 => Just(0),
        60 => 1..4u64,
        80 => 4..40u64,
        20 => 40..250u64,
        // About as long as an entry in the table of doubts stays.
        1 => 599_980..600_020u64,
    ];
    let health = (who(instances), 1..=PROXIES, any::<bool>());
    let unbind = (0..instances, 0..TARGETS.len(), 0..SESSIONS.len());
    prop_oneof![
        40 => asked(instances, targets).prop_map(Step::Acquire),
        20 => release,
        20 => settle,
        3 => failover,
        6 => holds,
        18 => ms.prop_map(Step::Advance),
        3 => (who(instances), some_proxy()).prop_map(|(who, spec)| Step::Add(who, spec)),
        1 => (who(instances), 1..=PROXIES).prop_map(|(who, n)| Step::Remove(who, n)),
        1 => health.prop_map(|(who, n, healthy)| Step::SetHealth(who, n, healthy)),
        1 => unbind.prop_map(|(instance, target, session)| Step::Unbind {
            instance,
            target,
            session,
        }),
        1 => (0..instances, 0..4u32).prop_map(|(instance, limit)| Step::Purge {
            instance,
            limit,
        }),
    ]
}

/// The id that a step means.
pub(crate) fn id(n: u128) -> remora_core::ProxyId {
    proxy(n)
}
