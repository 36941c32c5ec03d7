//! Many tenants behind one gateway, each with its own users, exits and limits.

mod changes;
mod client;
mod files;
mod limits;
mod many;
mod operators;
mod plugins;
mod siege;
mod start;
mod state;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::exits::{Exit, Kind};
use crate::parts::Answer;
use crate::world::{HOSTS, PASSWORD, World, remora, sticky};

/// What the clients show.
const SECRET: &str = "cl1ents-s3cret";

/// What `remora hash-password` makes of it; once, since it is slow on purpose.
fn hash() -> &'static str {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| hash_of(SECRET))
}

fn hash_of(password: &str) -> String {
    let mut command = remora();
    let command = command.arg("hash-password").stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, format!("{password}\n").as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    let hash = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    assert!(hash.starts_with("$argon2id$"), "{hash}");
    hash
}

/// The file of a tenant with one user and some exits.
fn tenant(user: &str, exits: &[Exit], more: &str) -> String {
    let entries: Vec<String> = exits.iter().map(|exit| exit.entry(PASSWORD)).collect();
    let hash = hash();
    format!(
        "{more}\n[[user]]\nname = \"{user}\"\npassword_hash = \"{hash}\"\n{}\n",
        entries.join("\n")
    )
}

/// A gateway whose tenants stand in a directory: their files, made when the exits are there.
fn directory(exits: usize, fields: &str, files: impl FnOnce(&Path, &[Exit])) -> World {
    World::start(&vec![Kind::Tinyproxy; exits], |dir, exits| {
        let place = dir.join("tenants.d");
        fs::create_dir(&place).unwrap();
        files(&place, exits);
        (format!("tenants = {place:?}\n{fields}"), String::new())
    })
}

fn write(place: &Path, name: &str, text: &str) {
    // As careful programs do it: a reader sees all of it or nothing.
    let partly = place.join(format!(".{name}"));
    fs::write(&partly, text).unwrap();
    fs::rename(partly, place.join(format!("{name}.toml"))).unwrap();
}

impl World {
    fn place(&self) -> PathBuf {
        self.dir.path().join("tenants.d")
    }

    fn ask_as(&self, user: &str, url: &str) -> Answer {
        let user = format!("{user}:{SECRET}");
        Answer::read(self.curl_as(&user, url).output().unwrap())
    }

    /// The exit that a tenant's user leaves through; the request has to succeed.
    fn exit_as(&self, user: &str, host: &str) -> String {
        let answer = self.ask_as(user, &self.http(host, "/"));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// What `/tenants` says of one.
    fn tenant(&self, name: &str) -> Value {
        let all: Value = serde_json::from_str(&self.admin("/tenants").1).unwrap();
        let rows = all.as_array().unwrap().iter();
        rows.clone()
            .find(|row| row["name"] == name)
            .cloned()
            .unwrap_or_default()
    }

    /// A download that takes about four seconds, or a tunnel with one in it.
    fn download(&self, user: &str, url: &str) -> Child {
        let mut command = self.curl_as(&format!("{user}:{SECRET}"), url);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null());
        child.spawn().unwrap()
    }
}

/// The last of all that a client has got is the status.
fn end(download: Child) -> (u16, usize) {
    let output = download.wait_with_output().unwrap();
    let length = output.stdout.len();
    (Answer::read(output).status, length)
}

#[test]
fn each_tenant_has_its_own_users_and_leaves_through_its_own_exits() {
    let mut world = directory(4, "", |place, exits| {
        write(
            place,
            "a",
            &tenant("alice", &exits[..2], &sticky("10m", "")),
        );
        write(
            place,
            "b-2_x",
            &tenant("bob", &exits[2..], &sticky("10m", "")),
        );
    });
    let (a, b) = (["127.0.0.11", "127.0.0.12"], ["127.0.0.13", "127.0.0.14"]);
    for host in &HOSTS[..4] {
        let (alices, bobs) = (world.exit_as("alice", host), world.exit_as("bob", host));
        assert!(
            a.contains(&&*alices) && b.contains(&&*bobs),
            "{alices} {bobs}"
        );
        assert_eq!(world.exit_as("alice", host), alices);
        assert_eq!(world.ask_as("bob", &world.https(host, "/")).body, bobs);
    }
    // Two sessions of one user, as the user name says.
    let named: Vec<String> = ["1", "2"]
        .map(|id| world.exit_as(&format!("alice-session-{id}"), HOSTS[8]))
        .into();
    assert_ne!(named[0], named[1]);
    let url = world.http(HOSTS[0], "/");
    for user in [
        "alice:wrong",
        "bob:wrong-too",
        "nobody:cl1ents-s3cret",
        "alice:",
        "a:cl1ents-s3cret",
    ] {
        let answer = Answer::read(world.curl_as(user, &url).output().unwrap());
        assert_eq!(answer.status, 407, "{user}");
        assert_eq!(
            answer.header("proxy-authenticate"),
            "Basic realm=\"remora\", charset=\"UTF-8\""
        );
    }
    assert_eq!(world.ask(&url).status, 407);

    // What an operator sees.
    let row = world.tenant("a");
    assert_eq!((&row["proxies"], &row["healthy"]), (&2.into(), &2.into()));
    assert_eq!((&row["sessions"], &row["error"]), (&6.into(), &Value::Null));
    let sessions = world.admin("/tenants/b-2_x/sessions").1;
    assert!(
        sessions.contains(HOSTS[0]) && !sessions.contains("alice"),
        "{sessions}"
    );
    assert!(world.admin("/tenants/a/sessions").1.contains("#alice/1"));
    let table = world.says(&["tenants"]);
    assert!(
        table.contains("built in") && table.contains(" b-2_x "),
        "{table}"
    );
    assert!(
        world
            .says(&["proxies", "--tenant", "b-2_x"])
            .matches("available")
            .count()
            == 2
    );
    let stats: Value =
        serde_json::from_str(&world.says(&["stats", "--tenant", "a", "--json"])).unwrap();
    assert_eq!(stats["active_sessions"], 6);
    for (path, status) in [
        ("/stats", 404),
        ("/tenants/c/stats", 404),
        ("/tenants/b%2D2%5Fx/stats", 200),
        ("/tenants/a/metrics", 404),
        ("/tenants/a/healthz", 200),
        ("/healthz", 200),
    ] {
        assert_eq!(world.admin(path).0, status, "{path}");
    }
    let metrics = world.admin("/metrics").1;
    for line in [
        "remora_acquires_total{tenant=\"a\",result=\"bound\"} 6",
        "remora_proxies{tenant=\"b-2_x\",state=\"healthy\"} 2",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line} is not in\n{metrics}"
        );
    }

    // What nobody sees.
    world.remora.terminate();
    assert!(world.remora.wait().success());
    let log = world.log();
    assert!(
        log.contains("tenant=\"a\"") && log.contains("tenant=\"b-2_x\""),
        "{log}"
    );
    let (_, salt_and_hash) = hash().rsplit_once("p=1$").unwrap();
    for text in [log, metrics, table, sessions] {
        for secret in [SECRET, PASSWORD, salt_and_hash] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
