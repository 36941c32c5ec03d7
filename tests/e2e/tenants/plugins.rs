//! Tenants with plugins of their own.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use super::{directory, tenant, write};
use crate::guest::Guest;
use crate::parts::{PATIENCE, until, until_it_hears};
use crate::world::{HOSTS, remora, sticky};

/// Writes a component, which no tenant shares with another.
pub fn component(dir: &Path, name: &str, bytes: &[u8]) -> String {
    let path = dir.join(format!("{name}.wasm"));
    fs::write(&path, bytes).unwrap();
    format!("plugin = {path:?}")
}

#[test]
fn a_plugin_that_loops_costs_its_own_tenant_and_nobody_else() {
    let cache = tempfile::tempdir().unwrap();
    let fields = format!("code_cache = {:?}", cache.path().join("code"));
    let world = directory(3, &fields, |place, exits| {
        let dir = place.parent().unwrap();
        let looping = Guest {
            acquire: "(loop $l (br $l))",
            ..Guest::default()
        };
        let looping = component(dir, "looping", &looping.component());
        let good = component(dir, "good", remora_artifacts::PLUGIN);
        write(place, "evil", &tenant("eve", &exits[..1], &looping));
        write(
            place,
            "good",
            &tenant(
                "gus",
                &exits[1..2],
                &format!("{good}\n{}", sticky("10m", "")),
            ),
        );
        write(
            place,
            "plain",
            &tenant("pia", &exits[2..], &sticky("10m", "")),
        );
    });
    // A plugin of its own that is like the one built in.
    for host in &HOSTS[..3] {
        assert_eq!(world.exit_as("gus", host), "127.0.0.12");
    }
    assert_eq!(world.tenant("good")["sessions"], 3);
    let over = AtomicBool::new(false);
    let url = world.http(HOSTS[0], "/");
    let (refused, served) = thread::scope(|scope| {
        let neighbours = ["gus", "pia"].map(|user| {
            let (world, over) = (&world, &over);
            scope.spawn(move || {
                let mut served = 0;
                while !over.load(Ordering::Relaxed) || served < 20 {
                    let answer = world.ask_as(user, &world.http(HOSTS[served % 9], "/"));
                    assert_eq!(answer.status, 200, "{user}: {answer:?}");
                    served += 1;
                }
                served
            })
        });
        // Twenty at a time, so that they would fill the reactor's threads if they ran there.
        let mut refused = Vec::new();
        for _ in 0..3 {
            let asked: Vec<_> = (0..20)
                .map(|_| scope.spawn(|| world.ask_as("eve", &url)))
                .collect();
            refused.extend(asked.into_iter().map(|asked| asked.join().unwrap()));
        }
        over.store(true, Ordering::Relaxed);
        (
            refused,
            neighbours.map(|neighbour| neighbour.join().unwrap()),
        )
    });
    println!(
        "{} requests of the tenant were refused, {served:?} of its neighbours served",
        refused.len()
    );
    for answer in &refused {
        let why = &answer.body;
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(
            why.contains("it ran longer than a call may")
                || why.contains("more than its 25 % of a processor"),
            "{answer:?}"
        );
    }
    assert!(world.tenant("evil")["plugin_traps"].as_u64().unwrap() > 0);

    // What is no plugin is not even added; the others notice nothing.
    let broken = component(world.dir.path(), "broken", b"not a component");
    write(
        &world.place(),
        "broken",
        &tenant("ben", &world.exits[..1], &broken),
    );
    until("it is refused", || {
        let error = world.tenant("broken")["error"].clone();
        error
            .as_str()
            .unwrap_or_default()
            .contains("not a WebAssembly component")
    });
    // Once its file is a plugin, it is there.
    component(world.dir.path(), "broken", remora_artifacts::PLUGIN);
    until("it is there", || {
        world.ask_as("ben", &world.http(HOSTS[0], "/")).status == 200
    });
    assert_eq!(world.exit_as("pia", HOSTS[0]), "127.0.0.13");
}

