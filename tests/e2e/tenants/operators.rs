//! What an operator can ask while plugins do not answer.

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use super::plugins::component;
use super::{SECRET, directory, tenant, write};
use crate::guest::Guest;
use crate::parts::until;
use crate::world::{HOSTS, sticky};

/// Much less than a call may take here, and much more than an answer takes.
const PROMPT: Duration = Duration::from_secs(20);

#[test]
fn the_admin_address_answers_while_a_plugin_loops_in_every_call() {
    let cache = tempfile::tempdir().unwrap();
    let fields = format!(
        "code_cache = {:?}\nadmin_token = \"t0ken-t0ken\"",
        cache.path().join("code")
    );
    let world = directory(2, &fields, |place, exits| {
        let looping = Guest {
            every: "(loop $l (br $l))",
            ..Guest::default()
        };
        let looping = component(place.parent().unwrap(), "looping", &looping.component());
        let slow = "[limits]\ncall_timeout = \"60s\"\nprocessor_percent = 1000";
        let text = format!("{looping}\n{slow}");
        write(place, "evil", &tenant("eve", &exits[..1], &text));
        write(
            place,
            "good",
            &tenant("gus", &exits[1..], &sticky("10m", "")),
        );
    });
    // Not by asking for it: the first call is to be the change.
    until("it is there", || {
        let log = world.log();
        log.lines()
            .any(|line| line.contains("a tenant is there") && line.contains("\"evil\""))
    });
    // A change of the pool, which holds what a list of sessions would look at; and then more of everything than there
    // are threads that serve.
    let evil = |path: &str, options: &[&str]| {
        let url = format!("http://127.0.0.1:{}/tenants/evil{path}", world.admin_port());
        let mut curl = std::process::Command::new("curl");
        let curl = curl.args(["-sS", "-o", "/dev/null", "--max-time", "50"]);
        let curl = curl.args(options).arg(url).stderr(Stdio::null());
        curl.spawn().unwrap()
    };
    let token = ["-H", "Authorization: Bearer t0ken-t0ken"];
    let id = "00000000-0000-4000-8000-000000000000";
    let removal = [&["-X", "DELETE"], &token[..]].concat();
    let mut asked = vec![evil(&format!("/proxies/{id}"), &removal)];
    // It has begun: a thread runs it.
    until("it takes a processor", || {
        let tasks = format!("/proc/{}/task", world.remora.pid());
        let tasks = fs::read_dir(tasks).unwrap().flatten();
        tasks
            .filter_map(|task| fs::read_to_string(task.path().join("stat")).ok())
            .any(|stat| stat.contains("(remora-plugin) R"))
    });
    for _ in 0..4 {
        for path in ["/sessions", "/stats", "/proxies", "/healthz"] {
            asked.push(evil(path, &[]));
        }
    }
    thread::sleep(Duration::from_millis(300));
    for _ in 0..3 {
        for path in [
            "/healthz",
            "/metrics",
            "/tenants",
            "/tenants/good/sessions",
            "/tenants/good/healthz",
        ] {
            let start = Instant::now();
            let (status, body) = world.admin(path);
            let took = start.elapsed();
            assert_eq!(status, 200, "{path}: {body}");
            assert!(took < PROMPT, "{path}: {took:?}");
        }
        assert_eq!(world.exit_as("gus", HOSTS[0]), "127.0.0.12");
    }
    let metrics = world.admin("/metrics").1;
    for line in [
        "remora_pool_answers{tenant=\"evil\"} 0",
        "remora_pool_answers{tenant=\"good\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{metrics}");
    }
    assert!(!metrics.contains(SECRET));
    for mut curl in asked {
        let _ = curl.kill();
        let _ = curl.wait();
    }
}
