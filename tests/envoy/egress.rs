//! An origin, some upstream proxies and an Envoy with the filter.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use remora_test_support::ports::free_port;
use tempfile::TempDir;

use crate::exits::{Exit, Kind};
use crate::parts::{Answer, Process, until};
use crate::world::{PASSWORD, origin, remora};

/// Tests run side by side: an Envoy is no restart of another test's.
pub const ALONE: [&str; 1] = ["--disable-hot-restart"];

pub struct Egress {
    pub dir: TempDir,
    pub exits: Vec<Exit>,
    pub envoy: Process,
    pub port: u16,
    /// Where the origin listens, in the clear.
    pub http: u16,
    admin: u16,
    tls: u16,
    tables: String,
    _origin: Process,
}

impl Egress {
    /// An Envoy on what `remora envoy --dir` makes of these tables and so many tinyproxies, each with a password
    /// of its own.
    pub fn new(exits: usize, tables: &str) -> Self {
        Self::start(&vec![Kind::OwnPassword; exits], tables, None, &ALONE)
    }

    /// As [`Egress::new`], with another module in the filter's place.
    pub fn with_module(exits: usize, tables: &str, module: &[u8]) -> Self {
        Self::start(
            &vec![Kind::OwnPassword; exits],
            tables,
            Some(module),
            &ALONE,
        )
    }

    /// Upstream proxies of these kinds.
    pub fn of(kinds: &[Kind], tables: &str) -> Self {
        Self::start(kinds, tables, None, &ALONE)
    }

    /// As [`Egress::new`], an Envoy that another one may take over from.
    pub fn with_heirs(exits: usize, tables: &str) -> Self {
        let kinds = vec![Kind::OwnPassword; exits];
        Self::start(&kinds, tables, None, &["--use-dynamic-base-id"])
    }

    fn start(kinds: &[Kind], tables: &str, module: Option<&[u8]>, options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (http, tls) = (free_port(), free_port());
        let origin = origin(dir.path(), http, tls);
        let exits: Vec<Exit> = kinds
            .iter()
            .zip(11..)
            .map(|(kind, last)| Exit::start(*kind, dir.path(), last))
            .collect();
        let (port, admin) = (free_port(), free_port());
        write_config(dir.path(), port, admin, tables, &exits);
        let made = generate(dir.path());
        assert!(made.status.success(), "{made:?}");
        let files = dir.path().join("envoy");
        if let Some(module) = module {
            fs::write(files.join("remora_envoy.wasm"), module).unwrap();
            // As the version of remora that this module is from would have written it.
            edit(&files.join("filter.yaml"), |text| {
                assert!(text.contains("value: module "), "{text}");
                text.replace("value: module ", "value: other module ")
            });
        }
        let mut command = envoy(&files.join("bootstrap.yaml"));
        command
            .arg("--base-id-path")
            .arg(dir.path().join("base-id"))
            .args(options);
        let envoy = Process::start(&mut command, &dir.path().join("envoy.log"), port);
        Self {
            dir,
            exits,
            envoy,
            port,
            http,
            admin,
            tls,
            tables: tables.to_owned(),
            _origin: origin,
        }
    }

    /// Kills Envoy as a crash would, and starts another one on the same files.
    pub fn crash(&mut self) {
        self.envoy.kill();
        let mut command = envoy(&self.bootstrap());
        command.args(ALONE);
        let log = self.dir.path().join("envoy-2.log");
        self.envoy = Process::start(&mut command, &log, self.port);
    }

    /// Starts the Envoy that takes over from this one, and answers with the old one once it has gone.
    pub fn hot_restart(&mut self) -> Process {
        let id = fs::read_to_string(self.dir.path().join("base-id")).unwrap();
        let mut command = envoy(&self.bootstrap());
        command
            .args(["--base-id", id.trim(), "--restart-epoch", "1"])
            .args(["--drain-time-s", "1", "--parent-shutdown-time-s", "3"]);
        let log = self.dir.path().join("envoy-2.log");
        let new = Process::start(&mut command, &log, self.port);
        std::mem::replace(&mut self.envoy, new)
    }

    /// Edits one of Envoy's files, as a hand that slips would.
    pub fn edit(&self, name: &str, change: impl Fn(&str) -> String) {
        edit(&self.dir.path().join("envoy").join(name), change);
    }

    fn bootstrap(&self) -> PathBuf {
        self.dir.path().join("envoy/bootstrap.yaml")
    }

    /// Writes Envoy's files anew, for some of the exits.
    pub fn repool(&self, keep: impl Fn(&Exit) -> bool) {
        let exits = self.exits.iter().filter(|exit| keep(exit));
        write_config(self.dir.path(), self.port, self.admin, &self.tables, exits);
        let made = generate(self.dir.path());
        assert!(made.status.success(), "{made:?}");
    }

