//! What an operator sees and does.

use std::fs;
use std::io::BufReader;

use base64::Engine as _;
use remora_host::Plugin;
use remora_host::trace::{Component, Native, replay};

use crate::world::{HOSTS, PASSWORD, World, remora, sticky};

#[test]
fn no_password_is_in_the_log_or_the_admin_interface() {
    let mut world = World::new(3, &sticky("10m", "[breaker]\nopen_threshold = 1"));
    for host in HOSTS {
        world.exit(host);
        world.ask(&world.https(host, "/"));
    }
    world.exits[0].kill();
    for host in HOSTS {
        world.ask(&world.http(host, "/"));
        world.ask(&world.https(host, "/"));
    }
    let log = world.log();
    assert!(
        log.contains("outcome=Success") && log.contains("outcome=Failure"),
        "{log}"
    );
    let shown = [
        log,
        world.admin("/stats").1,
        world.admin("/sessions").1,
        world.admin("/x").1,
    ];
    let pair = format!("{}:{PASSWORD}", crate::world::USER);
    let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
    for text in shown {
        assert!(
            !text.contains(PASSWORD) && !text.contains(&encoded),
            "{text}"
        );
    }
}

#[test]
fn a_wrong_file_is_refused_with_its_line_and_what_would_be_right() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("remora.toml");
    let proxy = format!("[[proxy]]\nurl = \"http://user:{PASSWORD}@127.0.0.1:1\"\n");
    for (text, message) in [
        (
            format!("{proxy}[sticky]\ntll = \"5m\"\n"),
            "remora.toml:4: unknown field `tll` in [sticky]; did you mean `ttl`?",
        ),
        (
            String::new(),
            "remora.toml: there is no [[proxy]]; at least one is needed",
        ),
        (
            format!("{proxy}{proxy}"),
            "remora.toml: `proxy[1].url` is the same proxy as `proxy[0].url`",
        ),
        (
            format!("listen = \"0.0.0.0:8080\"\n{proxy}"),
            "remora.toml: `listen` is `0.0.0.0:8080`; accepted: an address of this machine only",
        ),
        (
            format!("storage = \"etcd\"\n{proxy}"),
            "remora.toml: `storage` is `etcd`; accepted: memory",
        ),
        (
            "[[proxy]]\nurl = \"socks5://127.0.0.1:1\"\n".into(),
            "remora.toml: `proxy[0].url` is `socks5://…`; accepted: an http:// proxy",
        ),
        (
            format!("{proxy}weight = 0\n"),
            "remora.toml: `proxy[0].weight` is `0`; accepted: 1 to 65535",
        ),
        (
            format!("{proxy}[breaker]\nopen_threshold = 0\n"),
            "remora.toml: `breaker.open_threshold` is `0`; accepted: at least 1",
        ),
    ] {
        fs::write(&path, text).unwrap();
        for command in ["check", "serve"] {
            let output = remora()
                .arg(command)
                .arg("--config")
                .arg(&path)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1));
            assert!(
                said.starts_with("remora: ") && said.contains(message),
                "{said}"
            );
            assert_eq!(said.lines().count(), 1, "{said}");
            assert!(!said.contains(PASSWORD));
        }
    }
}

#[test]
fn check_explains_a_good_file() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../remora.example.toml");
    let output = remora()
        .args(["check", "--config", example])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    assert!(
        said.contains("good") && said.contains("residential"),
        "{said}"
    );
    assert!(!said.contains("pass@"), "{said}");
}

#[test]
fn what_a_gateway_recorded_replays_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let record = dir.path().join("trace.jsonl");
    let fields = format!("record = {:?}", record.display().to_string());
    let mut world = World::with(
        &fields,
        3,
        &sticky("10m", "[breaker]\nopen_threshold = 1"),
        PASSWORD,
    );
    for host in HOSTS {
        world.exit(host);
    }
    world.exits[1].kill();
    for host in HOSTS {
        world.ask(&world.http(host, "/"));
    }
    world.remora.terminate();
    assert!(world.remora.wait().success());
    let text = fs::read_to_string(&record).unwrap();
    assert!(!text.contains(PASSWORD));
    let read = || BufReader::new(fs::File::open(&record).unwrap());
    let replayed = replay(read(), |seed| Ok(Native::new(seed))).unwrap();
    assert!(replayed >= 2 + 2 * 18, "{replayed} decisions");
    let plugin = Plugin::builtin().unwrap();
    assert_eq!(
        replay(read(), |seed| Component::new(&plugin, seed)).unwrap(),
        replayed
    );
}

#[test]
fn the_demo_shows_what_it_says() {
    let output = remora().arg("demo").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("Everything was as it should be."), "{said}");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let world = World::new(1, "");
    let config = world.dir.path().join("remora.toml");
    let output = remora()
        .arg("serve")
        .arg("--config")
        .arg(&config)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("cannot listen on 127.0.0.1:"), "{said}");
}
