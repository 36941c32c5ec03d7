//! Which exit a target sees.

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use crate::parts::{Answer, together};
use crate::world::{HOSTS, World, sticky};

#[test]
fn a_login_flow_keeps_one_exit_over_plain_http_and_tls() {
    let world = World::new(3, &sticky("10m", ""));
    let jar = world.dir.path().join("jar");
    let jar = jar.to_str().unwrap();
    let mut exits = HashSet::new();
    for (url, options) in [
        (world.https(HOSTS[0], "/login"), &["-c", jar][..]),
        (
            world.https(HOSTS[0], "/session"),
            &["-b", jar, "-d", "user=alice"],
        ),
        (world.http(HOSTS[0], "/account"), &["-b", jar]),
    ] {
        let answer = Answer::read(world.curl(&url, options).output().unwrap());
        assert_eq!(answer.status, 200, "{answer:?}");
        exits.insert(answer.body);
    }
    assert_eq!(exits.len(), 1, "{exits:?}");
    assert_eq!(world.stats()["active_sessions"], 1);
}

#[test]
fn domains_take_turns_over_the_exits() {
    let world = World::new(3, &sticky("10m", ""));
    let seen: Vec<String> = HOSTS[..6].iter().map(|host| world.exit(host)).collect();
    let distinct: HashSet<&String> = seen[..3].iter().collect();
    assert_eq!(distinct.len(), 3, "{seen:?}");
    assert_eq!(seen[..3], seen[3..], "each proxy in turn");
    let sessions = world.admin("/sessions").1;
    let sessions: Vec<serde_json::Value> = serde_json::from_str(&sessions).unwrap();
    assert_eq!(sessions.len(), 6);
    for (session, host) in sessions.iter().zip(HOSTS) {
        assert_eq!(session["key"], host);
        let proxy = session["proxy"].as_str().unwrap();
        assert!(
            world
                .exits
                .iter()
                .any(|e| proxy == format!("http://127.0.0.1:{}", e.port))
        );
        let bound = session["bound_at"].as_str().unwrap();
        assert!(bound < session["expires_at"].as_str().unwrap() && bound.ends_with('Z'));
    }
}

#[test]
fn without_stickiness_every_request_rotates() {
    let world = World::new(3, "");
    let seen: HashSet<String> = (0..3).map(|_| world.exit(HOSTS[0])).collect();
    assert_eq!(seen.len(), 3);
    assert_eq!(world.stats()["active_sessions"], 0);
}

#[test]
fn fifty_parallel_first_requests_of_a_domain_see_one_exit() {
    let world = World::new(3, &sticky("10m", ""));
    for host in &HOSTS[..3] {
        let curls = (0..50).map(|i| {
            let url = if i % 2 == 0 {
                world.http(host, "/")
            } else {
                world.https(host, "/")
            };
            world.curl(&url, &[])
        });
        let seen: HashSet<String> = together(curls)
            .into_iter()
            .inspect(|answer| assert_eq!(answer.status, 200, "{answer:?}"))
            .map(|answer| answer.body)
            .collect();
        assert_eq!(seen.len(), 1, "{host} saw {seen:?}");
    }
}

#[test]
fn a_session_that_ends_gets_a_fresh_exit() {
    let over = format!(
        "[[sticky.override]]\nmatch = \"{}\"\nttl = \"3s\"",
        HOSTS[0]
    );
    let world = World::new(3, &sticky("10m", &over));
    let (short, long) = (world.exit(HOSTS[0]), world.exit(HOSTS[1]));
    thread::sleep(Duration::from_millis(3_100));
    assert_ne!(world.exit(HOSTS[0]), short);
    assert_eq!(world.exit(HOSTS[1]), long);
}

#[test]
fn one_keep_alive_connection_never_mixes_sessions() {
    let world = World::new(3, &sticky("10m", ""));
    let exits: Vec<String> = HOSTS[..3].iter().map(|host| world.exit(host)).collect();
    // One curl, one connection to the gateway, targets in turn.
    let mut urls: Vec<String> = Vec::new();
    for _ in 0..5 {
        urls.extend(HOSTS[..3].iter().map(|host| world.http(host, "/")));
    }
    let mut curl = std::process::Command::new("curl");
    let proxy = world.curl("", &[]);
    let proxy = proxy
        .get_args()
        .find(|a| a.to_string_lossy().starts_with("http://127.0.0.1:"));
    let output = curl
        .args(["-sS", "-w", "%{num_connects}\n", "-x"])
        .arg(proxy.unwrap());
    let output = output.args(&urls).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    for (i, answer) in lines.chunks(2).enumerate() {
        assert_eq!(answer[0], exits[i % 3]);
        assert_eq!(answer[1], if i == 0 { "1" } else { "0" }, "one connection");
    }
    assert_eq!(lines.len(), 30);
}
