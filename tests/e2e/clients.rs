//! What clients say about themselves.

use std::collections::HashSet;
use std::process::Command;

use crate::parts::Answer;
use crate::world::{HOSTS, World, sticky};

const USERS: &str = "[[user]]\nname = \"alice\"\npassword = \"alices-s3cret\"\n\
                     [[user]]\nname = \"bob\"\npassword = \"bobs-s3cret\"\n";

fn exit_as(world: &World, user: &str, url: &str) -> String {
    let answer = Answer::read(world.curl_as(user, url).output().unwrap());
    assert_eq!(answer.status, 200, "{user}: {answer:?}");
    answer.body
}

#[test]
fn a_client_names_its_session_in_the_user_name() {
    let world = World::new(3, &sticky("10m", ""));
    let mut exits = HashSet::new();
    for id in ["a", "b", "c"] {
        let user = format!("anybody-session-{id}:x");
        let exit = exit_as(&world, &user, &world.http(HOSTS[0], "/"));
        for _ in 0..2 {
            assert_eq!(exit_as(&world, &user, &world.https(HOSTS[0], "/")), exit);
        }
        exits.insert(exit);
    }
    assert_eq!(exits.len(), 3, "three sessions of one host, in turn");
    assert!(
        world
            .admin("/sessions")
            .1
            .contains(&format!("{}#a", HOSTS[0]))
    );
}

#[test]
fn a_session_alone_is_the_key_where_the_scope_says_so() {
    let world = World::new(3, &sticky("10m", "scope = \"session\""));
    let exits: HashSet<String> = HOSTS[..4]
        .iter()
        .map(|host| exit_as(&world, "u-session-7:x", &world.http(host, "/")))
        .collect();
    assert_eq!(exits.len(), 1, "one exit for all the session's hosts");
    let loose: HashSet<String> = (0..3).map(|_| world.exit(HOSTS[0])).collect();
    assert_eq!(loose.len(), 3, "without a session every request rotates");
}

#[test]
fn a_client_says_how_long_its_session_lasts() {
    let world = World::new(1, &sticky("10m", ""));
    exit_as(
        &world,
        "u-session-long-sesstime-90:x",
        &world.http(HOSTS[0], "/"),
    );
    let sessions: Vec<serde_json::Value> =
        serde_json::from_str(&world.admin("/sessions").1).unwrap();
    let at = |field: &str| humantime::parse_rfc3339(sessions[0][field].as_str().unwrap()).unwrap();
    let lasts = at("expires_at").duration_since(at("bound_at")).unwrap();
    assert_eq!(lasts.as_secs(), 90 * 60);
}

#[test]
fn a_client_asks_for_tags() {
    let world = World::new(2, &sticky("10m", ""));
    let text = std::fs::read_to_string(world.config()).unwrap();
    std::fs::write(world.config(), text + "\ntags = [\"de\", \"mobile\"]\n").unwrap();
    world.remora.signal("-HUP");
    crate::parts::until("it has been read", || world.log().contains("read again"));
    for host in &HOSTS[..4] {
        let exit = exit_as(&world, "u-tag-de-tag-mobile:x", &world.http(host, "/"));
        assert_eq!(exit, "127.0.0.12");
    }
    let none = world
        .curl_as("u-tag-fr:x", &world.http(HOSTS[0], "/"))
        .output();
    let none = Answer::read(none.unwrap());
    assert_eq!(none.status, 503, "{none:?}");
    assert!(none.body.contains("carries the tags"), "{none:?}");
}

#[test]
fn only_known_clients_are_heard_where_there_are_users() {
    let world = World::new(2, &sticky("10m", USERS));
    let url = world.http(HOSTS[0], "/");
    for user in [
        "alice:wrong",
        "bob:alices-s3cret",
        "carol:",
        "alice-session-1:wrong",
    ] {
        let answer = Answer::read(world.curl_as(user, &url).output().unwrap());
        assert_eq!(answer.status, 407, "{user}: {answer:?}");
        assert!(
            answer
                .header("proxy-authenticate")
                .starts_with("Basic realm=")
        );
        assert!(
            answer
                .header("proxy-status")
                .contains("http_request_denied")
        );
    }
    assert_eq!(world.ask(&url).status, 407);
    let refused = world
        .curl(&world.https(HOSTS[0], "/"), &[])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("407"));
    exit_as(&world, "alice:alices-s3cret", &url);
    exit_as(&world, "alice-session-9:alices-s3cret", &url);
    exit_as(
        &world,
        "bob-session-9:bobs-s3cret",
        &world.https(HOSTS[0], "/"),
    );
    let sessions = world.admin("/sessions").1;
    assert!(
        sessions.contains("#alice/9") && sessions.contains("#bob/9"),
        "{sessions}"
    );
    assert!(!world.log().contains("s3cret"), "{}", world.log());
}

#[test]
fn a_malformed_wish_is_a_400_that_says_what_is_wrong() {
    let world = World::new(1, &sticky("10m", ""));
    for (user, line) in [
        ("u-session-x-sesstime-soon:x", "not a number of minutes"),
        ("u-session-:x", "nothing stands behind"),
        ("u-session-a%20b:x", "invalid session key"),
    ] {
        let answer = world.curl_as(user, &world.http(HOSTS[0], "/")).output();
        let answer = Answer::read(answer.unwrap());
        assert!(
            answer.status == 400 && answer.body.contains(line),
            "{answer:?}"
        );
    }
}

#[test]
fn a_session_header_is_heard_and_not_passed_on() {
    let world = World::new(3, &sticky("10m", "[client]\nsession_header = \"x-hop\""));
    let ask = |id: &str, path: &str| {
        let url = world.http(HOSTS[0], path);
        let header = format!("x-hop: {id}");
        Answer::read(world.curl(&url, &["-H", &header]).output().unwrap()).body
    };
    assert_ne!(ask("1", "/"), ask("2", "/"));
    assert_eq!(ask("1", "/"), ask("1", "/"));
    // The origin answers with the header it sees: none.
    assert!(ask("1", "/headers").starts_with("[] "));
}

/// A client library that keeps its connections to the gateway, over targets of different keys.
#[test]
fn a_pooling_client_library_never_mixes_sessions() {
    let world = World::new(3, &sticky("10m", ""));
    let exits: Vec<String> = HOSTS[..3].iter().map(|host| world.exit(host)).collect();
    let script = r#"
import sys, concurrent.futures, requests
proxy, cert, *urls = sys.argv[1:]
session = requests.Session()
session.trust_env = False
session.verify = cert
session.proxies = {"http": proxy, "https": proxy}
session.mount("http://", requests.adapters.HTTPAdapter(pool_connections=2, pool_maxsize=4))
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    answers = pool.map(lambda url: session.get(url, timeout=60).text.strip(), urls * 20)
    print("\n".join(answers))
"#;
    let urls: Vec<String> = (0..6)
        .map(|i| match i / 3 {
            0 => world.http(HOSTS[i % 3], "/"),
            _ => world.https(HOSTS[i % 3], "/"),
        })
        .collect();
    let output = Command::new("/usr/bin/python3")
        .args(["-c", script, &format!("http://127.0.0.1:{}", world.gateway)])
        .arg(world.dir.path().join("cert.pem"))
        .args(&urls)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let answers: Vec<&str> = said.lines().collect();
    assert_eq!(answers.len(), 120, "{output:?}");
    for (i, answer) in answers.iter().enumerate() {
        assert_eq!(*answer, exits[i % 3]);
    }
}
