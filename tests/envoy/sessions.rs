//! Which exit a target sees.

use std::collections::HashSet;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use crate::parts::{Answer, until};
use crate::world::World;

#[test]
fn a_host_keeps_its_exit_over_plain_http_and_tunnels_and_hosts_take_turns() {
    let world = World::new(3, "");
    let mut seen = HashSet::new();
    for host in ["127.0.1.1", "127.0.1.2", "127.0.1.3"] {
        let exit = world.exit(host);
        for _ in 0..5 {
            assert_eq!(world.exit(host), exit);
            let mut tunnel = world.curl(&world.url(host, "/"), &["-p"]);
            let answer = Answer::read(tunnel.output().unwrap());
            assert_eq!((answer.status, &answer.body), (200, &exit), "{answer:?}");
        }
        seen.insert(exit);
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
    // The filter tells its counters once a second.
    until("all are counted", || {
        world.metric("remora_acquires_total{result=\"bound\"}") == 3
            && world.metric("remora_acquires_total{result=\"hit\"}") == 30
    });
    until("all are released", || {
        world.metric("remora_releases_total{outcome=\"success\"}") == 33
    });
    assert_eq!(world.ask("127.0.1.1", "/headers").body, "[]");
}

/// The trap of shared data: two workers that create an entry at once must not both believe that they have.
#[test]
fn fifty_parallel_first_requests_never_split_over_two_workers() {
    let world = World::new(3, "");
    for round in 1..=30 {
        let url = world.url(&format!("127.0.2.{round}"), "/");
        let curls: Vec<_> = (0..50)
            .map(|_| {
                world
                    .curl(&url, &[])
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        let seen: HashSet<String> = curls
            .into_iter()
            .map(|curl| Answer::read(curl.wait_with_output().unwrap()))
            .inspect(|answer| assert_eq!(answer.status, 200, "{answer:?}"))
            .map(|answer| answer.body)
            .collect();
        assert_eq!(seen.len(), 1, "round {round}: {seen:?}");
    }
}

#[test]
fn a_session_that_ends_gets_a_fresh_exit() {
    let world = World::new(3, "ttl = \"2s\"");
    let first = world.exit("127.0.1.1");
    thread::sleep(Duration::from_millis(2_100));
    assert_ne!(world.exit("127.0.1.1"), first);
}

#[test]
fn a_client_names_its_session_in_a_header_that_is_not_passed_on() {
    let world = World::new(3, "[client]\nsession_header = \"x-hop\"");
    let ask = |id: &str, path: &str| {
        let header = format!("x-hop: {id}");
        let mut curl = world.curl(&world.url("127.0.1.1", path), &["-H", &header]);
        Answer::read(curl.output().unwrap()).body
    };
    assert_ne!(ask("1", "/"), ask("2", "/"));
    assert_eq!(ask("1", "/"), ask("1", "/"));
    assert_eq!(ask("1", "/headers"), "[]");
}
