//! Who is served at the start.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::plugins::component;
use super::{directory, tenant, write};
use crate::endless::endless;
use crate::exits::Kind;
use crate::guest::Guest;
use crate::parts::{Answer, until};
use crate::world::{HOSTS, PASSWORD, World, remora, sticky};

#[test]
fn at_the_start_nobody_waits_for_the_plugin_of_somebody_else() {
    let cache = tempfile::tempdir().unwrap();
    let fields = format!("code_cache = {:?}", cache.path().join("code"));
    let begin = Instant::now();
    let world = directory(2, &fields, |place, exits| {
        let dir = place.parent().unwrap();
        let looping = Guest {
            configure: "(loop $l (br $l))",
            ..Guest::default()
        };
        let looping = component(dir, "looping", &looping.component());
        let slow = format!("{looping}\n[limits]\ncall_timeout = \"60s\"");
        write(place, "slow", &tenant("sue", &exits[..1], &slow));
        let broken = component(dir, "broken", b"not a component");
        write(place, "broken", &tenant("ben", &exits[..1], &broken));
        write(
            place,
            "plain",
            &tenant("pia", &exits[1..], &sticky("10m", "")),
        );
    });
    assert_eq!(world.exit_as("pia", HOSTS[0]), "127.0.0.12");
    assert!(
        begin.elapsed() < Duration::from_secs(50),
        "{:?}",
        begin.elapsed()
    );
    let url = world.http(HOSTS[0], "/");
    until("the broken one is known", || {
        world.admin("/healthz").1.contains("\"refused_tenants\":1")
    });
    let (status, health) = world.admin("/healthz");
    assert_eq!(status, 200);
    assert!(health.contains("\"awaited_tenants\":1"), "{health}");
    let says = |name: &str, line: &str| {
        let error = world.tenant(name)["error"].clone();
        assert!(error.as_str().unwrap_or_default().contains(line), "{error}");
    };
    says("slow", "it is being made");
    says("broken", "not a WebAssembly component");
    // Their own users hear that it is not they who are wrong; nobody else does.
    for user in ["sue", "ben"] {
        let answer = world.ask_as(user, &url);
        assert_eq!(
            (answer.status, answer.header("retry-after")),
            (503, "5"),
            "{answer:?}"
        );
        assert!(
            answer.body.contains("your tenant is not served"),
            "{answer:?}"
        );
        let answer = world.curl_as(&format!("{user}:wrong"), &url).output();
        assert_eq!(Answer::read(answer.unwrap()).status, 407, "{user}");
    }
    // Another change does not make it wait, and once the plugin is one, its tenant is there.
    component(world.dir.path(), "broken", remora_artifacts::PLUGIN);
    until("it is there", || world.ask_as("ben", &url).status == 200);
    assert_eq!(world.ask_as("sue", &url).status, 503);
    // Without its plugin it is there, though the call goes on.
    write(&world.place(), "slow", "[[user]]");
    until("it is refused", || {
        world.admin("/healthz").1.contains("\"refused_tenants\":1")
    });
    assert_eq!(
        world.ask_as("sue", &url).status,
        407,
        "a file that is no good has no users"
    );
}

