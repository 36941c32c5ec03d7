//! Rule 7.

use std::sync::atomic::{AtomicUsize, Ordering};

use remora_core::{AcquireError, BreakerChange, Outcome};

use crate::fleet::{Fleet, T0, config, explore, explore_all, rotating};

#[test]
fn no_failure_is_lost_and_the_last_one_opens_once() {
    explore(|| {
        let mut config = rotating();
        config.breaker.open_threshold = 3;
        let fleet = Fleet::new(config, 1);
        let lease = fleet.lease(1);
        let changes = fleet.at_once(4, T0, |_, one| {
            one.release(&lease, Outcome::Failure).breaker
        });
        let opened = changes.iter().filter(|c| **c == BreakerChange::Opened);
        assert_eq!(opened.count(), 1, "{changes:?}");
        assert!(!fleet.instance(T0).status(1).available);
    });
}

#[test]
fn of_two_requests_in_half_open_one_is_admitted_under_any_schedule() {
    let schedules = explore_all(|| {
        let fleet = Fleet::new(rotating(), 1);
        let now = fleet.trip_all();
        let answers = fleet.at_once(2, now, |_, one| one.try_acquire("shop.example"));
        let admitted: Vec<_> = answers.iter().flatten().collect();
        assert_eq!(admitted.len(), 1, "{answers:?}");
        assert!(admitted[0].lease.probe);
    });

    assert!(schedules > 1_000, "only {schedules} schedules");
}

#[test]
fn half_open_admits_one_probe_at_a_time_over_all_instances() {
    for sticky in [config(), rotating()] {
        explore(move || {
            let fleet = Fleet::new(sticky.clone(), 1);
            let now = fleet.trip_all();
            let answers = fleet.at_once(4, now, |i, one| one.try_acquire(&format!("{i}.example")));
            let refused = Err(AcquireError::Exhausted {
                retry_after_ms: 60_000,
            });
            assert_eq!(answers.iter().filter(|a| **a == refused).count(), 3);
            let probe = answers.into_iter().find_map(Result::ok).unwrap();
            assert!(probe.lease.probe);
        });
    }
}

#[test]
fn requests_of_one_key_in_half_open_send_one_probe_and_follow_it_or_are_refused() {
    explore(|| {
        let fleet = Fleet::new(config(), 1);
        let now = fleet.trip_all();
        let answers = fleet.at_once(3, now, |_, one| one.try_acquire("shop.example"));
        let grants: Vec<_> = answers.iter().flatten().collect();
        assert_eq!(grants.iter().filter(|g| g.lease.probe).count(), 1);
        let generation = grants[0].lease.generation;
        assert!(grants.iter().all(|g| g.lease.generation == generation));
    });
}

#[test]
fn a_probe_that_is_given_back_goes_to_one_other_at_most() {
    explore(|| {
        let fleet = Fleet::new(rotating(), 1);
        let now = fleet.trip_all();
        let out = AtomicUsize::new(0);
        fleet.at_once(3, now, |_, one| {
            for _ in 0..2 {
                let Ok(grant) = one.try_acquire("shop.example") else {
                    continue;
                };
                assert!(grant.lease.probe);
                assert_eq!(out.fetch_add(1, Ordering::SeqCst), 0, "two probes are out");
                out.fetch_sub(1, Ordering::SeqCst);
                let released = one.release(&grant.lease, Outcome::Cancelled);
                assert_eq!(released.breaker, BreakerChange::ProbeReturned);
            }
        });
        assert!(fleet.instance(now).status(1).available);
    });
}

#[test]
fn of_a_lost_probe_and_its_successor_one_is_heard() {
    explore(|| {
        let fleet = Fleet::new(rotating(), 1);
        let due = fleet.trip_all();
        let lost = fleet.instance(due).acquire("shop.example").lease;
        let now = due + 60_000;
        let done = fleet.at_once(3, now, |i, one| match i {
            0 => (one.release(&lost, Outcome::Success).breaker, 0),
            _ => match one.try_acquire("shop.example") {
                Ok(grant) if grant.lease.probe => {
                    (one.release(&grant.lease, Outcome::Failure).breaker, 1)
                }
                _ => (BreakerChange::None, 0),
            },
        });
        let closed = done.iter().any(|(c, _)| *c == BreakerChange::Closed);
        let reopened = done.iter().any(|(c, _)| *c == BreakerChange::Reopened);
        let probes: usize = done.iter().map(|(_, probe)| probe).sum();
        assert_ne!(closed, reopened, "{done:?}");
        assert_eq!(probes, usize::from(reopened));
        assert_eq!(fleet.instance(now).status(1).available, closed);
    });
}

#[test]
fn late_verdicts_do_not_disturb_a_probe() {
    explore(|| {
        let fleet = Fleet::new(rotating(), 1);
        let lease = fleet.lease(1);
        let now = fleet.trip_all();
        let done = fleet.at_once(4, now, |i, one| match i {
            0 => one.release(&lease, Outcome::Failure).breaker,
            1 => one.release(&lease, Outcome::Success).breaker,
            2 => one.release(&lease, Outcome::Cancelled).breaker,
            _ => {
                let probe = one.acquire("shop.example").lease;
                assert!(probe.probe);
                one.release(&probe, Outcome::Success).breaker
            }
        });
        let none = BreakerChange::None;
        assert_eq!(done, [none, none, none, BreakerChange::Closed]);
        let status = fleet.instance(now).status(1);
        assert_eq!((status.available, status.breaker.failures()), (true, 0));
    });
}
