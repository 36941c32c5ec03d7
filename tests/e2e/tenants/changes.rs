//! Tenants come, change and go while others are served.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{SECRET, directory, end, hash, tenant, write};
use crate::exits::{Exit, Kind};
use crate::parts::{PATIENCE, until};
use crate::world::{HOSTS, PASSWORD, World, sticky};

#[test]
fn tenants_come_change_and_go_while_another_one_downloads() {
    let world = directory(3, "", |place, exits| {
        write(
            place,
            "a",
            &tenant("alice", &exits[..1], &sticky("10m", "")),
        );
    });
    let place = world.place();
    let url = world.http(HOSTS[0], "/");
    let download = world.download("alice", &world.http(HOSTS[1], "/slow"));
    until("it is in flight", || world.tenant("a")["in_flight"] == 1);
    assert_eq!(world.ask_as("bob", &url).status, 407);

    let first = tenant("bob", &world.exits[1..2], &sticky("10m", ""));
    write(&place, "b", &first);
    until("bob is heard", || world.ask_as("bob", &url).status == 200);
    assert_eq!(world.exit_as("bob", HOSTS[0]), "127.0.0.12");
    // Another proxy beside the first: sessions stay.
    write(
        &place,
        "b",
        &tenant("bob", &world.exits[1..], &sticky("20m", "")),
    );
    until("there are two", || world.tenant("b")["proxies"] == 2);
    assert_eq!(world.exit_as("bob", HOSTS[0]), "127.0.0.12");
    // Another strategy takes another manager, and they still stay.
    let rotation = sticky("20m", "[rotation]\nstrategy = \"random\"");
    write(&place, "b", &tenant("bob", &world.exits[1..], &rotation));
    until("it is another one", || {
        world.log().matches("a tenant is there").count() == 4
    });
    assert_eq!(world.exit_as("bob", HOSTS[0]), "127.0.0.12");

    // What is no good changes nothing, whatever is wrong with it.
    for (bad, line) in [
        (
            first.replace("[sticky]", "[stikky]"),
            "unknown field `stikky`; did you mean `sticky`?",
        ),
        (first.replace("http://", "gopher://"), "`proxy[0].url`"),
        (
            first.replace("\"bob\"", "\"alice\""),
            "the tenant `a` has a user of this name",
        ),
        (first.replace("10m", "9000d"), "`sticky.ttl`"),
        (
            format!("plugin = \"x.wasm\"\n{first}"),
            "`plugin` is `x.wasm`; accepted: left out, unless `code_cache`",
        ),
    ] {
        write(&place, "b", &bad);
        until(line, || {
            world.tenant("b")["error"]
                .as_str()
                .unwrap_or_default()
                .contains(line)
        });
        assert_eq!(world.exit_as("bob", HOSTS[0]), "127.0.0.12");
        assert_eq!(world.tenant("b")["proxies"], 2);
        assert!(world.admin("/healthz").1.contains("\"refused_tenants\":1"));
    }
    write(&place, "c", "[sticky");
    until("c is refused", || world.tenant("c")["error"].is_string());
    write(&place, "b", &first);
    until("b is good again", || world.tenant("b")["error"].is_null());
    assert_eq!(world.tenant("b")["proxies"], 1);

    fs::remove_file(place.join("b.toml")).unwrap();
    until("bob is not heard any more", || {
        world.ask_as("bob", &url).status == 407
    });
    assert_eq!(world.tenant("b"), Value::Null);
    let (status, length) = end(download);
    assert_eq!(status, 200);
    assert!(length > 1_000_000, "{length}");
    assert_eq!(
        world.tenant("a")["sessions"],
        1,
        "its session is still there"
    );
    assert!(!world.log().contains(SECRET) && !world.log().contains(PASSWORD));
}

