//! What an operator sees and changes while Envoy runs.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::egress::Egress;
use crate::keep_alive::Client;
use crate::parts::until;
use crate::world::{HOSTS, sticky};

#[test]
fn decisions_are_counted_under_the_gateways_names() {
    let egress = Egress::new(2, &sticky("10m", ""));
    for _ in 0..3 {
        egress.exit(HOSTS[0]);
    }
    egress.exit(HOSTS[1]);
    // Told with a worker's next tick.
    for (name, value) in [
        ("remora_acquires_total{result=\"bound\"}", 2),
        ("remora_acquires_total{result=\"hit\"}", 2),
        ("remora_releases_total{outcome=\"success\"}", 4),
        ("remora_releases_total{outcome=\"failure\"}", 0),
        ("remora_breaker_transitions_total{change=\"opened\"}", 0),
    ] {
        until(name, || egress.metric(name) == value);
    }
}

#[test]
fn the_live_sessions_are_counted() {
    let egress = Egress::new(2, &sticky("10m", "max_sessions = 1000"));
    for host in HOSTS {
        egress.exit(host);
    }
    let sessions = "remora_sessions{}";
    until("all are counted", || egress.metric(sessions) == 9);
}

#[test]
fn a_proxy_removed_or_added_takes_effect_without_a_restart_and_sessions_stay() {
    let egress = Egress::new(3, &sticky("10m", ""));
    let before: Vec<String> = HOSTS.iter().map(|host| egress.exit(host)).collect();
    let gone = "127.0.0.11".to_owned();
    assert!(before.contains(&gone));
    egress.repool(|exit| exit.ip != gone);
    // Requests of sessions that stay are served all along.
    let stays = HOSTS.iter().zip(&before).find(|(_, exit)| **exit != gone);
    let (host, exit) = stays.unwrap();
    until("the removal is taken up", || {
        assert_eq!(egress.exit(host), *exit);
        HOSTS.iter().all(|host| egress.exit(host) != gone)
    });
    for (host, was) in HOSTS.iter().zip(&before) {
        let now = egress.exit(host);
        assert!(now == *was || *was == gone, "{host}: {was} became {now}");
    }
    let moved: Vec<String> = HOSTS.iter().map(|host| egress.exit(host)).collect();
    egress.repool(|_| true);
    thread::sleep(Duration::from_secs(1));
    let after: Vec<String> = HOSTS.iter().map(|host| egress.exit(host)).collect();
    assert_eq!(after, moved, "what is bound stays");
}

#[test]
fn a_pool_that_changes_under_load_fails_no_request() {
    let tables = "[client]\nsession_header = \"x-session-id\"\n[sticky]\nmode = \"domain\"\n";
    let egress = Egress::new(3, tables);
    let over = AtomicBool::new(false);
    let removed = Mutex::new(Vec::new());
    let served = thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|i| {
                let (egress, over, removed) = (&egress, &over, &removed);
                scope.spawn(move || {
                    let mut client = Client::connect(egress, HOSTS[i]);
                    let mut served = 0;
                    let mut exits = HashMap::new();
                    while !over.load(Ordering::Relaxed) {
                        let session = served % 20;
                        let (status, body) = client.get("/", &session.to_string());
                        assert_eq!(status, 200, "{body}");
                        if let Some(was) = exits.insert(session, body.clone())
                            && was != body
                        {
                            let removed = removed.lock().unwrap();
                            assert!(removed.contains(&was), "{was} had never gone");
                        }
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        for last in [11, 12, 13, 11] {
            let gone = format!("127.0.0.{last}");
            removed.lock().unwrap().push(gone.clone());
            egress.repool(|exit| exit.ip != gone);
            egress.repool(|_| true);
        }
        over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|c| c.join().unwrap()).sum::<u32>()
    });
    assert!(served > 1_000, "{served} requests are no load");
}

#[test]
fn an_added_proxy_serves_new_requests() {
    let egress = Egress::new(2, "");
    egress.repool(|exit| exit.ip == "127.0.0.11");
    until("one is left", || {
        let seen: HashSet<String> = (0..4).map(|_| egress.exit(HOSTS[0])).collect();
        seen.len() == 1
    });
    egress.repool(|_| true);
    until("both serve", || {
        let seen: HashSet<String> = (0..4).map(|_| egress.exit(HOSTS[0])).collect();
        seen.len() == 2
    });
}

/// How many of these sessions are at this exit.
fn share(egress: &Egress, sessions: Range<u32>, ip: &str) -> usize {
    let exits = sessions.map(|session| egress.exit_of_session(HOSTS[0], session));
    exits.filter(|exit| exit == ip).count()
}

#[test]
fn a_proxy_with_another_weight_gets_its_share_of_new_sessions_and_live_ones_stay() {
    const ROUND: u32 = 20;
    let tables = "[rotation]\nstrategy = \"weighted\"\n[client]\nsession_header = \"x-session-id\"\n[sticky]\nmode = \"domain\"\nscope = \"session\"\n";
    let egress = Egress::new(2, tables);
    let heavy = "127.0.0.11";
    let before: Vec<String> = (0..ROUND)
        .map(|session| egress.exit_of_session(HOSTS[0], session))
        .collect();
    let had = before.iter().filter(|exit| *exit == heavy).count();
    assert_eq!(had, 10, "at first they weigh the same: {before:?}");
    egress.reweigh(heavy, 9);
    let mut first = ROUND;
    until("both workers have taken it up", || {
        first += ROUND;
        share(&egress, first..first + ROUND, heavy) == 18
    });
    let next = first + ROUND;
    assert_eq!(share(&egress, next..next + 2 * ROUND, heavy), 36);
    for (session, exit) in (0..ROUND).zip(&before) {
        assert_eq!(egress.exit_of_session(HOSTS[0], session), *exit);
    }
    assert!(!egress.by_worker().contains(&0), "{:?}", egress.by_worker());
}
