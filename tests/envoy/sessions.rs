//! Which exit a target sees.

use std::collections::HashSet;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use crate::egress::Egress;
use crate::keep_alive::Client;
use crate::parts::Answer;
use crate::world::{HOSTS, sticky};

#[test]
fn a_login_flow_keeps_one_exit_over_plain_http_and_tls() {
    let egress = Egress::new(3, &sticky("10m", ""));
    for host in &HOSTS[..3] {
        let urls = [
            egress.https(host, "/login"),
            egress.http(host, "/account"),
            egress.https(host, "/session"),
        ];
        let seen: HashSet<String> = urls
            .iter()
            .map(|url| egress.ask(url, &[]))
            .inspect(|answer| assert_eq!(answer.status, 200, "{answer:?}"))
            .map(|answer| answer.body)
            .collect();
        assert_eq!(seen.len(), 1, "{host} saw {seen:?}");
    }
    let exits: HashSet<String> = HOSTS[..3].iter().map(|host| egress.exit(host)).collect();
    assert_eq!(exits.len(), 3, "domains take turns");
}

#[test]
fn without_stickiness_every_request_rotates() {
    let egress = Egress::new(3, "");
    let seen: HashSet<String> = (0..3).map(|_| egress.exit(HOSTS[0])).collect();
    assert_eq!(seen.len(), 3);
}

#[test]
fn fifty_parallel_clients_of_two_workers_see_one_exit() {
    let egress = Egress::new(3, &sticky("10m", ""));
    for host in &HOSTS[..3] {
        let curls: Vec<_> = (0..50)
            .map(|i| {
                let url = if i % 2 == 0 {
                    egress.http(host, "/")
                } else {
                    egress.https(host, "/")
                };
                let mut curl = egress.curl(&url, &[]);
                curl.stdout(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        let seen: HashSet<String> = curls
            .into_iter()
            .map(|curl| Answer::read(curl.wait_with_output().unwrap()))
            .inspect(|answer| assert_eq!(answer.status, 200, "{answer:?}"))
            .map(|answer| answer.body)
            .collect();
        assert_eq!(seen.len(), 1, "{host} saw {seen:?}");
    }
    assert!(!egress.by_worker().contains(&0), "{:?}", egress.by_worker());
}

/// The race that shared data loses when a slot is created with a CAS of 0. Every key is asked for by several
/// connections in a row, and the keys follow each other without a pause: so both workers are at the same key at
/// the same time again and again.
#[test]
fn simultaneous_first_requests_at_two_workers_never_split_a_session() {
    const ROUNDS: usize = 40;
    const KEYS: usize = 20;
    const EACH: usize = 4;
    let tables = "[client]\nsession_header = \"x-session-id\"\n[sticky]\nmode = \"domain\"\nscope = \"session\"\n";
    let egress = Egress::new(3, tables);
    let mut clients: Vec<Client> = (0..KEYS * EACH)
        .map(|_| Client::connect(&egress, HOSTS[0]))
        .collect();
    let mut exits = HashSet::new();
    for round in 0..ROUNDS {
        for (i, client) in clients.iter_mut().enumerate() {
            client.send("/", &format!("session-{round}-{}", i / EACH));
        }
        for of_key in clients.chunks_mut(EACH) {
            let seen: HashSet<String> = of_key
                .iter_mut()
                .map(Client::receive)
                .inspect(|(status, body)| assert_eq!(*status, 200, "{body}"))
                .map(|(_, exit)| exit)
                .collect();
            assert_eq!(seen.len(), 1, "round {round}: a session saw {seen:?}");
            exits.extend(seen);
        }
    }
    assert!(!egress.by_worker().contains(&0), "{:?}", egress.by_worker());
    assert_eq!(exits.len(), 3, "sessions take turns");
}

#[test]
fn a_session_that_ends_gets_a_fresh_exit() {
    let over = format!(
        "[[sticky.override]]\nmatch = \"{}\"\nttl = \"3s\"",
        HOSTS[0]
    );
    let egress = Egress::new(3, &sticky("10m", &over));
    let (short, long) = (egress.exit(HOSTS[0]), egress.exit(HOSTS[1]));
    thread::sleep(Duration::from_millis(3_100));
    assert_ne!(egress.exit(HOSTS[0]), short);
    assert_eq!(egress.exit(HOSTS[1]), long);
}

#[test]
fn what_is_between_client_and_filter_stays_there() {
    let tables = "[client]\nsession_header = \"x-session-id\"\n[sticky]\nmode = \"domain\"\nscope = \"session\"\n";
    let egress = Egress::new(2, tables);
    let url = egress.http(HOSTS[0], "/headers");
    let options = ["-H", "x-session-id: s1", "-U", "client:own-Secret"];
    let answer = egress.ask(&url, &options);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.body.starts_with("[] "), "{answer:?}");
}

#[test]
fn a_client_names_its_session_in_a_header() {
    let tables = "[client]\nsession_header = \"x-session-id\"\n[sticky]\nmode = \"domain\"\n";
    let egress = Egress::new(3, tables);
    let exit = |session: &str| {
        let header = format!("x-session-id: {session}");
        let answer = egress.ask(&egress.http(HOSTS[0], "/"), &["-H", &header]);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    };
    let (one, two) = (exit("1"), exit("2"));
    assert_ne!(one, two);
    assert_eq!((exit("1"), exit("2")), (one, two));
}

#[test]
fn a_client_cannot_choose_its_exit() {
    let egress = Egress::new(2, &sticky("10m", ""));
    let bound = egress.exit(HOSTS[0]);
    for exit in &egress.exits {
        let wish = format!("x-remora-upstream: 127.0.0.1:{}", exit.port);
        let answer = egress.ask(&egress.http(HOSTS[0], "/"), &["-H", &wish]);
        assert_eq!((answer.status, &answer.body), (200, &bound));
    }
}
