//! What a tenant may ask for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::client::Client;
use super::{directory, end, hash_of, tenant, write};
use crate::parts::{Answer, until};
use crate::world::HOSTS;

#[test]
fn a_tenant_is_held_to_its_limits_and_its_neighbour_is_not() {
    let world = directory(1, "", |place, exits| {
        let limits = |limits: &str| format!("[limits]\n{limits}");
        write(
            place,
            "slow",
            &tenant("sue", exits, &limits("requests_per_second = 1")),
        );
        write(
            place,
            "narrow",
            &tenant("ned", exits, &limits("concurrent_requests = 1")),
        );
        write(place, "wide", &tenant("will", exits, ""));
    });
    let url = world.http(HOSTS[0], "/");
    let answers: Vec<Answer> = (0..10).map(|_| world.ask_as("sue", &url)).collect();
    let limited = answers.iter().find(|answer| answer.status != 200).unwrap();
    assert_eq!(
        (limited.status, limited.header("retry-after")),
        (429, "1"),
        "{limited:?}"
    );
    assert!(
        limited
            .header("proxy-status")
            .starts_with("remora;error=http_request_denied")
    );
    until("the next request may begin", || {
        world.ask_as("sue", &url).status == 200
    });

    // A download is in flight until its end, and so is a tunnel.
    for slow in [
        world.http(HOSTS[1], "/slow"),
        world.https(HOSTS[1], "/slow"),
    ] {
        let download = world.download("ned", &slow);
        until("it is in flight", || {
            world.tenant("narrow")["in_flight"] == 1
        });
        let answer = world.ask_as("ned", &url);
        assert_eq!(
            (answer.status, answer.header("retry-after")),
            (503, "1"),
            "{answer:?}"
        );
        assert!(
            answer.body.contains("1 requests and tunnels at a time"),
            "{answer:?}"
        );
        assert_eq!(world.ask_as("will", &url).status, 200);
        assert_eq!(end(download).0, 200);
        until("its place is free", || {
            world.tenant("narrow")["in_flight"] == 0
        });
        assert_eq!(world.ask_as("ned", &url).status, 200);
    }
    let metrics = world.admin("/metrics").1;
    let line = "remora_limited_total{tenant=\"narrow\",limit=\"concurrent-requests\"} 2";
    assert!(metrics.lines().any(|found| found == line), "{metrics}");
}

#[test]
fn wrong_passwords_cost_time_and_no_memory() {
    let world = directory(1, "", |place, exits| {
        write(place, "a", &tenant("alice", exits, ""));
    });
    let url = world.http(HOSTS[0], "/");
    assert_eq!(world.ask_as("alice", &url).status, 200);
    let before = world.remora.memory() >> 20;
    for i in 0..40 {
        let user = ["alice", "nobody"][i % 2];
        let answer = world.curl_as(&format!("{user}:wrong-{i}"), &url).output();
        assert_eq!(Answer::read(answer.unwrap()).status, 407);
    }
    let after = world.remora.memory() >> 20;
    println!("resident: {before} MiB before, {after} MiB after forty wrong passwords");
    assert!(
        after < before + 100,
        "{before} MiB before, {after} MiB after"
    );
    assert_eq!(world.ask_as("alice", &url).status, 200);
}

#[test]
fn a_flood_of_wrong_logins_leaves_those_alone_who_were_heard_before() {
    const FLOOD: usize = 64;
    const REQUESTS: usize = 200;
    let world = directory(1, "", |place, exits| {
        write(place, "a", &tenant("alice", exits, ""));
        // A user whom nobody has heard yet, in the same tenant.
        let bob = format!(
            "[[user]]\nname = \"bob\"\npassword_hash = \"{}\"\n",
            hash_of("b0bs-own")
        );
        write(
            place,
            "b",
            &tenant("carol", exits, "").replacen("[[user]]", &format!("{bob}[[user]]"), 1),
        );
    });
    let mut alice = Client::new(&world, "alice", HOSTS[0]);
    assert_eq!(alice.ask().status, 200);
    let over = AtomicBool::new(false);
    let answers = thread::scope(|scope| {
        let flood: Vec<_> = (0..FLOOD)
            .map(|i| {
                let (world, over) = (&world, &over);
                scope.spawn(move || {
                    let mut answers = BTreeMap::new();
                    let mut n = 0;
                    while !over.load(Ordering::Relaxed) {
                        // Some try the passwords of one user, others ever new names.
                        let user = match i % 2 {
                            0 => "alice".to_owned(),
                            _ => format!("nobody-{i}-{n}"),
                        };
                        let wrong = format!("wrong-{i}-{n}");
                        let said = Client::with(world, &user, &wrong, HOSTS[1]).ask();
                        *answers.entry(said.status).or_insert(0) += 1;
                        n += 1;
                    }
                    answers
                })
            })
            .collect();
        for _ in 0..REQUESTS {
            let said = alice.ask();
            assert_eq!(said.status, 200, "{}", said.body);
        }
        // Who comes for the first time may be asked to come back, and is served before long.
        let mut asked = 0;
        until("bob is served", || {
            asked += 1;
            let said = Client::with(&world, "bob", "b0bs-own", HOSTS[2]).ask();
            assert!([200, 503].contains(&said.status), "{}", said.body);
            said.status == 200
        });
        println!("bob was served the {asked}. time");
        over.store(true, Ordering::Relaxed);
        let mut answers: BTreeMap<u16, usize> = BTreeMap::new();
        for one in flood {
            for (status, count) in one.join().unwrap() {
                *answers.entry(status).or_default() += count;
            }
        }
        answers
    });
    println!("{FLOOD} who were wrong got {answers:?}");
    // One hash at a time on two cores: most are sent away.
    assert!(
        answers.keys().all(|status| [407, 503].contains(status)),
        "{answers:?}"
    );
    assert!(answers[&503] > answers[&407], "{answers:?}");
}