#[test]
fn the_pool_at_the_top_has_its_own_users_and_tenants_of_the_file_change_on_sighup() {
    let world = World::start(&[Kind::Tinyproxy; 3], |_, exits| {
        let top = format!(
            "{}\n[[user]]\nname = \"tom\"\npassword = \"{SECRET}\"\n[[user]]\nname = \"tina\"\npassword_hash = \"{}\"",
            sticky("10m", ""),
            hash()
        );
        let own = |name: &str, user: &str, exits: &[Exit]| {
            let text = tenant(user, exits, "[sticky]\nmode = \"domain\"");
            let text = text.replace("[[", "[[tenant.");
            let text = text.replace("[sticky]", "[tenant.sticky]");
            format!("[[tenant]]\nname = \"{name}\"\n{text}")
        };
        let tenants = own("a", "alice", &exits[1..2]) + &own("b", "bob", &exits[2..]);
        (top, format!("{}\n{tenants}", exits[0].entry(PASSWORD)))
    });
    let exits = |world: &World| {
        ["tom", "tina", "alice", "bob"]
            .map(|user| world.ask_as(user, &world.http(HOSTS[0], "/")).body)
    };
    assert_eq!(
        exits(&world),
        ["127.0.0.11", "127.0.0.11", "127.0.0.12", "127.0.0.13"]
    );
    assert_eq!(world.stats()["active_sessions"], 1);
    let text = fs::read_to_string(world.config()).unwrap();
    let change = |text: &str| {
        let before = world.log().matches("file was read again").count();
        fs::write(world.config(), text).unwrap();
        world.remora.signal("-HUP");
        until("it was read", || {
            world.log().matches("file was read again").count() > before
        });
    };
    // Alice's tenant is called otherwise, and its user, too; bob's is as before.
    let renamed = |text: &str| {
        text.replace("\"alice\"", "\"alina\"")
            .replace("name = \"a\"", "name = \"aa\"")
    };
    change(&renamed(&text));
    assert_eq!(exits(&world)[3], "127.0.0.13");
    assert_eq!(
        world.ask_as("alice", &world.http(HOSTS[0], "/")).status,
        407
    );
    assert_eq!(world.exit_as("alina", HOSTS[0]), "127.0.0.12");
    assert_eq!(world.tenant("b")["sessions"], 1);
    assert_eq!(world.tenant("a"), Value::Null);
    // A user at the top of the same name as a tenant's: the tenant goes without, and that is said.
    let more = format!(
        "{text}\n[[user]]\nname = \"bob\"\npassword_hash = \"{}\"\n",
        hash()
    );
    change(&renamed(&more));
    assert_eq!(world.exit_as("bob", HOSTS[0]), "127.0.0.11");
    let error = world.tenant("b")["error"].clone();
    let error = error.as_str().unwrap_or_default();
    assert!(
        error.contains("`bob`") && error.contains("the pool at the top has a user of this name"),
        "{error}"
    );
    change(&renamed(&text));
    assert_eq!(world.exit_as("bob", HOSTS[0]), "127.0.0.13");
    assert_eq!(world.tenant("b")["error"], Value::Null);
    change(&text.replace("name = \"b\"", "name = \"b b\""));
    assert!(
        world
            .log()
            .contains("`tenant[1].name` is `…`; accepted: 1 to 40 letters"),
        "{}",
        world.log()
    );
    assert_eq!(world.exit_as("alina", HOSTS[0]), "127.0.0.12");
    // They do not move from the file into a directory.
    let top = text.split("[[tenant]]").next().unwrap();
    let place = world.place();
    fs::create_dir(&place).unwrap();
    change(&format!("tenants = {place:?}\n{top}"));
    assert!(
        world.log().contains("in [[tenant]] takes a restart"),
        "{}",
        world.log()
    );
    assert_eq!(world.exit_as("alina", HOSTS[0]), "127.0.0.12");
}

#[test]
fn where_there_is_no_room_another_tenant_is_refused() {
    let world = directory(1, "[limits]\nmax_tenants = 2", |place, exits| {
        for name in ["a", "b"] {
            write(place, name, &tenant(name, exits, ""));
        }
    });
    write(&world.place(), "c", &tenant("c", &world.exits, ""));
    until("it is refused", || {
        let error = world.tenant("c")["error"].clone();
        error
            .as_str()
            .unwrap_or_default()
            .contains("`limits.max_tenants` is 2")
    });
    // Once there is room, it is made.
    fs::remove_file(world.place().join("a.toml")).unwrap();
    until("a is gone", || world.tenant("a") == Value::Null);
    until("c is there", || {
        world.ask_as("c", &world.http(HOSTS[0], "/")).status == 200
    });
}

