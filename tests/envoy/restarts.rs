//! An Envoy, or a part of it, that ends while it is needed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::egress::Egress;
use crate::parts::until;
use crate::world::{HOSTS, sticky};

const BOUND: &str = "remora_acquires_total{result=\"bound\"}";
/// One of the two exits can be lost for longer than a test lasts.
const BREAKER: &str = "[breaker]\nopen_threshold = 1\nhalf_open_after = \"10m\"";

/// Opens the breaker of one of the two exits, and answers with the other one, to which every host is bound then.
fn lose_one(egress: &mut Egress) -> String {
    egress.open_breaker(HOSTS[0]);
    let exits = HOSTS.map(|host| egress.exit(host));
    assert!(exits.iter().all(|exit| *exit == exits[0]), "{exits:?}");
    exits[0].clone()
}

/// Sessions and breakers are gone: hosts are on both exits, and stay there.
fn assert_forgotten(egress: &Egress, left: &str) {
    let exits = HOSTS.map(|host| egress.exit(host));
    assert!(
        exits.iter().any(|exit| exit != left),
        "sessions and breakers are forgotten: {exits:?}"
    );
    assert_eq!(HOSTS.map(|host| egress.exit(host)), exits);
}

#[test]
fn a_crash_of_envoy_forgets_the_sessions_and_nothing_else() {
    let mut egress = Egress::new(2, &sticky("10m", BREAKER));
    let left = lose_one(&mut egress);
    egress.crash();
    assert_forgotten(&egress, &left);
    until("every session is a new one", || egress.metric(BOUND) == 9);
}

#[test]
fn a_hot_restart_forgets_the_sessions_and_fails_no_request() {
    let mut egress = Egress::with_heirs(2, &sticky("10m", BREAKER));
    let left = lose_one(&mut egress);
    let port = egress.port;
    let slow = egress.curl(&egress.http(HOSTS[0], "/slow"), &[]);
    let urls = HOSTS.map(|host| egress.http(host, "/"));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let slow = scope.spawn(|| { slow }.output().unwrap());
        let asking = scope.spawn(|| {
            let mut statuses = Vec::new();
            for url in urls.iter().cycle() {
                if over.load(Ordering::Relaxed) {
                    return statuses;
                }
                let mut curl = std::process::Command::new("curl");
                curl.args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "-x"]);
                curl.arg(format!("http://127.0.0.1:{port}")).arg(url);
                statuses.push(String::from_utf8(curl.output().unwrap().stdout).unwrap());
            }
            statuses
        });
        // The slow one is on its way before the old Envoy hears of its heir.
        thread::sleep(Duration::from_millis(500));
        let mut old = egress.hot_restart();
        assert!(old.wait().success());
        over.store(true, Ordering::Relaxed);
        let statuses = asking.join().unwrap();
        assert!(statuses.len() > 9, "{statuses:?}");
        assert!(
            statuses.iter().all(|status| status == "200"),
            "{statuses:?}"
        );
        let slow = slow.join().unwrap();
        assert!(slow.status.success(), "{:?}", slow.stderr);
    });
    assert_forgotten(&egress, &left);
}

/// A VM that traps takes its streams with it: nobody releases what they leased.
#[test]
fn a_probe_whose_stream_was_lost_with_its_vm_frees_its_place() {
    let tables =
        "[sticky]\nmode = \"disabled\"\n[breaker]\nopen_threshold = 1\nhalf_open_after = \"8s\"";
    let mut egress = Egress::with_module(1, tables, remora_artifacts::TRAPPING_ENVOY_FILTER);
    egress.open_breaker(HOSTS[0]);
    let ask = || egress.ask(&egress.http(HOSTS[0], "/"), &[]).status;
    assert_eq!(ask(), 503);
    thread::sleep(Duration::from_millis(8_100));
    let mut curl = egress.curl(&egress.http(HOSTS[0], "/slow"), &[]);
    let probe = curl.stdout(std::process::Stdio::piped()).spawn().unwrap();
    until("it is on its way", || {
        egress.stat("cluster.remora.upstream_rq_active") == 1
    });
    // Both workers lose their VM; one of them has the probe.
    until("both VMs are gone", || {
        egress.ask("http://trap.example/", &[]);
        egress.log().matches("asked to trap").count() >= 2 && {
            let lost = egress.stat("cluster.remora.upstream_rq_active");
            lost == 0
        }
    });
    let _ = probe.wait_with_output();
    assert_eq!(ask(), 503, "its place is taken still");
    until("another one probes", || ask() == 200);
}
