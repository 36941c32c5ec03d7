//! State that outlives a gateway, and gateways that share it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use remora_test_support::ports::free_port;
use remora_test_support::server::Server;

use crate::parts::{Answer, Process, clock_off_by, until};
use crate::world::{HOSTS, PASSWORD, World, remora, sticky};

/// The field of gateways on a server.
pub fn on(server: &Server) -> String {
    format!("storage = {:?}\n", server.url("?prefix=e2e"))
}

/// Another gateway with the same configuration, but for its addresses.
struct Beside {
    gateway: u16,
    admin: u16,
    _process: Process,
}

impl Beside {
    /// Its clock is off by so many seconds.
    fn start(world: &World, skew: i64) -> Self {
        let (gateway, admin) = (free_port(), free_port());
        let text = fs::read_to_string(world.config()).unwrap();
        let lines = text.lines().map(|line| match line.split(' ').next() {
            Some("listen") => format!("listen = \"127.0.0.1:{gateway}\""),
            Some("admin") => format!("admin = \"127.0.0.1:{admin}\""),
            _ => line.to_owned(),
        });
        let config = world.dir.path().join(format!("beside-{gateway}.toml"));
        fs::write(&config, lines.collect::<Vec<_>>().join("\n")).unwrap();
        let mut serve = remora();
        serve.args(["serve", "--config"]).arg(&config);
        serve.envs(clock_off_by(skew));
        let process = Process::start(&mut serve, &config.with_extension("log"), gateway);
        Self {
            gateway,
            admin,
            _process: process,
        }
    }

    fn ask(&self, world: &World, host: &str) -> Answer {
        let proxy = format!("http://127.0.0.1:{}", self.gateway);
        let url = world.http(host, "/");
        Answer::read(world.curl(&url, &["-x", &proxy]).output().unwrap())
    }