    /// Writes Envoy's files anew, for another configuration.
    pub fn rewrite(&self, change: impl Fn(&str) -> String) {
        let path = self.dir.path().join("remora.toml");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, change(&text)).unwrap();
        let made = generate(self.dir.path());
        assert!(made.status.success(), "{made:?}");
    }

    /// Writes Envoy's files anew, with another weight for an exit.
    pub fn reweigh(&self, ip: &str, weight: u32) {
        let exit = self.exits.iter().find(|exit| exit.ip == ip).unwrap();
        let entry = exit.entry(PASSWORD);
        self.rewrite(|text| text.replace(&entry, &format!("{entry}\nweight = {weight}")));
    }

    pub fn http(&self, host: &str, path: &str) -> String {
        format!("http://{host}:{}{path}", self.http)
    }

    pub fn https(&self, host: &str, path: &str) -> String {
        format!("https://{host}:{}{path}", self.tls)
    }

    /// Curl through Envoy.
    pub fn curl(&self, url: &str, options: &[&str]) -> Command {
        let mut command = Command::new("curl");
        command
            .args(["-sS", "-i", "-w", "\n%{http_code}", "--max-time", "60"])
            .args(["-x", &format!("http://127.0.0.1:{}", self.port)])
            .arg("--cacert")
            .arg(self.dir.path().join("cert.pem"))
            .args(options)
            .arg(url);
        command
    }

    pub fn ask(&self, url: &str, options: &[&str]) -> Answer {
        Answer::read(self.curl(url, options).output().unwrap())
    }

    /// The exit that a host sees; the request has to succeed.
    pub fn exit(&self, host: &str) -> String {
        let answer = self.ask(&self.http(host, "/"), &[]);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// As [`Egress::exit`], in a session that the client names.
    pub fn exit_of_session(&self, host: &str, session: u32) -> String {
        let header = format!("x-session-id: {session}");
        let answer = self.ask(&self.http(host, "/"), &["-H", &header]);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    pub fn exit_of(&mut self, ip: &str) -> &mut Exit {
        self.exits.iter_mut().find(|exit| exit.ip == ip).unwrap()
    }

    /// Opens the breaker of the exit that a host has, with `open_threshold = 1`: the exit refuses connections for a moment.
    /// Answers with its address.
    pub fn open_breaker(&mut self, host: &str) -> String {
        let opened = "remora_breaker_transitions_total{change=\"opened\"}";
        let before = self.metric(opened);
        let exit = match &self.exits[..] {
            [only] => only.ip.clone(),
            _ => self.exit(host),
        };
        self.exit_of(&exit).kill();
        until("the breaker opens", || {
            self.ask(&self.http(host, "/"), &[]);
            self.metric(opened) > before
        });
        self.exit_of(&exit).restart();
        exit
    }

    /// Envoy's admin interface.
    pub fn admin(&self, path: &str) -> String {
        let url = format!("http://127.0.0.1:{}{path}", self.admin);
        let output = Command::new("curl").args(["-sS", &url]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// One of Envoy's own numbers.
    pub fn stat(&self, name: &str) -> u64 {
        let all = self.admin("/stats");
        let line = all.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|rest| rest.strip_prefix(": "));
        let value = value.unwrap_or_else(|| panic!("no {name} in {all}"));
        value.parse().unwrap()
    }

    /// How many connections each worker has taken.
    pub fn by_worker(&self) -> [u64; 2] {
        [0, 1].map(|n| {
            let listener = format!("listener.127.0.0.1_{}", self.port);
            self.stat(&format!("{listener}.worker_{n}.downstream_cx_total"))
        })
    }

    /// One of the filter's numbers, as Prometheus gets it.
    pub fn metric(&self, name: &str) -> u64 {
        let all = self.admin("/stats/prometheus");
        let line = all.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|rest| rest.strip_prefix(' '));
        let value = value.unwrap_or_else(|| panic!("no {name} in {all}"));
        value.parse().unwrap()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("envoy.log")).unwrap()
    }
}

/// Replaces a file at once, which is what Envoy watches for.
fn edit(path: &Path, change: impl Fn(&str) -> String) {
    let text = fs::read_to_string(path).unwrap();
    let beside = path.with_extension("edited");
    fs::write(&beside, change(&text)).unwrap();
    fs::rename(&beside, path).unwrap();
}

fn write_config<'a>(
    dir: &Path,
    port: u16,
    admin: u16,
    tables: &str,
    exits: impl IntoIterator<Item = &'a Exit>,
) {
    let mut text = format!(
        "listen = \"127.0.0.1:{port}\"\nadmin = \"127.0.0.1:{admin}\"\n{tables}\n[tls]\nca = {:?}\n",
        dir.join("cert.pem")
    );
    for exit in exits {
        writeln!(text, "{}", exit.entry(PASSWORD)).unwrap();
    }
    fs::write(dir.join("remora.toml"), text).unwrap();
}

/// `remora envoy --dir`
fn generate(dir: &Path) -> Output {
    let mut command = remora();
    command
        .arg("envoy")
        .arg("--config")
        .arg(dir.join("remora.toml"));
    command.arg("--dir").arg(dir.join("envoy"));
    command.output().unwrap()
}

/// Envoy with two workers.
pub fn envoy(bootstrap: &Path) -> Command {
    let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/envoy/envoy");
    let mut command = Command::new(program);
    command.arg("-c").arg(bootstrap);
    command.args(["--concurrency", "2"]);
    command
}
