//! What `remora envoy` writes, and what it refuses.

use std::fs;
use std::process::Command;

use base64::Engine as _;

use crate::parts::until;
use crate::world::{PASSWORD, USER, World, envoy, generate, remora};

const PROXY: &str = "[[proxy]]\nurl = \"http://exit-user:s3cret-Passw0rd@127.0.0.1:1\"\n";

#[test]
fn envoy_accepts_what_is_written_into_files_and_what_is_printed() {
    let dir = tempfile::tempdir().unwrap();
    let tls = "[[proxy]]\nurl = \"https://exit-user:s3cret-Passw0rd@127.0.0.1:2\"\nweight = 3\ntags = [\"de\"]\n";
    let text = format!("admin = \"127.0.0.1:19901\"\n[sticky]\nmode = \"domain\"\n{PROXY}{tls}");
    let out = generate(dir.path(), &text);
    let printed = remora()
        .args(["envoy", "--config"])
        .arg(dir.path().join("remora.toml"))
        .arg("--wasm")
        .arg(dir.path().join("filter.wasm"))
        .output()
        .unwrap();
    assert!(printed.status.success(), "{printed:?}");
    let whole = dir.path().join("whole.yaml");
    fs::write(&whole, printed.stdout).unwrap();
    for file in [out.join("bootstrap.yaml"), whole] {
        let checked = envoy()
            .args(["--mode", "validate", "-c"])
            .arg(&file)
            .output()
            .unwrap();
        assert!(checked.status.success(), "{checked:?}");
    }
}

#[test]
fn what_envoy_cannot_do_is_refused_with_its_field() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("remora.toml");
    for (text, line) in [
        (
            "[[proxy]]\nurl = \"socks5://127.0.0.1:1\"\n".to_owned(),
            "`proxy[0].url`",
        ),
        (
            format!("storage = \"redis://127.0.0.1\"\n{PROXY}"),
            "`storage`",
        ),
        (
            format!("{PROXY}[[user]]\nname = \"a\"\npassword = \"s3cret-Passw0rd\"\n"),
            "`user[0].name`",
        ),
        (format!("{PROXY}weight = 0\n"), "`proxy[0].weight`"),
    ] {
        fs::write(&path, text).unwrap();
        let refused = remora()
            .args(["envoy", "--config"])
            .arg(&path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(line), "{said}");
        assert!(
            said.lines().count() == 1 && !said.contains(PASSWORD),
            "{said}"
        );
    }
}

#[test]
fn envoy_does_not_start_with_a_wrong_filter_configuration_and_says_which_field() {
    let dir = tempfile::tempdir().unwrap();
    let out = generate(
        dir.path(),
        &format!("[breaker]\nopen_threshold = 5\n{PROXY}"),
    );
    let printed = remora()
        .args(["envoy", "--config"])
        .arg(dir.path().join("remora.toml"))
        .arg("--wasm")
        .arg(out.join("f.wasm"))
        .output()
        .unwrap();
    let text = String::from_utf8(printed.stdout).unwrap();
    let broken = text.replace("\"open_threshold\": 5", "\"open_threshold\": 0");
    assert_ne!(text, broken);
    let file = dir.path().join("broken.yaml");
    fs::write(&file, broken).unwrap();
    let mut command = Command::new("timeout");
    let run = command.arg("30").arg(envoy().get_program());
    let started = run
        .args(["--base-id", "40001", "-c"])
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&started.stderr).into_owned();
    assert!(!started.status.success(), "{said}");
    assert!(said.contains("breaker.open_threshold"), "{said}");
}

#[test]
fn the_filter_sees_no_password_and_no_log_shows_one() {
    let world = World::new(2, "");
    world.exit("127.0.1.1");
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let out = world.dir.path().join("envoy");
    let filter = fs::read_to_string(out.join("filter.yaml")).unwrap();
    let bootstrap = fs::read_to_string(out.join("bootstrap.yaml")).unwrap();
    for text in [filter, bootstrap, world.log()] {
        assert!(
            !text.contains(PASSWORD) && !text.contains(&encoded),
            "{text}"
        );
    }
    // It stands in the metadata of the endpoints, and nowhere else.
    let endpoints = fs::read_to_string(out.join("endpoints.yaml")).unwrap();
    assert!(endpoints.contains(&encoded));
}

#[test]
fn proxies_come_and_go_without_a_restart_and_sessions_stay() {
    let mut world = World::new(3, "");
    let all = std::mem::take(&mut world.exits);
    let (host, mut others) = ("127.0.1.1", 2..);
    let stays = world.exit(host);
    assert_eq!(stays, "127.0.0.11", "the first in turn");
    world.regenerate(&all[..1], "");
    until("the others are gone", || {
        (0..4).all(|_| world.exit(&format!("127.0.3.{}", others.next().unwrap())) == stays)
    });
    world.regenerate(&all, "");
    until("they are back", || {
        world.exit(&format!("127.0.3.{}", others.next().unwrap())) != stays
    });
    assert_eq!(world.exit(host), stays, "its session has seen none of it");
}
