//! What an operator sees and changes while Envoy runs.

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use crate::egress::Egress;
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
