//! Upstream proxies and clients that fail.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use crate::egress::Egress;
use crate::exits::Exit;
use crate::keep_alive::Client;
use crate::parts::until;
use crate::world::{HOSTS, sticky};

#[test]
fn a_proxy_that_refuses_connections_loses_the_session_to_the_one_that_served() {
    let mut egress = Egress::new(3, &sticky("10m", ""));
    let before = egress.exit(HOSTS[0]);
    egress.exit_of(&before).kill();
    // Each has a password of its own: with another's it would be 407.
    let after = egress.exit(HOSTS[0]);
    assert_ne!(after, before);
    let tls = egress.https(HOSTS[0], "/");
    for _ in 0..6 {
        let answer = egress.ask(&tls, &[]);
        assert_eq!((answer.status, &answer.body), (200, &after), "{answer:?}");
    }
    egress.exit_of(&before).restart();
    assert_eq!(egress.exit(HOSTS[0]), after, "it stays there");
}

#[test]
fn a_detour_is_one_release_and_every_breaker_it_opens_is_counted() {
    let breaker = "[breaker]\nopen_threshold = 1\nhalf_open_after = \"10m\"";
    let mut egress = Egress::new(3, &sticky("10m", breaker));
    let bound = egress.exit(HOSTS[0]);
    let rest: Vec<String> = egress.exits.iter().map(|exit| exit.ip.clone()).collect();
    let rest = rest.iter().filter(|ip| **ip != bound);
    // No exit is left, so the way leads past both fallbacks.
    for ip in rest.chain([&bound]) {
        egress.exit_of(ip).kill();
    }
    assert_eq!(egress.ask(&egress.http(HOSTS[0], "/"), &[]).status, 503);
    // Envoy says of the last one alone that it could not be reached.
    let opened = "remora_breaker_transitions_total{change=\"opened\"}";
    until("the last one is open", || egress.metric(opened) == 1);
    let outcomes = ["success", "ambiguous", "failure", "cancelled"];
    let released =
        outcomes.map(|o| egress.metric(&format!("remora_releases_total{{outcome=\"{o}\"}}")));
    assert_eq!(released, [1, 1, 0, 0]);
    until("all three are open", || {
        assert_eq!(egress.ask(&egress.http(HOSTS[0], "/"), &[]).status, 503);
        egress.metric(opened) == 3
    });
}

#[test]
fn a_tunnel_fails_over_too() {
    let mut egress = Egress::new(3, &sticky("10m", ""));
    let before = egress.exit(HOSTS[0]);
    egress.exit_of(&before).kill();
    let answer = egress.ask(&egress.https(HOSTS[0], "/"), &[]);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(egress.exit(HOSTS[0]), answer.body);
}

#[test]
fn a_late_failure_of_an_older_session_leaves_the_newer_one_alone() {
    let mut egress = Egress::new(3, &sticky("10m", ""));
    // The origin's /picky refuses this one.
    let old = "127.0.0.11";
    let bound = |host: &&str| egress.exit(host) == old;
    let host = HOSTS.into_iter().find(bound).unwrap();
    let mut slow = egress.curl(&egress.http(host, "/slow"), &[]);
    let slow = slow.stdout(Stdio::piped()).spawn().unwrap();
    until("it is on its way", || {
        egress.stat("cluster.remora.upstream_rq_active") == 1
    });
    // The session ends under it.
    let refused = egress.ask(&egress.http(host, "/picky"), &[]);
    assert_eq!(refused.status, 403, "{refused:?}");
    let new = egress.exit(host);
    assert_ne!(new, old);
    egress.exit_of(old).kill();
    let cut = slow.wait_with_output().unwrap();
    assert!(!cut.status.success(), "it was to be cut off");
    until("the late failure is heard", || {
        egress.metric("remora_releases_total{outcome=\"ambiguous\"}") == 1
    });
    for _ in 0..6 {
        assert_eq!(egress.exit(host), new);
    }
}

