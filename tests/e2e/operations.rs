//! What an operator sees and does.

use std::fs;
use std::io::BufReader;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use base64::Engine as _;
use remora_host::Plugin;
use remora_host::trace::{Component, Native, replay};
use remora_test_support::ports::free_port;

use crate::endless::endless;
use crate::parts::{Process, until, until_it_hears};
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
        log.contains("outcome=\"success\"") && log.contains("outcome=\"failure\""),
        "{log}"
    );
    let asked = ["/stats", "/sessions", "/proxies", "/metrics", "/healthz"].map(|path| {
        let (status, body) = world.admin(path);
        assert_eq!(status, 200, "{path}: {body}");
        body
    });
    let shown = [log, asked.concat()];
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
    let module = dir.path().join("module.wasm");
    fs::write(&module, b"\0asm\x01\0\0\0").unwrap();
    let text = dir.path().join("text.wasm");
    fs::write(&text, "a letter").unwrap();
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
            "[[proxy]]\nurl = \"ftp://127.0.0.1:1\"\n".into(),
            "remora.toml: `proxy[0].url` is `ftp://127.0.0.1:1/`; accepted: a URL that begins with http://",
        ),
        (
            format!("{proxy}exits = 3\n"),
            "remora.toml: `proxy[0].exits` is `3`; accepted: left out, unless the user name",
        ),
        (
            format!("{proxy}[retry]\nattempts = 99\n"),
            "remora.toml: `retry.attempts` is `99`; accepted: 0 to 10",
        ),
        (
            format!("{proxy}[outcome]\nblocked_statuses = [503]\n"),
            "remora.toml: `outcome.blocked_statuses` is `503`; accepted: each status in one of",
        ),
        (
            format!("{proxy}[[user]]\nname = \"a-session-b\"\npassword = \"{PASSWORD}\"\n"),
            "remora.toml: `user[0].name` is `a-session-b`; accepted: a name without `-session-`",
        ),
        (
            format!("listen = \"0.0.0.0:8080\"\n{proxy}[[user]]\nname = \"a\"\npassword = \"\"\n"),
            "remora.toml: `user[0].password` is `empty`; accepted: at least a character",
        ),
        (
            format!("admin = \"0.0.0.0:9090\"\n{proxy}"),
            "remora.toml: `admin` is `0.0.0.0:9090`; accepted: an address of this machine only",
        ),
        (
            format!("listen = \"127.0.0.1:8080\"\nadmin = \"127.0.0.1:8080\"\n{proxy}"),
            "remora.toml: `admin` is `127.0.0.1:8080`; accepted: an address of its own",
        ),
        (
            format!("{proxy}[log]\nlevel = \"inf\"\n"),
            "remora.toml: `log.level` is `inf`; accepted: error, warn, info",
        ),
        (
            format!("{proxy}[log]\nlevel = \"warn, remora\"\n"),
            "remora.toml: `log.level` is `warn, remora`; accepted: error, warn, info",
        ),
        (
            format!("{proxy}[sticky]\nttl = \"400d\"\n"),
            "remora.toml: `sticky.ttl` is `400d`; accepted: up to 366 days",
        ),
        (
            format!("{proxy}[sticky]\nmode = \"disabled\"\nttl = \"400d\"\n"),
            "remora.toml: `sticky.ttl` is `400d`; accepted: up to 366 days",
        ),
        (
            format!(
                "{proxy}[[sticky.override]]\nmatch = \"a.example\"\nmode = \"disabled\"\nttl = \"367d\"\n"
            ),
            "remora.toml: `sticky.override[0].ttl` is `367d`; accepted: up to 366 days",
        ),
        (
            format!("{proxy}[outcome]\nfailure_statuses = [403]\n"),
            "remora.toml: `outcome.failure_statuses` is `403`; accepted: each status in one list: this one is also in \
             `blocked_statuses`, which is [403, 429] by default",
        ),
        (
            format!("storage = \"redb:state.redb?durabilty=immediate\"\n{proxy}"),
            "remora.toml: `storage` is `redb:…?durabilty=immediate`; accepted: `?durability=relaxed`",
        ),
        (
            format!("storage = \"redb:/\"\n{proxy}"),
            "remora.toml: `storage`: cannot use /: it is a directory",
        ),
        (
            format!("storage = \"redb:/nowhere/state.redb\"\n{proxy}"),
            "remora.toml: `storage`: cannot use /nowhere/state.redb: there is no directory /nowhere",
        ),
        (
            format!("record = \"/nowhere/trace.jsonl\"\n{proxy}"),
            "remora.toml: `record`: cannot use /nowhere/trace.jsonl: there is no directory /nowhere",
        ),
        (
            format!("plugin = \"/nowhere/p.wasm\"\n{proxy}"),
            "remora.toml: `plugin`: cannot use /nowhere/p.wasm: No such file",
        ),
        (
            format!("plugin = {module:?}\n{proxy}"),
            "module.wasm: it is a core module, not a component; `wasm-tools component new` makes one",
        ),
        (
            format!("plugin = {text:?}\n{proxy}"),
            "text.wasm: not a WebAssembly component",
        ),
        (
            format!("{proxy}[log]\nlevel = \"remora=loud\"\n"),
            "remora.toml: `log.level` is `remora=loud`; accepted: error, warn, info",
        ),
        (
            format!("storage = \"redb:state.redb\"\nrecord = \"trace.jsonl\"\n{proxy}"),
            "remora.toml: `record` is `set`; accepted: only with `storage = \"memory\"`",
        ),
        (
            format!("{proxy}[tls]\nca = \"/nowhere/ca.pem\"\n"),
            "remora.toml: `tls.ca`: cannot use /nowhere/ca.pem: No such file",
        ),
        (
            format!("{proxy}weight = 0\n"),
            "remora.toml: `proxy[0].weight` is `0`; accepted: 1 to 65535",
        ),
        (
            format!("{proxy}[breaker]\nmax_half_open_after = \"10s\"\n"),
            "remora.toml: `breaker.max_half_open_after` is `10s`; accepted: at least `breaker.half_open_after`",
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
fn a_gateway_that_may_listens_for_others() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let path = dir.path().join("remora.toml");
    let text = format!(
        "listen = \"0.0.0.0:{port}\"\nallow_remote = true\n[[proxy]]\nurl = \"http://127.0.0.1:1\"\n"
    );
    fs::write(&path, text).unwrap();
    let mut command = remora();
    command.arg("serve").arg("--config").arg(&path);
    let _serving = Process::start(&mut command, &dir.path().join("log"), port);
}

