//! What may happen, and in which world.

use proptest::prelude::*;
use proptest::sample::Index;
use remora_core::{
    BreakerPolicy, Config, KeyError, Mode, OnBad, Outcome, Override, ProxySpec, Scope, Sticky,
    StrategyKind,
};

use crate::support::{proxy, tagged};

/// A target as a client spells it, and what is known of it without reading the code.
pub(crate) struct Target {
    pub(crate) spelling: &'static str,
    pub(crate) host: Result<&'static str, KeyError>,
    pub(crate) site: &'static str,
}

const fn target(spelling: &'static str, host: &'static str, site: &'static str) -> Target {
    Target {
        spelling,
        host: Ok(host),
        site,
    }
}

pub(crate) const TARGETS: [Target; 8] = [
    target("a.example", "a.example", "a.example"),
    target("A.Example.:443", "a.example", "a.example"),
    target("b.example:80", "b.example", "b.example"),
    target("www.shop.co.uk", "www.shop.co.uk", "shop.co.uk"),
    target("cdn.SHOP.co.uk", "cdn.shop.co.uk", "shop.co.uk"),
    target("v1.api.example", "v1.api.example", "api.example"),
    target("[::0:1]:443", "::1", "::1"),
    Target {
        spelling: ":443",
        host: Err(KeyError::Empty),
        site: "",
    },
];

pub(crate) const SESSIONS: [Option<&str>; 3] = [None, Some("s1"), Some("S2")];

pub(crate) const TAGS: [&[&str]; 5] = [&[], &["de"], &["us"], &["us", "de"], &["nowhere"]];

/// The most proxies that a world ever knows.
pub(crate) const PROXIES: u128 = 5;

#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) instances: usize,
    pub(crate) pool: Vec<ProxySpec>,
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
            avoid_blocked_for_ms: parts.5,
            max_sessions: parts.6,
            lease_timeout_ms: parts.7,
        })
}

fn some_proxy() -> impl Strategy<Value = ProxySpec> {
    (1..=PROXIES, 1..5u32, 0..4usize).prop_map(|(n, weight, tags)| ProxySpec {
        weight,
        ..tagged(n, TAGS[tags])
    })
}

pub(crate) fn setup() -> impl Strategy<Value = Setup> {
    let pool = prop::collection::vec(some_proxy(), 0..=6);
    (config(), 1..=3usize, pool).prop_map(|(config, instances, mut pool)| {
        // Instances that begin together know the same pool, each proxy once.
        pool.sort_by_key(|spec| spec.id);
        pool.dedup_by_key(|spec| spec.id);
        Setup {
            config,
            instances,
            pool,
        }
    })
}

fn asked(instances: usize) -> impl Strategy<Value = Asked> {
    (
        0..instances,
        prop_oneof![20 => (0..TARGETS.len()).prop_map(Some), 1 => Just(None)],
        prop_oneof![3 => Just(0), 1 => 0..SESSIONS.len()],
        prop_oneof![5 => Just(0), 1 => 0..TAGS.len()],
        prop_oneof![
            5 => Just(Vec::new()),
            1 => prop::collection::vec(1..=PROXIES, 1..4)
        ],
        prop::option::weighted(0.1, 0..300u64),
    )
        .prop_map(|(instance, target, session, tags, tried, ttl_ms)| Asked {
            instance,
            target,
            session,
            tags,
            tried,
            ttl_ms,
        })
}

fn who(instances: usize) -> impl Strategy<Value = Who> {
    prop_oneof![2 => Just(Who::All), 1 => (0..instances).prop_map(Who::One)]
}

pub(crate) fn step(instances: usize) -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        4 => Just(Outcome::Failure),
        3 => Just(Outcome::Success),
        1 => Just(Outcome::Blocked),
        1 => Just(Outcome::Cancelled),
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
    let ms = prop_oneof![1 => Just(0), 3 => 1..4u64, 4 => 4..40u64, 1 => 40..250u64];
    let health = (who(instances), 1..=PROXIES, any::<bool>());
    let unbind = (0..instances, 0..TARGETS.len(), 0..SESSIONS.len());
    prop_oneof![
        40 => asked(instances).prop_map(Step::Acquire),
        35 => release,
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
