//! What a client does not notice.

use remora_test_support::ports::free_port;

use crate::exits::Kind;
use crate::parts::Answer;
use crate::world::{HOSTS, PASSWORD, World, sticky};

#[test]
fn a_request_whose_proxy_cannot_be_reached_goes_through_another_one() {
    let mut world = World::new(3, &sticky("10m", ""));
    for (i, method) in ["GET", "POST", "CONNECT"].iter().enumerate() {
        let host = HOSTS[i];
        let dead = world.exit(host);
        world.exit_of(&dead).kill();
        let curl = match *method {
            "GET" => world.curl(&world.http(host, "/"), &[]),
            // With a body: nobody has read from it before there is a connection.
            "POST" => world.curl(&world.http(host, "/"), &["-d", "some=form"]),
            _ => world.curl(&world.https(host, "/"), &["-d", "some=form"]),
        };
        let mut curl = curl;
        let answer = Answer::read(curl.output().unwrap());
        assert_eq!(answer.status, 200, "{method}: {answer:?}");
        assert_ne!(answer.body, dead);
        assert_eq!(world.exit(host), answer.body, "the session moved with it");
        world.exit_of(&dead).restart();
    }
    assert!(world.log().contains("attempt=2"));
}

#[test]
fn an_answer_that_says_that_the_proxy_is_bad_is_asked_for_again_where_that_is_safe() {
    let world = World::new(3, &sticky("10m", ""));
    // The target itself is broken: every attempt sees its 503, the last one is passed on.
    let answer = world.ask(&world.http(HOSTS[0], "/broken"));
    assert_eq!(answer.status, 503);
    let attempts = |text: &str| world.log().matches(text).count();
    assert_eq!(attempts("attempt=3"), 1, "two more attempts");
    // What is not idempotent is sent once.
    let post = world
        .curl(&world.http(HOSTS[1], "/broken"), &["-d", "x"])
        .output();
    assert_eq!(Answer::read(post.unwrap()).status, 503);
    assert_eq!(attempts("method=POST"), 1);
}

#[test]
fn a_broken_target_is_charged_to_no_proxy() {
    let world = World::new(3, &sticky("10m", "[breaker]\nopen_threshold = 1"));
    let dead = format!("http://127.0.0.1:{}/", free_port());
    // In the clear, and in a tunnel that no proxy can build.
    for (path, tunnel) in [(world.http(HOSTS[0], "/broken"), false), (dead, true)] {
        let more: &[&str] = if tunnel { &["--proxytunnel"] } else { &[] };
        let answer = Answer::read(world.curl(&path, more).output().unwrap());
        assert_ne!(answer.status, 200);
        let log = world.log();
        let attempts = if tunnel { 6 } else { 3 };
        assert_eq!(
            log.matches("outcome=\"ambiguous\"").count(),
            attempts,
            "{log}"
        );
        assert_eq!(world.stats()["open"], 0, "{log}");
    }
}

/// A crawl through a list with dead hosts: each exit says so in its own words (502, 503, 500, a SOCKS reply).
#[test]
fn dead_targets_open_no_breaker_whatever_the_exits_are() {
    use Kind::{Socks5, Socks5h, Squid, Tinyproxy};
    for kinds in [
        &[Tinyproxy][..],
        &[Squid],
        &[Socks5],
        &[Tinyproxy, Squid, Socks5h, Socks5],
    ] {
        let world = World::of(
            kinds,
            "",
            &sticky("10m", "[breaker]\nopen_threshold = 2"),
            PASSWORD,
        );
        let port = free_port();
        for i in 1..=10 {
            let dead = format!("http://127.0.{i}.9:{port}/");
            for more in [&[][..], &["--proxytunnel"], &["-d", "some=form"]] {
                let answer = world.curl(&dead, more).output().unwrap();
                assert_ne!(Answer::read(answer).status, 200, "{kinds:?}");
            }
        }
        assert_eq!(world.stats()["open"], 0, "{kinds:?}: {}", world.log());
        for host in HOSTS {
            world.exit(host);
        }
    }
}

#[test]
fn a_host_may_mean_something_else_by_a_status() {
    let tables = format!(
        "[[outcome.override]]\nmatch = \"{}\"\nfailure_statuses = []\n[retry]\nattempts = 1",
        HOSTS[0]
    );
    let world = World::new(3, &sticky("10m", &tables));
    let exit = world.exit(HOSTS[0]);
    assert_eq!(world.ask(&world.http(HOSTS[0], "/broken")).status, 503);
    assert_eq!(world.exit(HOSTS[0]), exit, "there it is no failure");
    assert_eq!(world.ask(&world.http(HOSTS[1], "/broken")).status, 503);
    assert!(world.log().contains("attempt=2") && !world.log().contains("attempt=3"));
}

#[test]
fn blocked_exits_are_gone_through_where_that_is_wanted() {
    let world = World::new(3, &sticky("10m", "[retry]\nblocked = true"));
    // One of three exits is refused: no client sees it.
    for host in &HOSTS[..6] {
        assert_eq!(world.ask(&world.http(host, "/picky")).status, 200);
    }
    assert!(world.log().contains("outcome=\"blocked\""));
    assert_eq!(world.stats()["open"], 0);
}

#[test]
fn a_407_that_the_target_may_have_said_is_charged_to_no_proxy() {
    let world = World::new(3, &sticky("10m", "[breaker]\nopen_threshold = 1"));
    let url = world.http(HOSTS[0], "/asks-for-credentials");
    assert_eq!(world.ask(&url).status, 502);
    let log = world.log();
    assert_eq!(log.matches("outcome=\"ambiguous\"").count(), 3, "{log}");
    assert_eq!(world.stats()["open"], 0);
    // The target may have acted on what is not idempotent: that is sent once.
    let post = world.curl(&url, &["-X", "POST"]).output();
    assert_eq!(Answer::read(post.unwrap()).status, 502);
    assert_eq!(world.log().matches("method=POST").count(), 1);
}

#[test]
fn a_407_that_only_the_target_can_have_said_is_passed_on_and_charged_to_nobody() {
    let breaker = "[breaker]\nopen_threshold = 1";
    let world = World::of(&[Kind::Socks5; 2], "", &sticky("10m", breaker), PASSWORD);
    let url = world.http(HOSTS[0], "/asks-for-credentials");
    let exit = world.ask(&world.http(HOSTS[0], "/")).body;
    assert_eq!(world.ask(&url).status, 407);
    assert_eq!(world.stats()["open"], 0);
    assert_eq!(world.ask(&world.http(HOSTS[0], "/")).body, exit);
}

#[test]
fn the_only_proxy_is_not_tried_twice_for_one_request() {
    let mut world = World::of(&[Kind::Socks5], "", &sticky("10m", ""), PASSWORD);
    world.exits[0].kill();
    assert_eq!(world.ask(&world.http(HOSTS[0], "/")).status, 502);
    let log = world.log();
    assert_eq!(log.matches("outcome=\"failure\"").count(), 1, "{log}");
}