#[test]
fn who_stops_reading_has_read_enough() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../remora.example.toml");
    let world = World::new(1, "");
    let config = world.config().display().to_string();
    for arguments in [
        ["check", "--config", example],
        ["stats", "--config", &config],
        ["proxies", "--config", &config],
        ["envoy", "--config", example],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = remora();
        let command = command.args(arguments).current_dir(world.dir.path());
        let output = command.stdout(writer).stderr(Stdio::piped());
        let output = output.spawn().unwrap().wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn a_ttl_alone_makes_targets_stick() {
    let world = World::new(2, "[sticky]\nttl = \"10m\"\n");
    assert_eq!(world.exit(HOSTS[0]), world.exit(HOSTS[0]));
    let said = world.says(&["check"]);
    assert!(said.contains("sticks to one proxy for 10m"), "{said}");
}

#[test]
fn check_says_that_a_plugin_decides() {
    let dir = tempfile::tempdir().unwrap();
    let plugin = remora_artifacts::PLUGIN_PATH;
    let path = dir.path().join("remora.toml");
    let text = format!("plugin = {plugin:?}\n[[proxy]]\nurl = \"http://127.0.0.1:1\"\n");
    fs::write(&path, text).unwrap();
    let mut command = remora();
    let output = command.args(["check", "--json", "--config"]).arg(&path);
    let said = output.output().unwrap().stdout;
    let checked: serde_json::Value = serde_json::from_slice(&said).unwrap();
    let who = checked["meaning"]["who decides"].as_str().unwrap();
    assert!(who.starts_with(&format!("`plugin`: {plugin}")), "{who}");
}

#[test]
fn what_is_refused_with_400_is_in_the_log_once_a_minute() {
    let world = World::new(1, "");
    for _ in 0..3 {
        let url = world.http(HOSTS[0], "/");
        let answer = world.curl_as("alice-session-:pw", &url).output().unwrap();
        assert_eq!(crate::parts::Answer::read(answer).status, 400);
    }
    let log = world.log();
    assert_eq!(log.matches("refused with 400").count(), 1, "{log}");
}

#[test]
fn envoys_configuration_comes_with_the_next_command() {
    let dir = tempfile::tempdir().unwrap();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../remora.example.toml");
    let mut command = remora();
    let command = command.args(["envoy", "--config", example, "--dir"]);
    let output = command.arg(dir.path()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let next = format!(
        "envoy --config-path {}/bootstrap.yaml",
        dir.path().display()
    );
    assert!(said.contains(&next), "{said}");
}

#[test]
fn the_end_of_a_stop_is_logged() {
    let mut world = World::new(1, "");
    world.remora.terminate();
    assert!(world.remora.wait().success());
    let log = world.log();
    assert!(log.contains("remora::cli::serve: stopped"), "{log}");
}

#[test]
fn an_interrupt_from_the_terminal_stops_it_as_well() {
    let mut world = World::new(1, "");
    world.remora.signal("-INT");
    assert_eq!(world.remora.wait().code(), Some(0));
    let log = world.log();
    assert!(log.contains("remora::cli::serve: stopped"), "{log}");
}

#[test]
fn signals_mean_the_same_while_it_starts() {
    let dir = tempfile::tempdir().unwrap();
    let plugin = dir.path().join("endless.wasm");
    fs::write(&plugin, endless()).unwrap();
    let config = dir.path().join("remora.toml");
    let text = format!(
        "listen = \"127.0.0.1:0\"\nplugin = {plugin:?}\n[[proxy]]\nurl = \"http://127.0.0.1:1\"\n"
    );
    fs::write(&config, text).unwrap();
    let mut serve = remora();
    let serve = serve.arg("serve").arg("--config").arg(&config);
    let mut child = serve.stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id().to_string();
    let send = |signal: &str| {
        let sent = Command::new("kill").args([signal, &pid]).status();
        assert!(sent.unwrap().success());
    };
    until_it_hears(&pid, 1);
    send("-HUP");
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none(), "it is still starting");
    send("-TERM");
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("before the first client"), "{said}");
}

