//! What `remora envoy` writes, and what it and the filter refuse.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::egress::{ALONE, Egress, envoy};
use crate::parts::until;
use crate::world::{HOSTS, PASSWORD, USER, remora, sticky};

/// A file with a field in every table.
const FULL: &str = r#"
listen = "127.0.0.1:18080"
admin = "127.0.0.1:19090"
[sticky]
mode = "domain"
ttl = "10m"
scope = "site"
idle = "5m"
max_requests = 100
on_bad = "strict"
max_sessions = 1000
avoid_blocked_for = "1m"
[[sticky.override]]
match = "*.example.com"
ttl = "1m"
[rotation]
strategy = "weighted"
[breaker]
open_threshold = 3
half_open_after = "5s"
growth = 2
max_half_open_after = "1m"
[outcome]
failure_statuses = [502, 504]
blocked_statuses = [403]
[[outcome.override]]
match = "shop.example"
blocked_statuses = [503]
[retry]
attempts = 1
[timeouts]
connect = "2s"
head = "20s"
[client]
session_header = "x-session-id"
[[proxy]]
url = "http://user:pass@127.0.0.1:1"
weight = 2
tags = ["a"]
[[proxy]]
url = "https://user:pass@localhost:2"
"#;

const SMALL: &str = "listen = \"127.0.0.1:18080\"\n[sticky]\nmode = \"domain\"\nttl = \"10m\"\n[breaker]\nopen_threshold = 5\n[[proxy]]\nurl = \"http://127.0.0.1:1\"\n";

fn generate(dir: &Path, text: &str, more: &[&str]) -> Output {
    let config = dir.join("remora.toml");
    fs::write(&config, text).unwrap();
    let mut command = remora();
    command
        .current_dir(dir)
        .arg("envoy")
        .arg("--config")
        .arg(config);
    command.args(more).output().unwrap()
}

/// The printed bootstrap, in a file.
fn printed(dir: &Path, text: &str) -> String {
    let made = generate(dir, text, &[]);
    assert!(made.status.success(), "{made:?}");
    String::from_utf8(made.stdout).unwrap()
}

fn validate(bootstrap: &Path) -> Output {
    let mut command: Command = envoy(bootstrap);
    command.args(ALONE).args(["--mode", "validate"]);
    command.output().unwrap()
}

/// The end of a log: it begins with all that is built in.
fn last(log: &str) -> &str {
    log.get(log.len().saturating_sub(3_000)..).unwrap_or(log)
}

#[test]
fn envoy_accepts_what_is_printed_and_what_is_written() {
    let dir = tempfile::tempdir().unwrap();
    for text in [FULL, SMALL] {
        let bootstrap = dir.path().join("printed.yaml");
        fs::write(&bootstrap, printed(dir.path(), text)).unwrap();
        let valid = validate(&bootstrap);
        assert!(valid.status.success(), "{valid:?}");
        let made = generate(dir.path(), text, &["--dir", "files"]);
        assert!(made.status.success(), "{made:?}");
        let valid = validate(&dir.path().join("files/bootstrap.yaml"));
        assert!(valid.status.success(), "{valid:?}");
    }
}

/// Each with a value of its own: none can stand in another's place.
#[test]
fn timeouts_retries_and_limits_are_those_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let text = FULL.replace(
        "connect = \"2s\"\nhead = \"20s\"\n",
        "connect = \"2s\"\nhead = \"20s\"\nidle = \"40s\"\nclient = \"30s\"\n[limits]\nmax_connections = 77\nmax_header_bytes = 20480\n",
    );
    let all: Value = serde_yaml_ng::from_str(&printed(dir.path(), &text)).unwrap();
    let cluster = &all["static_resources"]["clusters"][0];
    assert_eq!(cluster["connect_timeout"], "2.000000s");
    for most in [
        "max_connections",
        "max_requests",
        "max_pending_requests",
        "max_retries",
    ] {
        assert_eq!(
            cluster["circuit_breakers"]["thresholds"][0][most], 77,
            "{most}"
        );
    }
    let listener = &all["static_resources"]["listeners"][0];
    let manager = &listener["filter_chains"][0]["filters"][0]["typed_config"];
    assert_eq!(manager["stream_idle_timeout"], "40.000000s");
    assert_eq!(manager["request_headers_timeout"], "30.000000s");
    assert_eq!(manager["max_request_headers_kb"], 20);
    let hosts = manager["route_config"]["virtual_hosts"].as_array().unwrap();
    let names: Vec<&Value> = hosts.iter().map(|host| &host["domains"][0]).collect();
    assert_eq!(names, ["shop.example", "*"]);
    for host in hosts {
        let [connect, twice, once] = [0, 1, 2].map(|i| &host["routes"][i]["route"]);
        for route in [connect, twice, once] {
            assert_eq!(route["timeout"], "0s");
            assert_eq!(route["retry_policy"]["num_retries"], 1);
        }
        let limit = |route: &Value| route["retry_policy"]["per_try_timeout"].clone();
        assert_eq!(limit(connect), Value::Null);
        assert_eq!(
            (limit(twice), limit(once)),
            ("20.000000s".into(), "20.000000s".into())
        );
        let again = |route: &Value| route["retry_policy"]["retriable_status_codes"].clone();
        assert_eq!(again(twice), json!([407, 502, 504]));
        assert_eq!(again(once), Value::Null);
        // A refused tunnel, whatever the lists say.
        let refused: Vec<u16> = serde_json::from_value(again(connect)).unwrap();
        assert_eq!(refused, (300..600).collect::<Vec<u16>>());
    }
    let filter = &manager["http_filters"][1]["typed_config"]["config"];
    let own: Value =
        serde_json::from_str(filter["configuration"]["value"].as_str().unwrap()).unwrap();
    assert_eq!(own["timeouts"], json!({"connect": "2s"}));
    assert_eq!(own["retry"], json!({"attempts": 1}));
    assert_eq!(own["breaker"]["half_open_after"], "5s");
    assert_eq!(own["breaker"]["max_half_open_after"], "1m");
    assert_eq!(own["sticky"]["ttl"], "10m");
    assert_eq!(own["sticky"]["idle"], "5m");
    assert_eq!(own["sticky"]["avoid_blocked_for"], "1m");
    assert_eq!(own["proxy"][0].get("tags"), None, "no request asks for any");
}

