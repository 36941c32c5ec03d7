//! What happens when something breaks.

use crate::parts::until;
use crate::world::World;

const QUICK: &str = "[breaker]\nopen_threshold = 2\nhalf_open_after = \"3s\"";

#[test]
fn a_killed_proxy_is_replaced_with_the_credentials_of_the_next_and_the_session_moves() {
    let mut world = World::new(3, QUICK);
    let dead = world.exit("127.0.1.1");
    world.exit_of(&dead).kill();
    // Envoy walks the list: the client notices nothing, and the other proxy gets its own password.
    let moved = world.exit("127.0.1.1");
    assert_ne!(moved, dead);
    until("the failure is told", || {
        world.metric("remora_releases_total{outcome=\"failure\"}") == 1
    });
    assert_eq!(world.exit("127.0.1.1"), moved);
}

#[test]
fn an_exhausted_pool_is_a_503_and_nothing_reaches_a_proxy_whose_breaker_is_open() {
    let mut world = World::new(1, QUICK);
    world.exit("127.0.1.1");
    world.exits[0].kill();
    until("the breaker opens", || {
        world.ask("127.0.1.1", "/");
        world.metric("remora_breaker_transitions_total{change=\"opened\"}") == 1
    });
    // It works again, but nobody may know before the probe is due.
    world.exits[0].restart();
    let refused = world.ask("127.0.1.1", "/");
    if refused.status == 503 {
        assert!((1..=3).contains(&refused.header("retry-after").parse::<u32>().unwrap()));
        let status = refused.header("proxy-status");
        assert!(
            status.starts_with("remora;error=destination_unavailable"),
            "{status}"
        );
    } else {
        // A machine that stood still for three seconds.
        assert_eq!(refused.status, 200, "{refused:?}");
    }
    until("the probe closes the breaker", || {
        world.ask("127.0.1.1", "/").status == 200
            && world.metric("remora_breaker_transitions_total{change=\"closed\"}") == 1
    });
}

#[test]
fn a_blocked_exit_moves_the_session_and_leaves_the_breaker_alone() {
    let world = World::new(2, "[breaker]\nopen_threshold = 1");
    for host in ["127.0.1.1", "127.0.1.2"] {
        if world.ask(host, "/picky").status == 403 {
            until("it is told", || {
                world.metric("remora_releases_total{outcome=\"blocked\"}") == 1
            });
            assert_eq!(world.exit(host), "127.0.0.12", "the session moved");
        }
    }
    assert_eq!(
        world.metric("remora_releases_total{outcome=\"blocked\"}"),
        1
    );
    assert_eq!(
        world.metric("remora_breaker_transitions_total{change=\"opened\"}"),
        0
    );
}

#[test]
fn a_client_that_goes_away_is_nobodys_fault() {
    let world = World::new(1, "[breaker]\nopen_threshold = 1");
    // A port that accepts and never answers, behind the proxy.
    let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://127.0.0.1:{}/", silent.local_addr().unwrap().port());
    let output = world.curl(&url, &["--max-time", "1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(28), "curl gave up");
    until("it is told", || {
        world.metric("remora_releases_total{outcome=\"cancelled\"}") == 1
    });
    assert_eq!(
        world.metric("remora_releases_total{outcome=\"failure\"}"),
        0
    );
    world.exit("127.0.1.1");
}
