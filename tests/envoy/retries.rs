//! What a client does not notice, and what it is told when a proxy fails in a way that it has to hear of.

use std::time::{Duration, Instant};

use crate::egress::Egress;
use crate::faulty::{Fault, Faulty, OVERLOADED, REFUSES_CREDENTIALS};
use crate::parts::until;
use crate::world::HOSTS;

const FAILED: &str = "remora_releases_total{outcome=\"failure\"}";
const AMBIGUOUS: &str = "remora_releases_total{outcome=\"ambiguous\"}";
const TIMED_OUT: &str = "remora_releases_total{outcome=\"timed-out\"}";

/// An Envoy whose first choice is the faulty proxy, and its second one a tinyproxy.
fn behind(faulty: &Faulty, tables: &str) -> Egress {
    let tables = format!(
        "[sticky]\nmode = \"domain\"\n[timeouts]\nconnect = \"2s\"\nhead = \"2s\"\n{tables}\n{}",
        faulty.entry()
    );
    Egress::new(1, &tables)
}

/// An Envoy that has this proxy alone.
fn only(faulty: &Faulty) -> Egress {
    behind(faulty, "")
}

/// Takes the other one away.
fn alone(egress: &Egress, faulty: &Faulty) {
    egress.repool(|_| false);
    until("it is gone", || {
        let clusters = egress.admin("/clusters");
        clusters.matches("::rq_total").count() == 1 && clusters.contains(&faulty.port.to_string())
    });
}

#[test]
fn a_tunnel_through_a_silent_proxy_ends_after_connect_and_the_session_moves() {
    let faulty = Faulty::start(Fault::Silent);
    let egress = only(&faulty);
    // Nothing else was tried, so that the session moves at the second one.
    for count in 1..=2 {
        let begin = Instant::now();
        let curl = egress.curl(&egress.https(HOSTS[0], "/"), &[]).output();
        let said = String::from_utf8(curl.unwrap().stdout).unwrap();
        assert!(said.starts_with("HTTP/1.1 504"), "{said}");
        assert!(said.contains("error=connection_timeout"), "{said}");
        let took = begin.elapsed();
        assert!((2..5).contains(&took.as_secs()), "{took:?}");
        assert_eq!(faulty.seen(), count);
        let count = count as u64;
        until("it is heard", || egress.metric(TIMED_OUT) == count);
    }
    let answer = egress.ask(&egress.https(HOSTS[0], "/"), &[]);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(faulty.seen(), 2, "the session moved");
}

#[test]
fn a_tunnel_that_is_open_may_be_silent_for_longer_than_connect() {
    use std::io::{Read as _, Write as _};
    let egress = Egress::new(1, "[timeouts]\nconnect = \"1s\"");
    let mut tunnel = std::net::TcpStream::connect(("127.0.0.1", egress.port)).unwrap();
    let target = format!("{}:{}", HOSTS[0], egress.http);
    let connect = format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n");
    tunnel.write_all(connect.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(3_500));
    let get = format!("GET / HTTP/1.1\r\nhost: {target}\r\nconnection: close\r\n\r\n");
    tunnel.write_all(get.as_bytes()).unwrap();
    let mut said = String::new();
    tunnel.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    assert!(said.contains("127.0.0.11"), "{said}");
}

/// What a request with this method met that the faulty proxy had first: the status of the client, and how often the
/// faulty one and the other one were asked.
fn asked(fault: Fault, method: &str) -> (u16, usize, u64) {
    let faulty = Faulty::start(fault);
    let egress = only(&faulty);
    let (url, tls) = (egress.http(HOSTS[0], "/"), egress.https(HOSTS[0], "/"));
    let ask = || match method {
        "CONNECT" => egress.ask(&tls, &[]),
        "POST" => egress.ask(&url, &["-d", "some=form"]),
        "PUT" => egress.ask(&url, &["-X", "PUT", "-d", "some=form"]),
        _ => egress.ask(&url, &[]),
    };
    let answer = ask();
    let (seen, sent) = (
        faulty.seen(),
        egress.stat("cluster.remora.upstream_rq_total"),
    );
    if answer.status == 200 {
        assert_eq!(answer.body, "127.0.0.11");
        // The second one in a row that was worse moves the session.
        assert_eq!(ask().body, answer.body);
        until("both are heard", || egress.metric(AMBIGUOUS) == 2);
        assert_eq!(ask().body, answer.body);
        assert_eq!(faulty.seen(), 2, "{method} {fault:?}: the session moved");
    }
    (answer.status, seen, sent)
}