#[test]
fn a_plugin_that_is_taken_back_while_it_is_compiled_changes_nothing() {
    let cache = tempfile::tempdir().unwrap();
    let fields = format!("code_cache = {:?}", cache.path().join("code"));
    // Each is another component, by a custom section of its own.
    let plugin = |dir: &Path, name: &str| {
        let section = [0, 2, 1, name.as_bytes()[0]];
        component(dir, name, &[remora_artifacts::PLUGIN, &section].concat())
    };
    let world = directory(2, &fields, |place, exits| {
        let first = plugin(place.parent().unwrap(), "first");
        write(place, "good", &tenant("gus", &exits[..1], &first));
    });
    let url = world.http(HOSTS[0], "/");
    until("the tenant is there", || {
        world.ask_as("gus", &url).status == 200
    });
    let place = world.place();
    let change = |text: &str| {
        let before = world.log().matches("directory of tenants was read").count();
        write(&place, "good", text);
        until("it was read", || {
            world.log().matches("directory of tenants was read").count() > before
        });
    };
    let before = fs::read_to_string(place.join("good.toml")).unwrap();
    let second = plugin(world.dir.path(), "second");
    change(&tenant("gus", &world.exits[1..], &second));
    change(&before);
    // Its own plugin is compiled after the one that was taken back.
    let third = plugin(world.dir.path(), "third");
    write(&place, "next", &tenant("nic", &world.exits[1..], &third));
    until("the next one is there", || {
        assert_eq!(world.ask_as("gus", &url).status, 200);
        world.ask_as("nic", &url).status == 200
    });
    until("it is as before", || {
        let answer = world.ask_as("gus", &url);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body == "127.0.0.11"
    });
    assert_eq!(world.tenant("good")["proxies"], 1);
    // Without a plugin of its own, through the other exit.
    change(&tenant("gus", &world.exits[1..], ""));
    until("it is the other exit", || {
        let answer = world.ask_as("gus", &url);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body == "127.0.0.12"
    });
    assert_eq!(world.tenant("good")["proxies"], 1);
}

#[test]
fn a_signal_ends_a_start_that_waits_for_a_plugin() {
    let dir = tempfile::tempdir().unwrap();
    let looping = Guest {
        configure: "(loop $l (br $l))",
        ..Guest::default()
    };
    let looping = component(dir.path(), "looping", &looping.component());
    let proxy = "[[proxy]]\nurl = \"http://127.0.0.1:1\"\n[limits]\ncall_timeout = \"60s\"";
    let place = dir.path().join("tenants.d");
    fs::create_dir(&place).unwrap();
    let text = format!("{}\n{proxy}", tenant("eve", &[], &looping));
    write(&place, "evil", &text);
    let (config, code) = (dir.path().join("remora.toml"), dir.path().join("code"));
    let text = format!("listen = \"127.0.0.1:0\"\ntenants = {place:?}\ncode_cache = {code:?}\n");
    fs::write(&config, text).unwrap();
    let mut serve = remora();
    let serve = serve.arg("serve").arg("--config").arg(&config);
    let child = serve.stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id().to_string();
    until_it_hears(&pid, 15);
    let sent_at = Instant::now();
    let sent = Command::new("kill").args(["-TERM", &pid]).status();
    assert!(sent.unwrap().success());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("stopping"),
        "{said}"
    );
    assert!(sent_at.elapsed() < PATIENCE / 2, "{:?}", sent_at.elapsed());
}

#[test]
fn of_two_plugin_tenants_that_want_the_last_place_one_gets_it() {
    let cache = tempfile::tempdir().unwrap();
    let fields = format!(
        "code_cache = {:?}\n[limits]\nmax_tenants = 2",
        cache.path().join("code")
    );
    let world = directory(3, &fields, |place, exits| {
        write(place, "plain", &tenant("pia", &exits[2..], ""));
    });
    let dir = world.dir.path();
    let both = [("b", "bea", 0), ("c", "cem", 1)];
    for (name, user, exit) in both {
        let section = [0, 2, 1, name.as_bytes()[0]];
        let plugin = component(dir, name, &[remora_artifacts::PLUGIN, &section].concat());
        write(
            &world.place(),
            name,
            &tenant(user, &world.exits[exit..=exit], &plugin),
        );
    }
    let refused = |name: &str| {
        let error = world.tenant(name)["error"].clone();
        error
            .as_str()
            .unwrap_or_default()
            .contains("`limits.max_tenants` is 2")
    };
    until("one of them is refused", || {
        both.iter().any(|(name, ..)| refused(name))
    });
    until("nobody is waited for", || {
        world.admin("/healthz").1.contains("\"awaited_tenants\":0")
    });
    let (lost, won) = match refused("b") {
        true => (both[0], both[1]),
        false => (both[1], both[0]),
    };
    // Nothing of it is there but that it is refused.
    let url = world.http(HOSTS[0], "/");
    assert_eq!(
        world.exit_as(won.1, HOSTS[0]),
        format!("127.0.0.{}", 11 + won.2)
    );
    assert_eq!(world.ask_as(lost.1, &url).status, 503);
    assert_eq!(world.admin(&format!("/tenants/{}/stats", lost.0)).0, 404);
    assert!(
        world
            .admin("/healthz")
            .1
            .contains("\"tenants\":2,\"refused_tenants\":1")
    );
    assert!(
        !world
            .admin("/metrics")
            .1
            .contains(&format!("tenant=\"{}\"", lost.0))
    );
    // Once there is room, it is there.
    fs::remove_file(world.place().join(format!("{}.toml", won.0))).unwrap();
    until("it is there", || world.ask_as(lost.1, &url).status == 200);
    assert_eq!(
        world.exit_as(lost.1, HOSTS[0]),
        format!("127.0.0.{}", 11 + lost.2)
    );
    assert_eq!(world.ask_as(won.1, &url).status, 407);
}