    fn metrics(&self) -> String {
        let url = format!("http://127.0.0.1:{}/metrics", self.admin);
        let output = Command::new("curl").args(["-sS", &url]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

fn again(world: &mut World) {
    let mut serve = remora();
    serve.args(["serve", "--config"]).arg(world.config());
    let log = world.dir.path().join("again.log");
    world.remora = Process::start(&mut serve, &log, world.gateway);
}

#[test]
fn sessions_survive_a_kill_of_the_gateway_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    for level in ["", "?durability=immediate"] {
        let path = dir.path().join(format!("state{}.redb", level.len()));
        let fields = format!("storage = \"redb:{}{level}\"\n", path.display());
        let mut world = World::with(&fields, 5, &sticky("1h", ""), PASSWORD);
        let before: Vec<String> = HOSTS.iter().map(|host| world.exit(host)).collect();
        if level.is_empty() {
            // What a relaxed file may lose is the last tenth of a second.
            std::thread::sleep(std::time::Duration::from_millis(500));
        }
        world.remora.kill();
        again(&mut world);
        let after: Vec<String> = HOSTS.iter().map(|host| world.exit(host)).collect();
        assert_eq!(before, after, "{level}");
        assert_eq!(world.stats()["storage"]["state"], "ok");
    }
}

#[test]
fn a_gateway_that_stops_leaves_nothing_behind_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let fields = format!("storage = \"redb:{}/state\"\n", dir.path().display());
    let mut world = World::with(&fields, 5, &sticky("1h", ""), PASSWORD);
    let before = world.exit(HOSTS[0]);
    let mode = fs::metadata(dir.path().join("state"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600, "it holds targets and session ids");
    world.remora.terminate();
    assert!(world.remora.wait().success());
    again(&mut world);
    assert_eq!(world.exit(HOSTS[0]), before);
}

#[test]
fn a_reload_that_the_storage_keeps_from_its_end_is_brought_to_it_by_the_next_one() {
    let mut redis = Server::new();
    let fields = on(&redis) + "admin_token = \"a-t0ken-of-tests\"\n";
    let world = World::with(&fields, 3, &sticky("1h", ""), PASSWORD);
    let body = "{\"url\": \"http://192.0.2.1:3128\"}";
    let bearer = "Authorization: Bearer a-t0ken-of-tests";
    let added = world.operate("/proxies", &["-d", body, "-H", bearer]);
    assert_eq!(added.0, 200, "{added:?}");
    let reload = |says: &str| {
        let before = world.log().matches(says).count();
        world.remora.signal("-HUP");
        until(says, || world.log().matches(says).count() > before);
    };

    redis.kill();
    until("requests are refused", || {
        world.ask(&world.http(HOSTS[0], "/")).status == 503
    });
    let text = fs::read_to_string(world.config()).unwrap();
    let (kept, _) = text.rsplit_once("[[proxy]]").unwrap();
    let user = "[[user]]\nname = \"alice\"\npassword = \"alices-s3cret\"\n";
    fs::write(world.config(), format!("{kept}\n{user}")).unwrap();
    reload("not all of it could be applied");
    // What has nothing to do with the storage is as the file says.
    assert_eq!(world.ask(&world.http(HOSTS[0], "/")).status, 407);

    redis.restart();
    until("the server is back", || world.admin("/healthz").0 == 200);
    assert_eq!(world.stats()["total"], 4);
    reload("the file was read again\n");
    let (_, proxies) = world.admin("/proxies");
    assert_eq!(world.stats()["total"], 3, "{proxies}");
    // What an operator has added stays.
    assert!(proxies.contains("192.0.2.1"), "{proxies}");
    assert!(
        !proxies.contains(&world.exits[2].port.to_string()),
        "{proxies}"
    );
}

#[test]
fn three_gateways_on_one_server_are_one_whatever_their_clocks_say() {
    let mut redis = Server::new();
    let world = World::with(&on(&redis), 5, &sticky("1h", ""), PASSWORD);
    let second = Beside::start(&world, 0);
    // Its clock is seven minutes ahead of the others, and so are sessions that it would bind by it.
    let third = Beside::start(&world, 420);
    for host in HOSTS {
        let exits = [third.ask(&world, host).body, second.ask(&world, host).body];
        assert_eq!(exits, [world.exit(host), world.exit(host)], "{host}");
    }
    let sessions = world.admin("/sessions").1;
    let expiries = serde_json::from_str::<Vec<serde_json::Value>>(&sessions).unwrap();
    let latest = expiries
        .iter()
        .map(|s| s["expires_at"].as_str().unwrap())
        .max()
        .unwrap();
    let in_an_hour = std::time::SystemTime::now() + std::time::Duration::from_secs(3_660);
    assert!(
        latest
            < humantime::format_rfc3339_millis(in_an_hour)
                .to_string()
                .as_str()
    );

    redis.kill();
    until("requests are refused", || {
        world.ask(&world.http(HOSTS[0], "/")).status == 503
    });
    let answer = world.ask(&world.http(HOSTS[0], "/"));
    assert!(answer.body.contains("storage"), "{answer:?}");
    let (status, health) = world.admin("/healthz");
    assert_eq!(status, 503);
    assert!(health.contains("\"unreachable\""), "{health}");
    let stats = world.stats();
    assert_eq!(stats["storage"]["state"], "unreachable", "{stats}");
    assert!(stats["storage"]["since"].is_string(), "{stats}");
    assert!(stats["total"].is_null() && stats["active_sessions"].is_null());
    let said = world.says(&["stats"]);
    assert!(
        said.contains("unreachable since") && said.contains('?'),
        "{said}"
    );
    assert!(second.metrics().contains("remora_storage_up 0"));
    redis.restart();
    until("requests go on", || {
        world.ask(&world.http(HOSTS[0], "/")).status == 200
    });
    assert_eq!(world.admin("/healthz").0, 200);
    assert!(
        world
            .log()
            .contains("another server, or the same one after a restart")
    );
}

#[test]
fn a_gateway_that_may_goes_on_alone_and_says_so() {
    let mut redis = Server::new();
    let fields = on(&redis) + "on_storage_error = \"degrade\"\n";
    let world = World::with(&fields, 5, &sticky("1h", ""), PASSWORD);
    let before: Vec<String> = HOSTS.iter().map(|host| world.exit(host)).collect();
    redis.kill();
    let after: Vec<String> = HOSTS.iter().map(|host| world.exit(host)).collect();
    assert_eq!(before, after);
    let (status, health) = world.admin("/healthz");
    assert_eq!(status, 200);
    assert!(health.contains("\"alone\""), "{health}");
    assert!(world.says(&["stats"]).contains("alone since"));
    assert!(world.admin("/metrics").1.contains("remora_storage_up 0"));
    redis.restart();
    until("it shares the storage again", || {
        world.stats()["storage"]["state"] == "ok"
    });
    assert!(world.log().contains("goes on alone"));
    assert_eq!(world.ask(&world.http(HOSTS[0], "/")).status, 200);
}

#[test]
fn a_storage_that_cannot_be_is_refused_at_the_start_and_by_check() {
    let dir = tempfile::tempdir().unwrap();
    let torn = dir.path().join("torn");
    fs::write(&torn, "not a state file").unwrap();
    let empty = dir.path().join("empty");
    fs::write(&empty, "").unwrap();
    for (storage, says) in [
        (
            format!("redb:{}", torn.display()),
            "not a state file of remora",
        ),
        (
            format!("redb:{}", empty.display()),
            "empty: it is empty, and so not a state file of remora; move it away",
        ),
        (
            "redis://user:s3cret@127.0.0.1:1/abc".into(),
            "`storage`: what stands behind the host is not the number of a database",
        ),
        (
            "redis://user:s3cret@h:port".into(),
            "`storage`: accepted: redis://",
        ),
        (
            "postgres://user:s3cret@h".into(),
            "`storage` is `postgres`; accepted: memory",
        ),
    ] {
        let config = dir.path().join("remora.toml");
        let text = format!(
            "listen = \"127.0.0.1:{}\"\nstorage = \"{storage}\"\n[[proxy]]\nurl = \"http://192.0.2.1:1\"\n",
            free_port()
        );
        fs::write(&config, text).unwrap();
        for command in ["check", "serve"] {
            let mut remora = remora();
            let output = remora.args([command, "--config"]).arg(&config).output();
            let output = output.unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(
                !output.status.success() && said.contains(says),
                "{storage}: {said}"
            );
            assert!(!said.contains("s3cret"), "{said}");
        }
    }
    assert_eq!(fs::read_to_string(&torn).unwrap(), "not a state file");
}