#[test]
fn a_request_that_may_be_repeated_goes_through_the_next_proxy_whatever_the_first_one_did() {
    for fault in [
        Fault::Closes,
        Fault::Silent,
        REFUSES_CREDENTIALS,
        OVERLOADED,
    ] {
        for method in ["GET", "PUT"] {
            assert_eq!(asked(fault, method), (200, 1, 2), "{method} {fault:?}");
        }
        // Envoy has no limit for the answer to CONNECT, so that one is not asked for again.
        if fault != Fault::Silent {
            assert_eq!(asked(fault, "CONNECT"), (200, 1, 2), "CONNECT {fault:?}");
        }
    }
}

#[test]
fn a_post_that_a_proxy_has_taken_is_never_sent_again() {
    for (fault, status) in [
        (Fault::Closes, 503),
        (Fault::Silent, 504),
        (REFUSES_CREDENTIALS, 502),
        (OVERLOADED, 503),
    ] {
        assert_eq!(asked(fault, "POST"), (status, 1, 1), "{fault:?}");
    }
}

#[test]
fn a_client_is_not_asked_for_the_operators_password() {
    let faulty = Faulty::start(REFUSES_CREDENTIALS);
    let egress = only(&faulty);
    alone(&egress, &faulty);
    for url in [egress.http(HOSTS[0], "/"), egress.https(HOSTS[0], "/")] {
        let said = egress.curl(&url, &[]).output().unwrap().stdout;
        let said = String::from_utf8(said).unwrap().to_ascii_lowercase();
        assert!(said.starts_with("http/1.1 502"), "{said}");
        assert!(!said.contains("proxy-authenticate"), "{said}");
        assert!(
            said.contains("proxy-status: remora;error=http_protocol_error"),
            "{said}"
        );
    }
    // In plain HTTP the target may have said so.
    until("the proxy is charged", || egress.metric(FAILED) == 1);
    assert_eq!(egress.metric(AMBIGUOUS), 1);
}

#[test]
fn a_broken_target_is_charged_to_no_proxy() {
    let breaker =
        "[sticky]\nmode = \"domain\"\n[breaker]\nopen_threshold = 1\nhalf_open_after = \"10m\"";
    let egress = Egress::new(3, breaker);
    assert_eq!(
        egress.ask(&egress.http(HOSTS[0], "/broken"), &[]).status,
        503
    );
    assert_eq!(egress.stat("cluster.remora.upstream_rq_total"), 3);
    let opened = "remora_breaker_transitions_total{change=\"opened\"}";
    until("it is heard", || egress.metric(AMBIGUOUS) == 1);
    assert_eq!(egress.metric(opened), 0);
}

#[test]
fn a_host_may_mean_something_else_by_a_status() {
    let over = |host: &str| {
        format!(
            "[sticky]\nmode = \"domain\"\n[[outcome.override]]\nmatch = \"{host}\"\nfailure_statuses = [404]\n"
        )
    };
    let egress = Egress::new(2, &over(HOSTS[0]));
    let exit = egress.exit(HOSTS[0]);
    assert_eq!(
        egress.ask(&egress.http(HOSTS[0], "/broken"), &[]).status,
        503
    );
    assert_eq!(
        egress.stat("cluster.remora.upstream_rq_total"),
        2,
        "sent once"
    );
    assert_eq!(egress.exit(HOSTS[0]), exit, "there it is no failure");
    assert_eq!(
        egress.ask(&egress.http(HOSTS[1], "/broken"), &[]).status,
        503
    );
    assert_eq!(
        egress.stat("cluster.remora.upstream_rq_total"),
        5,
        "sent twice"
    );
}