#[test]
fn no_tenant_takes_a_user_of_another_one() {
    let world = directory(3, "", |place, exits| {
        write(place, "aaa", &tenant("shop", &exits[..1], ""));
        write(place, "shop", &tenant("shop", &exits[1..2], ""));
        write(place, "zoe", &tenant("zoe", &exits[2..], ""));
    });
    let place = world.place();
    let refused = |name: &str, owner: &str| {
        let error = world.tenant(name)["error"].clone();
        let line = format!("the tenant `{owner}` has a user of this name");
        error.as_str().unwrap_or_default().contains(&line)
    };
    // At the start it is the tenant's that is called like it.
    assert_eq!(world.exit_as("shop", HOSTS[0]), "127.0.0.12");
    assert!(refused("aaa", "shop"));
    // Later it is the tenant's that has it, though both change in one look.
    let two = |first: &str, second: &str, exits: &[Exit]| {
        let user = format!(
            "[[user]]\nname = \"{second}\"\npassword_hash = \"{}\"",
            hash()
        );
        tenant(first, exits, "") + &user
    };
    write(&place, "aaa", &two("ann", "zoe", &world.exits[..1]));
    write(&place, "zoe", &two("zoe", "zac", &world.exits[2..]));
    until("zac is heard", || {
        world.ask_as("zac", &world.http(HOSTS[0], "/")).status == 200
    });
    until("the other one is refused", || refused("aaa", "zoe"));
    assert_eq!(world.exit_as("zoe", HOSTS[0]), "127.0.0.13");
    // Who gives a user away gives it to whom names it, in one look.
    write(&place, "aaa", &tenant("zac", &world.exits[..1], ""));
    write(&place, "zoe", &tenant("zoe", &world.exits[2..], ""));
    until("it is another one's", || {
        world.ask_as("zac", &world.http(HOSTS[0], "/")).body == "127.0.0.11"
    });
    assert_eq!(world.exit_as("zoe", HOSTS[0]), "127.0.0.13");
}

#[test]
fn a_tenant_changes_two_hundred_times_while_tunnels_of_it_are_open() {
    // Room for two instances of each of two tenants, and 64 to spare.
    let own = |n: u32, exits: &[Exit]| {
        let text = tenant("alice", exits, &sticky("10m", ""));
        let text = text.replace("[[", "[[tenant.");
        let text = text.replace("[sticky]", "[tenant.sticky]");
        let quota = 1_048_576 + n;
        format!("[[tenant]]\nname = \"a\"\n{text}\n[tenant.limits]\nstorage_bytes = {quota}\n")
    };
    let world = World::start(&[Kind::Tinyproxy], |_, exits| {
        let room = "[limits]\nmax_tenants = 2".to_owned();
        (room, own(0, exits))
    });
    let text = fs::read_to_string(world.config()).unwrap();
    let (top, _) = text.split_once("[[tenant]]").unwrap();
    let mut tunnels = Vec::new();
    for n in 1..=200 {
        tunnels.push(tunnel(&world, "alice"));
        fs::write(world.config(), format!("{top}{}", own(n, &world.exits))).unwrap();
        world.remora.signal("-HUP");
        until("it was read", || {
            world.log().matches("the file was read again").count() == n as usize
        });
        assert_eq!(world.tenant("a")["error"], Value::Null, "change {n}");
    }
    // Each change was another pool: sessions stay, and so does every tunnel.
    assert_eq!(world.log().matches("change=\"changed\"").count(), 200);
    assert_eq!(world.tenant("a")["in_flight"], 200);
    assert_eq!(world.exit_as("alice", HOSTS[0]), "127.0.0.11");
    for tunnel in &mut tunnels {
        tunnel.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        tunnel.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    drop(tunnels);
    until("every lease is back", || {
        world.tenant("a")["in_flight"] == 0
    });
    assert!(!world.log().contains("a release was lost"));
}

/// A tunnel to the origin.
fn tunnel(world: &World, user: &str) -> TcpStream {
    let target = format!("{}:{}", HOSTS[0], world.origin_port());
    let credentials = STANDARD.encode(format!("{user}:{SECRET}"));
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, world.gateway)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Basic {credentials}\r\n\r\n"
    )
    .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 200"), "{head:?}");
    stream
}
