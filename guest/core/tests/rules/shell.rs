//! What shells call instead of acquire and release, to spare a copy or a look at the clock.

use remora_core::{Config, Outcome, Reason, Request, StrategyKind};

use crate::support::{T0, World, domain, proxy, tagged};

#[test]
fn a_permit_and_its_key_apart_are_the_lease() {
    let (one, two) = (World::new(domain(1_000), 3), World::new(domain(1_000), 3));
    let (mut whole, mut apart) = (one.client(), two.client());
    for (i, outcome) in [
        Outcome::Success,
        Outcome::Failure,
        Outcome::Blocked,
        Outcome::Cancelled,
    ]
    .into_iter()
    .cycle()
    .take(40)
    .enumerate()
    {
        let request = Request {
            target: ["Shop.Example:443", "b.example"][i / 3 % 2],
            ..Request::default()
        };
        let grant = whole.try_request(&request).unwrap();
        let decided = apart.engine.permit(T0, &request).unwrap();
        let key = apart.engine.last_key().to_owned();
        let permit = decided.permit;
        assert_eq!(
            (permit, decided.reason, decided.session),
            (grant.lease.permit, grant.reason, grant.session)
        );
        assert_eq!(key, grant.lease.key);
        assert_eq!(apart.engine.session_key(&request), Ok(key.clone()));
        // Neither a success nor a cancelled request needs its key.
        let needed = [Outcome::Failure, Outcome::Blocked].contains(&outcome);
        let key = if needed { key.as_str() } else { "" };
        let settled = apart.engine.release(T0, &permit, key, key, outcome);
        assert_eq!(settled, Ok(whole.release(&grant.lease, outcome)));
    }
}

#[test]
fn a_request_without_a_target_never_sticks_but_keeps_to_tags_and_what_it_tried() {
    let pool = vec![tagged(1, &["de"]), tagged(2, &["de"]), tagged(3, &["us"])];
    let world = World::with_pool(domain(1_000), pool);
    let mut client = world.client();
    let request = Request {
        tags: &["de"],
        tried: &[proxy(1)],
        ..Request::default()
    };
    for _ in 0..5 {
        let grant = client.engine.acquire_any(T0, &request).unwrap();
        assert_eq!(grant.reason, Reason::Rotated);
        assert_eq!((grant.lease.key.as_str(), grant.lease.generation), ("", 0));
        assert_eq!(grant.lease.proxy, proxy(2));
        // There is no target that could avoid it.
        client.release(&grant.lease, Outcome::Blocked);
    }
}

#[test]
fn a_release_that_does_not_look_at_the_time_is_the_same_at_any() {
    for strategy in [StrategyKind::RoundRobin, StrategyKind::LeastUsed] {
        let config = Config {
            strategy,
            lease_timeout_ms: 10,
            ..domain(1_000)
        };
        for outcome in [
            Outcome::Success,
            Outcome::Failure,
            Outcome::Blocked,
            Outcome::Ambiguous,
            Outcome::Cancelled,
        ] {
            // A proxy with one failure on record and one lease out, released at different times.
            let after = |ms| {
                let world = World::new(config.clone(), 1);
                let mut client = world.client();
                client.go("a.example", Outcome::Failure);
                let lease = client.acquire("b.example").lease;
                let (permit, key) = (&lease.permit, &*lease.key);
                let told = client.engine.release(T0 + ms, permit, key, key, outcome);
                let told = told.unwrap();
                (told, client.status(1))
            };
            if !client_looks(&config, outcome) {
                assert_eq!(after(0), after(100));
            }
        }
    }
    assert!(!client_looks(&domain(1_000), Outcome::Success));
}

fn client_looks(config: &Config, outcome: Outcome) -> bool {
    let world = World::new(config.clone(), 1);
    let mut client = world.client();
    let permit = client.acquire("a.example").lease.permit;
    client.engine.looks_at_time(&permit, outcome)
}