#[test]
fn with_every_breaker_open_nothing_leaves() {
    let breaker = "[breaker]\nopen_threshold = 1\nhalf_open_after = \"10m\"";
    let mut egress = Egress::new(2, &sticky("10m", breaker));
    egress.exits.iter_mut().for_each(Exit::kill);
    let opened = "remora_breaker_transitions_total{change=\"opened\"}";
    until("both are open", || {
        egress.ask(&egress.http(HOSTS[0], "/"), &[]);
        egress.metric(opened) == 2
    });
    // The proxies are well and reachable: only their breakers keep requests from them.
    egress.exits.iter_mut().for_each(Exit::restart);
    let exhausted = "remora_acquires_total{result=\"exhausted\"}";
    let refused = egress.metric(exhausted);
    let sent = egress.stat("cluster.remora.upstream_rq_total");
    for (i, host) in HOSTS.iter().enumerate() {
        let url = egress.http(host, "/");
        let wish = format!("x-remora-upstream: 127.0.0.1:{}", egress.exits[0].port);
        let options = ["-H", &wish];
        let answer = egress.ask(&url, if i % 2 == 0 { &[] } else { &options });
        assert_eq!(answer.status, 503, "{answer:?}");
        let wait: u64 = answer.header("retry-after").parse().unwrap();
        assert!((500..=600).contains(&wait), "{wait}");
        let status = answer.header("proxy-status");
        assert!(
            status.starts_with("remora;error=destination_unavailable"),
            "{status}"
        );
    }
    let tunnel = egress.curl(&egress.https(HOSTS[0], "/"), &[]).output();
    let said = String::from_utf8(tunnel.unwrap().stdout).unwrap();
    assert!(said.starts_with("HTTP/1.1 503"), "{said}");
    assert!(said.contains("retry-after: "), "{said}");
    let after = egress.stat("cluster.remora.upstream_rq_total");
    assert_eq!(after, sent, "a request was sent past the breakers");
    until("refusals are counted", || {
        egress.metric(exhausted) >= refused + 10
    });
}

#[test]
fn of_both_workers_requests_one_alone_probes_and_success_closes() {
    let tables =
        "[sticky]\nmode = \"disabled\"\n[breaker]\nopen_threshold = 1\nhalf_open_after = \"10s\"";
    let mut egress = Egress::new(1, tables);
    egress.open_breaker(HOSTS[0]);
    assert_eq!(egress.ask(&egress.http(HOSTS[1], "/"), &[]).status, 503);
    thread::sleep(Duration::from_millis(10_100));
    // A probe that takes 4 s: longer than it takes the others to ask.
    let statuses: Vec<u16> = thread::scope(|scope| {
        let clients: Vec<_> = (0..20)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = Client::connect(&egress, HOSTS[0]);
                    client.get("/slow", "").0
                })
            })
            .collect();
        clients.into_iter().map(|c| c.join().unwrap()).collect()
    });
    assert!(!egress.by_worker().contains(&0), "{:?}", egress.by_worker());
    let probes = statuses.iter().filter(|status| **status == 200).count();
    assert_eq!(probes, 1, "{statuses:?}");
    egress.exit(HOSTS[0]);
    for change in ["opened", "closed"] {
        let metric = format!("remora_breaker_transitions_total{{change=\"{change}\"}}");
        until(change, || egress.metric(&metric) == 1);
    }
}

#[test]
fn a_probe_that_fails_opens_the_breaker_again() {
    let tables = "[breaker]\nopen_threshold = 1\nhalf_open_after = \"2s\"";
    let mut egress = Egress::new(1, tables);
    egress.open_breaker(HOSTS[0]);
    egress.exits[0].kill();
    let reopened = "remora_breaker_transitions_total{change=\"reopened\"}";
    until("a probe has failed", || {
        egress.ask(&egress.http(HOSTS[0], "/"), &[]);
        egress.metric(reopened) == 1
    });
}