#[test]
fn where_there_are_tenants_only_the_command_line_asks_whose_pool() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("tenants.d")).unwrap();
    let path = dir.path().join("remora.toml");
    fs::write(&path, "admin = \"127.0.0.1:1\"\ntenants = \"tenants.d\"\n").unwrap();
    for command in ["stats", "sessions", "proxies"] {
        let output = remora().args([command, "--config"]).arg(&path).output();
        let said = String::from_utf8(output.unwrap().stderr).unwrap();
        assert!(said.contains("--tenant NAME"), "{said}");
    }
}

/// Without a word of it in the file, a limit on open files is no reason for a warning.
#[test]
fn a_default_fits_itself_to_the_open_files_that_the_system_allows() {
    for (limits, said) in [
        ("", "room for 372 connections of clients"),
        (
            "[limits]\nmax_connections = 20000\n",
            "WARN remora::cli::serve: `limits.max_connections` wants 40256 open files, the system allows 1000",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let path = dir.path().join("remora.toml");
        let text = format!(
            "listen = \"127.0.0.1:{port}\"\n{limits}[[proxy]]\nurl = \"http://127.0.0.1:1\"\n"
        );
        fs::write(&path, text).unwrap();
        let mut command = Command::new("bash");
        let script = "ulimit -n 1000 && exec \"$0\" serve --config \"$1\"";
        command.args(["-c", script]).arg(remora().get_program());
        let log = dir.path().join("log");
        let _serving = Process::start(command.arg(&path), &log, port);
        let log = fs::read_to_string(&log).unwrap();
        assert!(log.contains(said), "{log}");
        assert_eq!(log.contains("WARN"), !limits.is_empty(), "{log}");
    }
}

#[test]
fn check_says_what_is_accepted_and_means_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("remora.toml");
    let checked = |text: &str| -> serde_json::Value {
        fs::write(
            &path,
            format!("{text}\n[[proxy]]\nurl = \"http://127.0.0.1:1\"\n"),
        )
        .unwrap();
        let mut command = remora();
        let output = command.args(["check", "--json", "--config"]).arg(&path);
        serde_json::from_slice(&output.output().unwrap().stdout).unwrap()
    };
    let nothing = [
        "on_storage_error = \"degrade\"",
        "admin_token = \"t0ken-t0ken\"",
        "[sticky]\nscope = \"session\"",
        "[sticky]\nmode = \"domain\"\nttl = \"0s\"",
        "[[sticky.override]]\nmatch = \"a.example\"\nmode = \"domain\"\nttl = \"0s\"",
    ];
    for (text, said) in nothing.into_iter().zip([
        "`on_storage_error`",
        "`admin_token`",
        "`sticky.scope",
        "`ttl` of zero",
        "`ttl` of zero",
    ]) {
        let notes = checked(text)["notes"].clone();
        let notes = notes.as_array().unwrap();
        assert_eq!(notes.len(), 1, "{text}: {notes:?}");
        assert!(notes[0].as_str().unwrap().contains(said), "{notes:?}");
    }
    let meaning = checked(nothing[3])["meaning"]["a target"].clone();
    assert!(meaning.as_str().unwrap().starts_with("does not stick"));
    let good = checked(
        "storage = \"redb:state.redb\"\non_storage_error = \"degrade\"\nadmin = \"127.0.0.1:1\"\n\
         admin_token = \"t0ken-t0ken\"\n[sticky]\nttl = \"5m\"",
    );
    assert_eq!(good["notes"], serde_json::json!([]));
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
fn a_record_outlives_a_crash_and_whoever_cannot_listen() {
    let dir = tempfile::tempdir().unwrap();
    let record = dir.path().join("trace.jsonl");
    let fields = format!("record = {:?}", record.display().to_string());
    let mut world = World::with(&fields, 1, &sticky("10m", ""), PASSWORD);
    world.exit(HOSTS[0]);
    let recorded = || fs::read_to_string(&record).unwrap();
    until("it is on record", || recorded().contains(HOSTS[0]));
    let mut second = remora();
    let second = second.arg("serve").arg("--config").arg(world.config());
    let output = second.output().unwrap();
    assert!(!output.status.success());
    world.exit(HOSTS[1]);
    until("it is on record", || recorded().contains(HOSTS[1]));
    world.remora.kill();
    let first = recorded();
    world.serve_again();
    world.exit(HOSTS[2]);
    world.remora.terminate();
    assert!(world.remora.wait().success());
    assert_eq!(recorded(), first);
    let mut files: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let next = dir.path().join("trace.2.jsonl");
    assert_eq!(files, [next.clone(), record]);
    assert!(world.log().contains("trace.2.jsonl"));
    for file in files {
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let read = BufReader::new(fs::File::open(&file).unwrap());
        replay(read, |seed| Ok(Native::new(seed))).unwrap();
    }
}

const TOKEN: &str = "t0ken-for-tests";

#[test]
fn an_operator_with_the_token_changes_the_pool_and_ends_sessions() {
    let mut world = World::with(
        &format!("admin_token = {TOKEN:?}"),
        2,
        &sticky("10m", ""),
        PASSWORD,
    );
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let path = format!("/sessions/{}", HOSTS[0]);
    let first = world.exit(HOSTS[0]);
    let url = format!("http://127.0.0.1:{}/stats", world.admin_port());
    let asked = |options: &[&str]| {
        let output = Command::new("curl")
            .args(["-sS", "-i", &url])
            .args(options)
            .output();
        String::from_utf8(output.unwrap().stdout)
            .unwrap()
            .to_lowercase()
    };
    assert!(asked(&["--head"]).starts_with("http/1.1 200"));
    assert!(asked(&["-X", "DELETE"]).contains("\r\nwww-authenticate: bearer"));
    for wrong in [&[][..], &["-H", "Authorization: Bearer wrong-token"]] {
        let options = [&["-X", "DELETE"], wrong].concat();
        assert_eq!(world.operate(&path, &options).0, 401);
        assert_eq!(
            world
                .operate("/proxies", &[&["-d", "{}"], wrong].concat())
                .0,
            401
        );
    }
    let delete = ["-X", "DELETE", "-H", &bearer];
    assert_eq!(world.operate(&path, &delete).0, 204);
    assert_eq!(world.operate(&path, &delete).0, 404);
    assert_ne!(world.exit(HOSTS[0]), first, "a fresh exit, in turn");

    // The second exit leaves the pool and comes back, with its password.
    let proxies: Vec<serde_json::Value> = serde_json::from_str(&world.admin("/proxies").1).unwrap();
    let gone = format!("/proxies/{}", proxies[1]["id"].as_str().unwrap());
    assert_eq!(world.operate(&gone, &delete).0, 204);
    assert_eq!(world.operate(&gone, &delete).0, 404);
    for host in &HOSTS[1..4] {
        assert_eq!(world.exit(host), "127.0.0.11");
    }
    let url = format!(
        "http://{}:{PASSWORD}@127.0.0.1:{}",
        crate::world::USER,
        world.exits[1].port
    );
    let body = serde_json::json!({ "url": url, "tags": ["back"] }).to_string();
    let (status, answer) = world.operate("/proxies", &["-d", &body, "-H", &bearer]);
    assert_eq!(status, 200, "{answer}");
    let seen: std::collections::HashSet<String> =
        HOSTS[4..6].iter().map(|host| world.exit(host)).collect();
    assert_eq!(seen.len(), 2);
    for (bad, line) in [
        (r#"{"url": "http://u:s3cret@h:1/x"}"#, "`proxy[0].url`"),
        (r#"{"url": 1}"#, "the body is not a proxy"),
        (
            r#"{"uri": "http://u:s3cret@h:1"}"#,
            "unknown field `uri`; did you mean `url`?",
        ),
        (
            r#"{"url": "http://u:s3cret@h:1", "wieght": 2}"#,
            "unknown field `wieght`; did you mean `weight`?",
        ),
        (r#"{"http://u:s3cret@h:1": 2}"#, "unknown field, expected"),
        (
            r#"{"url": "http://u:a/s3cret@h:1"}"#,
            "percent-encoded: `/` is `%2F`",
        ),
        (r#"{"url": "192.0.2.1:8080"}"#, "`http://`"),
    ] {
        let (status, answer) = world.operate("/proxies", &["-d", bad, "-H", &bearer]);
        assert!(status == 400 && answer.contains(line), "{answer}");
        assert!(!answer.contains("s3cret"), "{answer}");
    }
    world.remora.terminate();
    assert!(world.remora.wait().success());
    assert!(!world.log().contains(TOKEN) && !world.log().contains(PASSWORD));
}

#[test]
fn without_a_token_in_the_configuration_nobody_changes_anything() {
    let world = World::new(1, "");
    let (status, answer) = world.operate("/sessions/x", &["-X", "DELETE"]);
    assert!(status == 403 && answer.contains("admin_token"), "{answer}");
}

#[test]
fn the_command_line_shows_a_running_gateway() {
    let world = World::new(2, &sticky("10m", ""));
    world.exit(HOSTS[0]);
    let stats = world.says(&["stats", "--json"]);
    let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
    assert_eq!(
        (&stats["total"], &stats["active_sessions"]),
        (&2.into(), &1.into())
    );
    assert!(world.says(&["sessions"]).contains(HOSTS[0]));
    let proxies = world.says(&["proxies"]);
    assert!(
        proxies.matches("available").count() == 2 && proxies.contains("closed"),
        "{proxies}"
    );
    assert!(!proxies.contains(PASSWORD));
    let checked = world.says(&["check", "--json"]);
    let checked: serde_json::Value = serde_json::from_str(&checked).unwrap();
    assert_eq!(checked["proxies"].as_array().unwrap().len(), 2);
}

#[test]
fn the_admin_interface_says_how_each_proxy_is() {
    let mut world = World::new(
        2,
        &sticky(
            "10m",
            "[breaker]\nopen_threshold = 1\nhalf_open_after = \"1h\"",
        ),
    );
    world.exits[0].kill();
    assert_eq!(world.ask(&world.http(HOSTS[0], "/")).status, 200);
    let proxies: Vec<serde_json::Value> = serde_json::from_str(&world.admin("/proxies").1).unwrap();
    let ids: Vec<&str> = proxies.iter().map(|p| p["id"].as_str().unwrap()).collect();
    let until = proxies[0]["until"].as_str().unwrap();
    assert!(humantime::parse_rfc3339(until).unwrap() > std::time::SystemTime::now());
    let said = |place: usize, available: bool, breaker: &str, until: Option<&str>| {
        serde_json::json!({
            "id": ids[place],
            "url": format!("http://127.0.0.1:{}", world.exits[place].port),
            "weight": 1,
            "tags": [],
            "healthy": true,
            "available": available,
            "breaker": breaker,
            "failures": 0,
            "until": until,
            "in_flight": 0,
        })
    };
    let expected = [
        said(0, false, "open", Some(until)),
        said(1, true, "closed", None),
    ];
    assert_eq!(proxies, expected);
    assert!(uuid::Uuid::parse_str(ids[1]).is_ok() && ids[0] != ids[1]);
    let metrics = world.admin("/metrics").1;
    for line in [
        "remora_proxies{state=\"healthy\"} 1",
        "remora_proxies{state=\"open\"} 1",
        "remora_breaker_transitions_total{change=\"opened\"} 1",
        "remora_sessions 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{metrics}");
    }
    assert!(metrics.ends_with("# EOF"), "{metrics}");
}

#[test]
fn prometheus_reads_what_was_counted() {
    let mut world = World::new(2, &sticky("10m", ""));
    world.exit(HOSTS[0]);
    world.exit(HOSTS[0]);
    world.exits[0].kill();
    world.exits[1].kill();
    world.ask(&world.http(HOSTS[0], "/"));
    let (_, text) = world.admin("/metrics");
    for line in [
        "remora_acquires_total{result=\"bound\"} 1",
        "remora_acquires_total{result=\"hit\"} 2",
        "remora_acquires_total{result=\"rebound\"} 0",
        "remora_acquires_total{result=\"rotated\"} 0",
        "remora_releases_total{outcome=\"success\"} 2",
        "remora_releases_total{outcome=\"failure\"} 2",
        "remora_releases_total{outcome=\"cancelled\"} 0",
        "remora_retries_total 1",
        "remora_proxies{state=\"healthy\"} 2",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in\n{text}"
        );
    }
}

#[test]
fn on_sighup_the_file_is_read_again_and_sessions_stay() {
    let world = World::new(3, &sticky("10m", ""));
    let stays = world.exit(HOSTS[0]);
    let text = fs::read_to_string(world.config()).unwrap();
    let change = |text: &str| {
        fs::write(world.config(), text).unwrap();
        let before = world.log().matches("read again").count();
        world.remora.signal("-HUP");
        until("it has been read", || {
            world.log().matches("read again").count() > before
        });
    };
    change(&format!(
        "{text}\n[[proxy]]\nurl = \"http://nowhere.example:1/x\"\n"
    ));
    assert!(world.log().contains("`proxy[3].url`"), "{}", world.log());
    // What only the plugin knows to be wrong, and a file that is empty for a moment.
    change(&(text.replace("10m", "1s") + "\nweight = 0\n"));
    change("");
    assert!(world.log().contains("there is no [[proxy]]"));
    assert_eq!(world.stats()["total"], 3);
    let sessions = world.admin("/sessions").1;
    assert!(sessions.contains(HOSTS[0]), "still ten minutes: {sessions}");

    // Without the last of three, and with another time to live.
    let (kept, _) = text.rsplit_once("[[proxy]]").unwrap();
    let kept = kept
        .replace("10m", "20m")
        .replace("[sticky]", "storage = \"memory\"\n[sticky]");
    change(&kept);
    assert_eq!(world.stats()["total"], 2);
    assert_eq!(world.exit(HOSTS[0]), stays);
    for host in &HOSTS[1..5] {
        assert_ne!(world.exit(host), "127.0.0.13");
    }
    assert!(!world.log().contains(PASSWORD));
}

#[test]
fn what_takes_a_restart_is_told_by_what_the_gateway_started_with() {
    let world = World::new(2, &sticky("10m", ""));
    let started_with = fs::read_to_string(world.config()).unwrap();
    let warned = |text: &str| {
        let count = |what: &str| world.log().matches(what).count();
        let (read, warned) = (count("read again"), count("takes a restart"));
        fs::write(world.config(), text).unwrap();
        world.remora.signal("-HUP");
        until("it has been read", || count("read again") > read);
        count("takes a restart") - warned
    };
    let other = format!("{started_with}\n[rotation]\nstrategy = \"random\"\n");
    assert_eq!(warned(&other), 1);
    assert_eq!(warned(&other), 1, "it has not been restarted yet");
    assert_eq!(warned(&started_with), 0, "that is what it runs with");
    let wrong = format!("{other}\n[breaker]\nopen_threshold = 0\n");
    assert_eq!(warned(&wrong), 0, "nothing of it counts");
}

#[test]
fn a_reload_does_not_open_a_gateway_that_others_reach_to_everybody() {
    let users = "[[user]]\nname = \"alice\"\npassword = \"alices-s3cret\"\n";
    let world = World::new(1, &sticky("10m", users));
    // As bound: an address that others reach, if this machine has one to spare.
    let text = fs::read_to_string(world.config()).unwrap();
    let port = free_port();
    let config = world.dir.path().join("open.toml");
    let open = text.replace(
        &format!("listen = \"127.0.0.1:{}\"", world.gateway),
        &format!("listen = \"0.0.0.0:{port}\""),
    );
    let open = open
        .lines()
        .filter(|line| !line.starts_with("admin"))
        .collect::<Vec<_>>()
        .join("\n");
    fs::write(&config, &open).unwrap();
    let log = world.dir.path().join("open.log");
    let mut serve = remora();
    serve.arg("serve").arg("--config").arg(&config);
    let served = crate::parts::Process::start(&mut serve, &log, port);
    let anybody = || {
        let proxy = format!("http://127.0.0.1:{port}");
        let output = world
            .curl(&world.http(HOSTS[0], "/"), &["-x", &proxy])
            .output();
        crate::parts::Answer::read(output.unwrap()).status
    };
    assert_eq!(anybody(), 407);
    fs::write(
        &config,
        open.replace("0.0.0.0", "127.0.0.1").replace(users, ""),
    )
    .unwrap();
    served.signal("-HUP");
    until("it has been read", || {
        fs::read_to_string(&log)
            .unwrap()
            .contains("nothing has changed")
    });
    assert_eq!(anybody(), 407);
}

#[test]
fn the_log_is_json_where_it_is_asked_for() {
    let world = World::new(
        1,
        &format!("{}\n[log]\nformat = \"json\"", sticky("10m", "")),
    );
    world.exit(HOSTS[0]);
    until("the request is logged", || {
        world.log().contains("remora::access")
    });
    let log = world.log();
    let line = log
        .lines()
        .find(|line| line.contains("remora::access"))
        .unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(
        (&line["key"], &line["outcome"]),
        (&HOSTS[0].into(), &"success".into())
    );
    assert_eq!(
        (&line["attempt"], &line["status"]),
        (&1.into(), &200.into())
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