#[test]
fn envoy_refuses_a_wrong_filter_configuration_in_one_line_that_names_the_field() {
    let dir = tempfile::tempdir().unwrap();
    let good = printed(dir.path(), SMALL);
    for (right, wrong, says) in [
        (
            r#""ttl": "10m""#,
            r#""ttl": "10 lightyears""#,
            "`sticky.ttl`: \"10 lightyears\" is not a length of time",
        ),
        (r#""ttl": "10m""#, r#""tll": "10m""#, "unknown field `tll`"),
        (
            r#""open_threshold": 5"#,
            r#""open_threshold": 0"#,
            "breaker.open_threshold",
        ),
        (
            r#""url": "http://127.0.0.1:1""#,
            r#""url": "socks5://127.0.0.1:1""#,
            "Envoy cannot dial SOCKS5 upstreams",
        ),
        (
            r#""url": "http://127.0.0.1:1""#,
            r#""url": "http://u:s3cret@127.0.0.1:1""#,
            "a URL without user and password",
        ),
    ] {
        assert!(good.contains(right), "no {right} in {good}");
        let bootstrap = dir.path().join("wrong.yaml");
        fs::write(&bootstrap, good.replace(right, wrong)).unwrap();
        let mut run = envoy(&bootstrap);
        run.args(ALONE);
        let mut bounded = Command::new("timeout");
        bounded
            .arg("60")
            .arg(run.get_program())
            .args(run.get_args());
        let refused = bounded.output().unwrap();
        assert_eq!(refused.status.code(), Some(1), "{wrong}: Envoy runs");
        let log = String::from_utf8(refused.stderr).unwrap();
        let mut lines = log
            .lines()
            .filter(|line| line.contains("remora: configuration: "));
        let line = lines
            .next()
            .unwrap_or_else(|| panic!("{wrong}: {}", last(&log)));
        assert!(line.contains(says), "{line}");
        assert!(!log.contains("s3cret"), "{log}");
    }
}

#[test]
fn what_envoy_cannot_do_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let proxy = |url: &str| format!("{SMALL}[[proxy]]\nurl = \"{url}\"\n");
    for (text, says) in [
        (
            proxy("socks5://user:s3cret@127.0.0.1:3"),
            "Envoy cannot dial SOCKS5",
        ),
        (
            proxy("http://u-{session}:s3cret@127.0.0.1:3"),
            "without `{…}`",
        ),
        (
            proxy("http://other:s3cret@127.0.0.1:1"),
            "Envoy knows proxies by their address",
        ),
        (
            format!("{SMALL}[[user]]\nname = \"a\"\npassword = \"s3cret-Passw0rd\"\n"),
            "`user[0].name`",
        ),
        (format!("{SMALL}weight = 0\n"), "`proxy[0].weight`"),
        (
            format!("storage = \"redis://127.0.0.1\"\n{SMALL}"),
            "Envoy keeps sessions in its own",
        ),
        (
            format!("storage = \"redb:state\"\n{SMALL}"),
            "Envoy keeps sessions in its own",
        ),
        (
            format!("record = \"r\"\n{SMALL}"),
            "a filter cannot write files",
        ),
        (
            format!("{SMALL}[retry]\nblocked = true\n"),
            "`retry.blocked`",
        ),
        (
            format!("{SMALL}[envoy]\nlisten = \"0.0.0.0:18080\"\n"),
            "does not ask clients who they are",
        ),
        (
            SMALL.replace("127.0.0.1:18080", "0.0.0.0:18080"),
            "does not ask clients who they are",
        ),
        (
            format!("admin = \"127.0.0.1:19901\"\nadmin_token = \"s3cret-token\"\n{SMALL}"),
            "asks nobody for a token",
        ),
        (
            format!("{SMALL}[envoy]\nadmin = \"127.0.0.1:18080\"\n"),
            "another address than Envoy listens on",
        ),
    ] {
        let refused = generate(dir.path(), &text, &[]);
        assert!(!refused.status.success(), "{text}");
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(said.contains(says), "{said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
}

#[test]
fn passwords_are_in_the_endpoints_and_nowhere_else() {
    let mut egress = Egress::new(2, &sticky("10m", ""));
    let bound = egress.exit(HOSTS[0]);
    egress.exit_of(&bound).kill();
    egress.exit(HOSTS[0]);
    let files = egress.dir.path().join("envoy");
    let log = egress.log();
    for last in ["11", "12"] {
        let plain = format!("{PASSWORD}-{last}");
        let coded = STANDARD.encode(format!("{USER}:{plain}"));
        let holds = |text: &str| text.contains(&plain) || text.contains(&coded);
        let file = |name: &str| {
            let bytes = fs::read(files.join(name)).unwrap();
            holds(&String::from_utf8_lossy(&bytes))
        };
        assert!(file("endpoints.yaml"));
        for name in ["filter.yaml", "bootstrap.yaml", "remora_envoy.wasm"] {
            assert!(!file(name), "{name}");
        }
        assert!(!holds(&log), "{log}");
    }
}

/// Envoy's dump of its configuration has what is in the endpoints, and its admin interface asks nobody who they are.
#[test]
fn the_admin_interface_tells_no_password() {
    let egress = Egress::new(1, "");
    egress.exit(HOSTS[0]);
    let secret = STANDARD.encode(format!("{USER}:{PASSWORD}-11"));
    for path in ["/config_dump", "/config_dump?include_eds", "/logging", "/"] {
        let answer = egress.admin(path);
        assert!(answer.contains("not allowed"), "{path}: {answer}");
    }
    for path in ["/clusters?format=json", "/listeners", "/stats", "/ready"] {
        let answer = egress.admin(path);
        assert!(!answer.contains("not allowed"), "{path}: {answer}");
        assert!(!answer.contains(&secret), "{path}");
    }
}

const WRONG: (&str, &str) = ("\"ttl\": \"10m\"", "\"tll\": \"10m\"");

/// In a directory, unlike in a bootstrap, Envoy asks for the filter's configuration when it runs already.
#[test]
fn a_wrong_filter_configuration_in_a_directory_sends_nothing_past_the_filter() {
    let mut egress = Egress::new(1, &sticky("10m", ""));
    egress.edit("filter.yaml", |text| {
        assert!(text.contains(WRONG.0), "{text}");
        text.replace(WRONG.0, WRONG.1)
    });
    egress.crash();
    let log = fs::read_to_string(egress.dir.path().join("envoy-2.log")).unwrap();
    assert!(
        log.contains("remora: configuration: `sticky.tll`: unknown field `tll`"),
        "{log}"
    );
    let answer = egress.ask(&egress.http(HOSTS[0], "/"), &[]);
    assert_eq!((answer.status, &*answer.body), (500, ""), "{answer:?}");
    assert_eq!(egress.stat("cluster.remora.upstream_rq_total"), 0);
    // The next good one is taken up.
    egress.edit("filter.yaml", |text| text.replace(WRONG.1, WRONG.0));
    until("it serves", || {
        egress.ask(&egress.http(HOSTS[0], "/"), &[]).status == 200
    });
}

#[test]
fn a_wrong_filter_configuration_in_a_directory_of_a_running_envoy_changes_nothing() {
    let egress = Egress::new(2, &sticky("10m", ""));
    let before = egress.exit(HOSTS[0]);
    egress.edit("filter.yaml", |text| text.replace(WRONG.0, WRONG.1));
    until("it is refused", || {
        egress.log().contains("unknown field `tll`")
    });
    for _ in 0..10 {
        assert_eq!(egress.exit(HOSTS[0]), before);
    }
}

#[test]
fn another_module_is_taken_up_by_a_running_envoy() {
    let trapping = remora_artifacts::TRAPPING_ENVOY_FILTER;
    let egress = Egress::with_module(1, &sticky("10m", ""), trapping);
    let traps = || egress.log().matches("asked to trap").count();
    until("it is the other module", || {
        egress.ask("http://trap.example/", &[]);
        traps() > 0
    });
    // The same configuration by another version of remora: but for the module nothing is new.
    egress.rewrite(str::to_owned);
    until("it is the right one", || {
        let before = traps();
        for _ in 0..10 {
            egress.ask("http://trap.example/", &[]);
        }
        traps() == before
    });
}

#[test]
fn only_the_owner_reads_the_endpoints() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let made = generate(dir.path(), FULL, &["--dir", "files"]);
    assert!(made.status.success(), "{made:?}");
    let endpoints = fs::metadata(dir.path().join("files/endpoints.yaml")).unwrap();
    assert_eq!(endpoints.permissions().mode() & 0o777, 0o600);
}
