//! Where the state of tenants lives.

use std::process::Command;

use super::{directory, tenant, write};
use crate::parts::until;
use remora_test_support::server::Server;

use crate::storage::on;
use crate::world::{HOSTS, World, sticky};

/// The exits that two users see, host by host.
fn exits(world: &World) -> Vec<String> {
    let both = |host| ["a", "b"].map(|user| world.exit_as(user, host));
    HOSTS.iter().flat_map(|host| both(host)).collect()
}

#[test]
fn in_files_each_tenant_has_one_of_its_own_and_sessions_outlive_the_process() {
    let state = tempfile::tempdir().unwrap();
    let fields = format!(
        "storage = \"redb:{}?durability=immediate\"",
        state.path().join("state.redb").display()
    );
    let mut world = directory(3, &fields, |place, exits| {
        for name in ["a", "b"] {
            write(place, name, &tenant(name, exits, &sticky("10m", "")));
        }
    });
    let before = exits(&world);
    world.remora.terminate();
    assert!(world.remora.wait().success());
    assert!(state.path().join("state.redb.tenants/b.redb").exists());
    world.serve_again();
    assert_eq!(exits(&world), before);
    for name in ["a", "b"] {
        assert_eq!(world.tenant(name)["sessions"], 9);
    }
}

#[test]
fn a_change_that_the_storage_keeps_from_its_end_can_be_taken_back() {
    let mut redis = Server::new();
    let world = directory(3, &on(&redis), |place, exits| {
        write(place, "a", &tenant("a", &exits[..2], &sticky("10m", "")));
    });
    world.exit_as("a", HOSTS[0]);
    redis.kill();
    // One comes, one is to go.
    let other = tenant("a", &world.exits[1..], &sticky("10m", ""));
    write(&world.place(), "a", &other);
    until("the change is refused", || {
        world.tenant("a")["error"].is_string()
    });
    redis.restart();
    until("the server is back", || {
        let url = world.http(HOSTS[0], "/");
        world.ask_as("a", &url).status == 200
    });
    let first = tenant("a", &world.exits[..2], &sticky("10m", ""));
    write(&world.place(), "a", &first);
    until("it is taken back", || world.tenant("a")["error"].is_null());
    assert_eq!(world.tenant("a")["proxies"], 2);
    for host in HOSTS {
        assert_ne!(world.exit_as("a", host), "127.0.0.13");
    }
}

#[test]
fn on_a_server_each_tenant_has_a_prefix_of_its_own() {
    let redis = Server::new();
    let world = directory(2, &on(&redis), |place, exits| {
        for name in ["a", "b"] {
            write(place, name, &tenant(name, exits, &sticky("10m", "")));
        }
    });
    let before = exits(&world);
    assert_eq!(exits(&world), before);
    for name in ["a", "b"] {
        assert_eq!(world.tenant(name)["sessions"], 9);
        let output = Command::new("redis-cli")
            .args(["-p", &redis.port.to_string(), "--raw", "KEYS"])
            .arg(format!("{{e2e:{name}}}:0:*"))
            .output()
            .unwrap();
        let keys = String::from_utf8(output.stdout).unwrap();
        assert_eq!(keys.lines().count(), 9, "{keys}");
    }
    // There a plugin of its own could keep the reactor waiting.
    let plugin = tenant("c", &world.exits, "plugin = \"c.wasm\"");
    write(&world.place(), "c", &plugin);
    until("it is refused", || {
        let error = world.tenant("c")["error"].clone();
        error
            .as_str()
            .unwrap_or_default()
            .contains("`plugin` is `c.wasm`; accepted: left out where the `storage`")
    });
}
