//! What happens when something breaks.

use std::fs;

use crate::parts::{Answer, until};
use crate::world::{HOSTS, PASSWORD, World, sticky};

const QUICK: &str = "[breaker]\nopen_threshold = 2\nhalf_open_after = \"2s\"";

#[test]
fn a_killed_proxy_is_replaced_and_comes_back_through_a_probe() {
    let mut world = World::new(3, &sticky("10m", QUICK));
    let dead = world.exit(HOSTS[0]);
    world.exit_of(&dead).kill();
    let moved = world.ask(&world.http(HOSTS[0], "/"));
    assert_eq!(moved.status, 200, "{moved:?}");
    assert_ne!(
        moved.body, dead,
        "the session moved, and the client noticed nothing"
    );
    assert_eq!(world.exit(HOSTS[0]), moved.body);
    // Fresh domains take turns until one meets the dead proxy: the second failure in a row.
    for host in &HOSTS[1..5] {
        assert_eq!(world.ask(&world.https(host, "/")).status, 200);
    }
    let stats = world.stats();
    assert_eq!((&stats["healthy"], &stats["open"]), (&2.into(), &1.into()));

    world.exit_of(&dead).restart();
    let mut hosts = HOSTS[5..].iter().cycle();
    until("the breaker closes", || {
        // A page that this exit is refused ends the session: so these hosts go round the pool.
        let host = hosts.next().unwrap();
        world.ask(&world.http(host, "/picky"));
        let stats = world.stats();
        stats["healthy"] == 3 && stats["open"] == 0
    });
}

#[test]
fn an_exhausted_pool_is_a_503_that_says_when_to_come_back() {
    let mut world = World::new(
        1,
        &sticky(
            "10m",
            "[breaker]\nopen_threshold = 1\nhalf_open_after = \"30s\"",
        ),
    );
    assert_eq!(world.admin("/healthz").0, 200);
    world.exits[0].kill();
    let failed = world.ask(&world.http(HOSTS[0], "/"));
    assert_eq!(failed.status, 502, "{failed:?}");
    assert_eq!(failed.body, "remora: the upstream proxy cannot be reached");
    assert_eq!(
        failed.header("proxy-status"),
        "remora;error=connection_refused;details=\"the upstream proxy cannot be reached\""
    );
    for url in [world.http(HOSTS[0], "/"), world.http(HOSTS[1], "/")] {
        let answer = world.ask(&url);
        assert_eq!(answer.status, 503, "{answer:?}");
        let retry = answer.header("retry-after");
        assert!(
            answer
                .header("proxy-status")
                .starts_with("remora;error=destination_unavailable")
        );
        assert!((1..=30).contains(&retry.parse::<u32>().unwrap()), "{retry}");
        assert!(
            answer
                .body
                .starts_with("remora: every proxy that would do has an open circuit breaker")
        );
    }
    // In a tunnel, too: curl says which status refused it.
    let output = world
        .curl(&world.https(HOSTS[0], "/"), &[])
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("503"),
        "{output:?}"
    );
    assert_eq!(world.admin("/healthz").0, 503);
}

#[test]
fn credentials_that_an_upstream_refuses_are_remoras_fault_not_the_clients() {
    // tinyproxy asks for credentials with 407 when there are none, and says 401 to wrong ones.
    let world = World::with("", 1, &sticky("10m", ""), "");
    let answer = world.ask(&world.http(HOSTS[0], "/"));
    assert_eq!(answer.status, 502, "{answer:?}");
    assert_eq!(
        answer.body,
        "remora: 407: the upstream proxy does not accept remora's credentials, or the target asks for some"
    );
    assert!(!answer.headers.to_lowercase().contains("proxy-authenticate"));
    let output = world
        .curl(&world.https(HOSTS[0], "/"), &[])
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("502"),
        "{output:?}"
    );
}

#[test]
fn a_blocked_exit_moves_the_session_and_leaves_the_breaker_alone() {
    let world = World::new(3, &sticky("10m", "[breaker]\nopen_threshold = 1"));
    let mut refused = 0;
    for host in &HOSTS[..6] {
        let answer = world.ask(&world.http(host, "/picky"));
        if answer.status == 403 {
            refused += 1;
            assert_ne!(world.exit(host), "127.0.0.11", "the session moved");
        }
    }
    assert!(refused > 0, "one of three exits is refused");
    assert_eq!(world.stats()["open"], 0);
    assert!(
        HOSTS.iter().any(|host| world.exit(host) == "127.0.0.11"),
        "others still use it"
    );
}

#[test]
fn a_client_that_goes_away_is_nobodys_fault() {
    let world = World::new(3, &sticky("10m", "[breaker]\nopen_threshold = 1"));
    let exit = world.exit(HOSTS[0]);
    for url in [world.http(HOSTS[0], "/slow"), world.http(HOSTS[0], "/slow")] {
        let output = world.curl(&url, &["--max-time", "1"]).output().unwrap();
        assert_eq!(output.status.code(), Some(28), "curl gave up");
    }
    until("both are released", || {
        world.log().matches("outcome=\"cancelled\"").count() == 2
    });
    assert_eq!(world.exit(HOSTS[0]), exit);
    assert_eq!(world.stats()["open"], 0);
}

#[test]
fn an_upload_of_50_megabytes_arrives_intact() {
    let world = World::new(2, &sticky("10m", ""));
    let file = world.dir.path().join("upload");
    let bytes: Vec<u8> = (0..50_000_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    fs::write(&file, &bytes).unwrap();
    let data = format!("@{}", file.display());
    for url in [
        world.http(HOSTS[0], "/upload"),
        world.https(HOSTS[0], "/upload"),
    ] {
        let answer = Answer::read(
            world
                .curl(&url, &["--data-binary", &data])
                .output()
                .unwrap(),
        );
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let received: Vec<_> = fs::read_dir(world.dir.path().join("uploads"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    assert_eq!(received.len(), 2);
    for path in received {
        assert!(
            fs::read(&path).unwrap() == bytes,
            "{} differs",
            path.display()
        );
    }
}

#[test]
fn a_request_that_is_no_proxy_request_is_told_so() {
    let world = World::new(1, "");
    let direct = world.curl("http://unused/", &[]);
    let proxy = direct
        .get_args()
        .find(|a| a.to_string_lossy().starts_with("http://127.0.0.1:"));
    let mut curl = std::process::Command::new("curl");
    let output = curl
        .args(["-sS", "-i", "-w", "\n%{http_code}"])
        .arg(proxy.unwrap())
        .output()
        .unwrap();
    let answer = Answer::read(output);
    assert_eq!(answer.status, 400);
    assert!(
        answer.body.contains("this is a forward proxy"),
        "{answer:?}"
    );
}

#[test]
fn a_stopped_gateway_finishes_what_it_has_begun() {
    let mut world = World::new(2, &sticky("10m", ""));
    let mut downloads = Vec::new();
    for url in [
        world.http(HOSTS[0], "/slow"),
        world.https(HOSTS[1], "/slow"),
    ] {
        let mut curl = world.curl(
            &url,
            &["-o", "/dev/null", "-w", "%{http_code} %{size_download}"],
        );
        downloads.push(curl.stdout(std::process::Stdio::piped()).spawn().unwrap());
    }
    until("both downloads run", || {
        world.log().matches("ready").count() > 0 && world.stats()["active_sessions"] == 2
    });
    world.remora.terminate();
    for download in downloads {
        let output = download.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "200 1000000");
    }
    assert!(world.remora.wait().success());
    assert!(!world.log().contains(PASSWORD));
}
