//! Which exit a target sees.

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use crate::egress::Egress;
use crate::keep_alive::Client;
use crate::parts::{together, until};
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
        let curls = (0..50).map(|i| {
            let url = if i % 2 == 0 {
                egress.http(host, "/")
            } else {
                egress.https(host, "/")
            };
            egress.curl(&url, &[])
        });
        let seen: HashSet<String> = together(curls)
            .into_iter()
            .inspect(|answer| assert_eq!(answer.status, 200, "{answer:?}"))
            .map(|answer| answer.body)
            .collect();
        assert_eq!(seen.len(), 1, "{host} saw {seen:?}");
    }
    assert!(!egress.by_worker().contains(&0), "{:?}", egress.by_worker());
}

/// The race that shared data loses when a slot is created with a CAS of 0. The filter waits between its look at a slot
/// and its write, and every key is asked for by several connections at once: so both workers are between the two for
/// the same key again and again. Planted by hand, a CAS of 0 split 46 of 60 keys, `CREATE` none.
#[test]
fn simultaneous_first_requests_at_two_workers_never_split_a_session() {
    const ROUNDS: usize = 60;
    const EACH: usize = 8;
    let tables = "[client]\nsession_header = \"x-session-id\"\n[sticky]\nmode = \"domain\"\nscope = \"session\"\n";
    let egress = Egress::with_module(3, tables, remora_artifacts::TRAPPING_ENVOY_FILTER);
    let mut clients: Vec<Client> = (0..EACH)
        .map(|_| Client::connect(&egress, HOSTS[0]))
        .collect();
    let mut exits = HashSet::new();
    for round in 0..ROUNDS {
        for client in &mut clients {
            client.send("/", &format!("session-{round}"));
        }
        let seen: HashSet<String> = clients
            .iter_mut()
            .map(Client::receive)
            .inspect(|(status, body)| assert_eq!(*status, 200, "{body}"))
            .map(|(_, exit)| exit)
            .collect();
        assert_eq!(seen.len(), 1, "round {round}: a session saw {seen:?}");
        exits.extend(seen);
    }
    assert!(!egress.by_worker().contains(&0), "{:?}", egress.by_worker());
    assert_eq!(exits.len(), 3, "sessions take turns");
    let adopted = "remora_acquires_total{result=\"adopted\"}";
    until("a race was lost, and said so", || {
        egress.metric(adopted) > 0
    });
}

#[test]
fn a_burst_of_ten_thousand_sessions_is_served_and_stays_within_bounds() {
    const CLIENTS: usize = 40;
    const EACH: usize = 250;
    let tables = "[client]\nsession_header = \"x-session-id\"\n[sticky]\nmode = \"domain\"\nmax_sessions = 1000\n";
    let egress = Egress::new(3, tables);
    let mut clients: Vec<Client> = (0..CLIENTS)
        .map(|i| Client::connect(&egress, HOSTS[i % HOSTS.len()]))
        .collect();
    for round in 0..EACH {
        for (i, client) in clients.iter_mut().enumerate() {
            client.send("/", &format!("burst-{round}-{i}"));
        }
        for client in &mut clients {
            let (status, body) = client.receive();
            assert_eq!(status, 200, "{body}");
        }
    }
    let sessions = "remora_sessions{}";
    until("all slots are counted", || egress.metric(sessions) >= 1_000);
    // Every slot may be full, which is twice what was asked for.
    assert!(egress.metric(sessions) <= 2_000);
    // The youngest are there still.
    let last = format!("burst-{}-0", EACH - 1);
    let (one, two) = (clients[0].get("/", &last), clients[0].get("/", &last));
    assert_eq!(one, two);
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
fn words_in_a_user_name_name_no_session() {
    let egress = Egress::new(3, &sticky("10m", ""));
    let exit = egress.exit(HOSTS[0]);
    for user in ["alice-session-1:pw", "alice-session-2-tag-de:pw"] {
        let answer = egress.ask(&egress.http(HOSTS[0], "/"), &["-U", user]);
        assert_eq!((answer.status, &answer.body), (200, &exit), "{user}");
    }
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
