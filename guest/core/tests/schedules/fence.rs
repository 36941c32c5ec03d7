//! Rules 5 and 6.

use remora_core::{BreakerChange, End, Outcome, Reason};

use crate::fleet::{Fleet, T0, config, explore, explore_all, rotating};

#[test]
fn a_late_failure_never_kills_a_newer_binding() {
    for outcome in [Outcome::Failure, Outcome::Blocked] {
        explore(move || {
            let mut config = config();
            config.breaker.open_threshold = 5;
            let fleet = Fleet::new(config, 3);
            let mut one = fleet.instance(T0);
            let leases = [
                one.acquire("shop.example").lease,
                one.acquire("shop.example").lease,
                one.acquire("shop.example").lease,
            ];
            let old = &leases[0];
            let done = fleet.at_once(4, T0, |i, one| {
                let released = leases.get(i).map(|lease| one.release(lease, outcome));
                let ended = released.is_some_and(|r| r.ended_session);
                (ended, i, one.acquire("shop.example"))
            });
            let ends = done.iter().filter(|(ended, ..)| *ended).count();
            assert_eq!(ends, 1, "one session ends once");
            let newer: Vec<_> = done
                .iter()
                .map(|(.., grant)| grant)
                .filter(|grant| grant.lease.generation != old.generation)
                .collect();
            // Whoever has released asks for a session that is not the one it ended.
            assert!(newer.len() >= 3, "{done:?}");
            let session = &newer[0].lease;
            assert!(
                newer
                    .iter()
                    .all(|g| g.lease.generation == session.generation)
            );
            assert_ne!(session.proxy, old.proxy);
            let end = [End::Failed, End::Blocked][usize::from(outcome == Outcome::Blocked)];
            let made = newer.iter().filter(|g| g.reason == Reason::Rebound(end));
            assert_eq!(made.count(), 1);
            let after = fleet.instance(T0).acquire("shop.example");
            assert_eq!(after.reason, Reason::Hit);
            assert_eq!(after.lease.generation, session.generation);
        });
    }
}

#[test]
fn a_failure_and_a_rebind_keep_the_fence_under_any_schedule() {
    let schedules = explore_all(|| {
        let mut config = config();
        config.sticky.ttl_ms = 10;
        let fleet = Fleet::new(config, 1);
        let late = fleet.instance(T0).acquire("shop.example").lease;
        let done = fleet.at_once(2, T0 + 10, |i, one| match i {
            0 => {
                assert!(!one.release(&late, Outcome::Failure).ended_session);
                None
            }
            _ => Some(one.acquire("shop.example").lease),
        });
        let newer = done.into_iter().flatten().next().unwrap();
        let after = fleet.instance(T0 + 10).acquire("shop.example");
        assert_eq!(after.reason, Reason::Hit);
        assert_eq!(after.lease.generation, newer.generation);
    });

    assert!(schedules > 1_000, "only {schedules} schedules");
}

#[test]
fn a_late_success_never_closes_a_breaker_that_has_opened() {
    let schedules = explore_all(|| {
        let fleet = Fleet::new(rotating(), 1);
        let lease = fleet.lease(1);
        let changes = fleet.at_once(3, T0, |i, one| {
            let outcome = [Outcome::Success, Outcome::Failure, Outcome::Failure][i];
            one.release(&lease, outcome).breaker
        });
        let opened = changes.contains(&BreakerChange::Opened);
        let status = fleet.instance(T0).status(1);
        assert_eq!(status.available, !opened, "{changes:?}");
        // The one success came between the failures, or no success came between them.
        assert_eq!(status.breaker.failures(), u32::from(!opened));
    });

    assert!(schedules > 1_000, "only {schedules} schedules");
}

#[test]
fn after_an_opening_nobody_gets_the_proxy_and_its_sessions_move() {
    explore(|| {
        let fleet = Fleet::new(config(), 2);
        let session = fleet.instance(T0).acquire("shop.example").lease;
        let lease = fleet.lease(1);
        let grants = fleet.at_once(4, T0, |i, one| {
            if i < 2 {
                let released = one.release(&lease, Outcome::Failure);
                if released.breaker == BreakerChange::Opened {
                    let grant = one.acquire("shop.example");
                    assert_ne!(grant.lease.proxy, session.proxy);
                }
                return None;
            }
            Some(one.acquire("shop.example"))
        });
        for grant in grants.into_iter().flatten() {
            match grant.reason {
                Reason::Hit | Reason::Adopted => {}
                reason => assert_eq!(reason, Reason::Rebound(End::Open)),
            }
        }
        let after = fleet.instance(T0).acquire("shop.example");
        assert_eq!(after.reason, Reason::Hit);
        assert_ne!(after.lease.proxy, session.proxy);
    });
}