#[test]
fn a_plugin_that_is_no_good_keeps_nobody_else_from_being_served() {
    let cache = tempfile::tempdir().unwrap();
    let world = World::start(&[Kind::Tinyproxy; 3], |dir, exits| {
        let own = |name: &str, text: &str| {
            let text = text.replace("[[", "[[tenant.").replace("[st", "[tenant.st");
            format!("[[tenant]]\nname = \"{name}\"\n{text}\n")
        };
        let broken = component(dir, "broken", b"not a component");
        let broken = own("broken", &tenant("ben", &exits[..1], &broken));
        // It has no public suffix list, and says so when it is told what to do.
        let refuses = component(dir, "refuses", remora_artifacts::PLUGIN);
        let refuses = format!("{refuses}\n[sticky]\nttl = \"10m\"\nscope = \"site\"");
        let refuses = own("refuses", &tenant("rae", &exits[1..2], &refuses));
        let plain = own("plain", &tenant("pia", &exits[2..], ""));
        let code = cache.path().join("code");
        let tenants = [broken, refuses, plain].concat();
        (format!("code_cache = {code:?}"), tenants)
    });
    let url = world.http(HOSTS[0], "/");
    assert_eq!(world.exit_as("pia", HOSTS[0]), "127.0.0.13");
    assert_eq!(world.ask_as("ben", &url).status, 503);
    assert_eq!(world.ask_as("rae", &url).status, 503);
    until("both are refused", || {
        world.admin("/healthz").1.contains("\"refused_tenants\":2")
    });
    until("the log says why", || {
        world.log().contains("public suffix list")
    });
    let dir = world.dir.path();
    fs::write(dir.join("broken.wasm"), remora_artifacts::PLUGIN).unwrap();
    let with_sites = remora_artifacts::PLUGIN_WITH_SITES;
    fs::write(dir.join("refuses.wasm"), with_sites).unwrap();
    world.remora.signal("-HUP");
    for user in ["ben", "rae"] {
        until("it is there", || world.ask_as(user, &url).status == 200);
    }
    assert!(!world.log().contains(PASSWORD));
}

#[test]
fn a_plugin_that_was_compiled_before_does_not_wait_for_those_that_take_long() {
    let cache = tempfile::tempdir().unwrap();
    let fields = format!("code_cache = {:?}", cache.path().join("code"));
    let mut world = directory(1, &fields, |place, exits| {
        let own = component(place.parent().unwrap(), "own", remora_artifacts::PLUGIN);
        write(place, "own", &tenant("gus", &exits[..1], &own));
    });
    let url = world.http(HOSTS[0], "/");
    until("it is there", || world.ask_as("gus", &url).status == 200);
    world.remora.terminate();
    world.remora.wait();
    // Each takes the compiler's half a minute, one after the other.
    let slow = component(world.dir.path(), "slow", &endless());
    for name in ["s1", "s2", "s3", "s4", "s5", "s6"] {
        write(&world.place(), name, &tenant(name, &world.exits, &slow));
    }
    world.serve_again();
    let begin = Instant::now();
    until("it is there again", || {
        world.ask_as("gus", &url).status == 200
    });
    assert!(
        begin.elapsed() < Duration::from_secs(20),
        "{:?}",
        begin.elapsed()
    );
    assert!(world.admin("/healthz").1.contains("\"awaited_tenants\":6"));
    // The compiler that is at work would outlive the test.
    let compilers = children(world.remora.pid());
    world.remora.kill();
    for compiler in compilers {
        let _ = Command::new("kill").arg(compiler).status();
    }
}

/// The processes that a process has started.
fn children(pid: u32) -> Vec<String> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let parent = |stat: &str| Some(stat.rsplit_once(") ")?.1.split(' ').nth(1)?.to_owned());
    all.filter(|process| {
        let stat = fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        parent(&stat) == Some(pid.to_string())
    })
    .map(|process| process.file_name().to_string_lossy().into_owned())
    .collect()
}

#[test]
fn check_compiles_tenants_plugins_as_serve_does() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("tenants.d");
    fs::create_dir(&place).unwrap();
    let proxy = "[[proxy]]\nurl = \"http://127.0.0.1:1\"";
    let slow = component(dir.path(), "slow", &endless());
    write(
        &place,
        "slow",
        &format!("{}\n{proxy}", tenant("eve", &[], &slow)),
    );
    let (config, code) = (dir.path().join("remora.toml"), dir.path().join("code"));
    let text = format!("tenants = {place:?}\ncode_cache = {code:?}\n");
    fs::write(&config, text).unwrap();
    let temporary = dir.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let mut check = remora();
    let check = check.arg("check").arg("--config").arg(&config);
    let check = check.env("TMPDIR", &temporary).stderr(Stdio::piped());
    let mut child = check.spawn().unwrap();
    // In its own process it would take minutes.
    until("it has given up", || child.try_wait().unwrap().is_some());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("tenant `slow`"), "{said}");
    assert!(
        said.contains("longer to compile than 30s") || said.contains("the compiler gave up"),
        "{said}"
    );
    assert!(!code.exists(), "what the file names is not touched");
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
}