#[test]
fn a_client_that_leaves_is_nobodys_fault() {
    let breaker = "[breaker]\nopen_threshold = 1\nhalf_open_after = \"10m\"";
    let egress = Egress::new(2, &sticky("10m", breaker));
    let before = egress.exit(HOSTS[0]);
    for url in [
        egress.http(HOSTS[0], "/slow"),
        egress.https(HOSTS[0], "/slow"),
    ] {
        let mut curl = egress.curl(&url, &["--max-time", "1"]);
        assert!(
            !curl.output().unwrap().status.success(),
            "it was to be too slow"
        );
    }
    // And one that had no answer at all: a port that accepts and keeps silent.
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let mut curl = egress.curl(&url, &["--max-time", "1"]);
    assert!(!curl.output().unwrap().status.success());
    until("every release is heard", || {
        egress.metric("remora_releases_total{outcome=\"cancelled\"}")
            + egress.metric("remora_releases_total{outcome=\"success\"}")
            == 4
    });
    assert_eq!(egress.exit(HOSTS[0]), before);
    assert_eq!(
        egress.metric("remora_releases_total{outcome=\"failure\"}"),
        0
    );
}

#[test]
fn a_target_that_refuses_an_exit_gets_another_and_no_breaker_opens() {
    let breaker = "[breaker]\nopen_threshold = 1\nhalf_open_after = \"10m\"";
    let egress = Egress::new(2, &sticky("10m", breaker));
    // The origin refuses the first exit.
    let url = egress.http(HOSTS[0], "/picky");
    let statuses = [(); 3].map(|()| egress.ask(&url, &[]).status);
    assert!(statuses[1..] == [200, 200], "{statuses:?}");
    let exits = [0, 1, 2, 3].map(|i| egress.exit(HOSTS[i + 1]));
    assert!(
        exits.contains(&"127.0.0.11".to_owned()),
        "it serves other targets: {exits:?}"
    );
}

#[test]
fn a_response_that_is_none_moves_the_session_at_the_second_and_opens_no_breaker() {
    // Sent again, it would be served, and nobody would say what the first proxy had met.
    let tables = "[retry]\nattempts = 0\n[breaker]\nopen_threshold = 2\nhalf_open_after = \"10m\"";
    let mut egress = Egress::new(2, &sticky("10m", tables));
    let before = egress.exit(HOSTS[0]);
    let exit = egress.exit_of(&before);
    exit.kill();
    let odd = TcpListener::bind(("127.0.0.1", exit.port)).unwrap();
    thread::spawn(move || {
        for mut stream in odd.incoming().flatten() {
            let _ = stream.read(&mut [0; 4_096]);
            let _ = stream.write_all(b"what is this?\r\n\r\n");
        }
    });
    for _ in 0..2 {
        let answer = egress.ask(&egress.http(HOSTS[0], "/"), &[]);
        assert_eq!(answer.status, 502, "{answer:?}");
    }
    assert_ne!(egress.exit(HOSTS[0]), before);
    until("it is heard", || {
        egress.metric("remora_releases_total{outcome=\"ambiguous\"}") == 2
    });
    let opened = "remora_breaker_transitions_total{change=\"opened\"}";
    assert_eq!(egress.metric(opened), 0);
}

#[test]
fn after_a_panic_in_the_filter_requests_are_served_again() {
    let trapping = remora_artifacts::TRAPPING_ENVOY_FILTER;
    let egress = Egress::with_module(2, &sticky("10m", ""), trapping);
    let before = egress.exit(HOSTS[0]);
    let sent = egress.stat("cluster.remora.upstream_rq_total");
    let answer = egress.ask("http://trap.example/", &[]);
    assert_eq!((answer.status, &*answer.body), (503, ""), "{answer:?}");
    let after = egress.stat("cluster.remora.upstream_rq_total");
    assert_eq!(after, sent, "it was sent past the filter");
    // What is bound lives in shared data, not in the VM that is gone. The worker that lost its VM refuses
    // requests until it has a new one; twenty in a row meet both workers.
    let mut served = 0;
    until("both workers serve again", || {
        (0..20).all(|_| {
            let answer = egress.ask(&egress.http(HOSTS[0], "/"), &[]);
            match answer.status {
                200 => {
                    served += 1;
                    assert_eq!(answer.body, before);
                }
                _ => assert_eq!((answer.status, &*answer.body), (503, ""), "{answer:?}"),
            }
            answer.status == 200
        })
    });
    let all = egress.stat("cluster.remora.upstream_rq_total");
    assert_eq!(all, sent + served, "one was sent past the filter");
    assert!(egress.log().contains("asked to trap"));
}
