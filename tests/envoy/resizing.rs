//! A `max_sessions` that changes while Envoy runs: every session has another place then (`docs/envoy.md`).

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::egress::Egress;
use crate::keep_alive::Client;
use crate::parts::until;
use crate::world::{HOSTS, sticky};

const BOUND: &str = "remora_acquires_total{result=\"bound\"}";

/// The sessions that are looked at. Those of the load are other ones.
fn look(egress: &Egress) -> Vec<String> {
    let sessions = 0..5;
    sessions
        .map(|session| egress.exit_of_session(HOSTS[0], session))
        .collect()
}

#[test]
fn a_table_of_another_size_forgets_sessions_and_neither_breakers_nor_requests() {
    let tables = "max_sessions = 1000\n[breaker]\nopen_threshold = 1\nhalf_open_after = \"10m\"\n\
                  [client]\nsession_header = \"x-session-id\"";
    let mut egress = Egress::new(4, &sticky("10m", tables));
    egress.open_breaker(HOSTS[0]);
    let egress = &egress;
    let before = look(egress);
    let healthy: HashSet<String> = before.iter().cloned().collect();
    assert_eq!(healthy.len(), 3, "one breaker is open: {before:?}");
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|i| {
                let (over, healthy) = (&over, &healthy);
                scope.spawn(move || {
                    let mut client = Client::connect(egress, HOSTS[i]);
                    while !over.load(Ordering::Relaxed) {
                        let (status, body) = client.get("/", &format!("load-{i}"));
                        assert_eq!(status, 200, "{body}");
                        assert!(healthy.contains(&body), "its breaker is open: {body}");
                    }
                })
            })
            .collect();
        // More slots, and a single one.
        for (from, to) in [(1_000, 2_000), (2_000, 8)] {
            assert_eq!(look(egress), look(egress));
            let bound = egress.metric(BOUND);
            egress.rewrite(|text| {
                let (from, to) = (format!("= {from}\n"), format!("= {to}\n"));
                assert!(text.contains(&from), "{text}");
                text.replace(&from, &to)
            });
            until("sessions were forgotten", || {
                look(egress);
                egress.metric(BOUND) >= bound + 5
            });
            until("both workers use the same table", || {
                look(egress) == look(egress)
            });
            let settled = look(egress);
            for _ in 0..3 {
                assert_eq!(look(egress), settled);
            }
        }
        over.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().unwrap();
        }
    });
    assert!(!egress.by_worker().contains(&0), "{:?}", egress.by_worker());
    assert!(!egress.log().contains("a release was lost"));
}
