//! An origin, some upstream proxies and an Envoy in front of them.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::exits::{Exit, Kind};
use crate::parts::{Answer, Process, free_port};

pub const USER: &str = "exit-user";
pub const PASSWORD: &str = "s3cret-Passw0rd";

pub struct World {
    pub dir: TempDir,
    pub exits: Vec<Exit>,
    pub listen: u16,
    admin: u16,
    origin_port: u16,
    _envoy: Process,
    _origin: Process,
}

/// Where `make parts` has put Envoy.
pub fn envoy() -> Command {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../envoy/envoy");
    assert!(path.exists(), "no {}: run `make parts`", path.display());
    Command::new(path)
}

pub fn remora() -> Command {
    Command::new(env!("CARGO_BIN_EXE_remora"))
}

/// Has `remora envoy` write the files for a configuration.
pub fn generate(dir: &Path, text: &str) -> PathBuf {
    let (config, out) = (dir.join("remora.toml"), dir.join("envoy"));
    fs::write(&config, text).unwrap();
    let output = remora()
        .args(["envoy", "--config"])
        .arg(&config)
        .arg("--dir")
        .arg(&out)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    out
}

impl World {
    /// `tables`: of the configuration, but for the proxies.
    pub fn new(exits: usize, tables: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let origin_port = free_port();
        let origin = origin(dir.path(), origin_port);
        let exits: Vec<Exit> = (11..)
            .take(exits)
            .map(|last| Exit::start(Kind::Tinyproxy, dir.path(), last))
            .collect();
        let (listen, admin) = (free_port(), free_port());
        let text = configuration(&exits, listen, admin, tables);
        let out = generate(dir.path(), &text);
        let base_id = listen.to_string();
        let mut command = envoy();
        command
            .args(["--concurrency", "2", "--base-id", &base_id, "-c"])
            .arg(out.join("bootstrap.yaml"));
        let envoy = Process::start(&mut command, &dir.path().join("envoy.log"), listen);
        Self {
            dir,
            exits,
            listen,
            admin,
            origin_port,
            _envoy: envoy,
            _origin: origin,
        }
    }

    /// The files anew, for other exits: Envoy watches them.
    pub fn regenerate(&self, exits: &[Exit], tables: &str) {
        let text = configuration(exits, self.listen, self.admin, tables);
        generate(self.dir.path(), &text);
    }

    pub fn url(&self, host: &str, path: &str) -> String {
        format!("http://{host}:{}{path}", self.origin_port)
    }

    pub fn curl(&self, url: &str, options: &[&str]) -> Command {
        let mut command = Command::new("curl");
        command
            .args(["-sS", "-i", "-w", "\n%{http_code}", "--max-time", "60"])
            .args(["-x", &format!("http://127.0.0.1:{}", self.listen)])
            .args(options)
            .arg(url);
        command
    }

    pub fn ask(&self, host: &str, path: &str) -> Answer {
        Answer::read(self.curl(&self.url(host, path), &[]).output().unwrap())
    }

    /// The exit that a host sees; the request has to succeed.
    pub fn exit(&self, host: &str) -> String {
        let answer = self.ask(host, "/");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    pub fn exit_of(&mut self, ip: &str) -> &mut Exit {
        self.exits.iter_mut().find(|exit| exit.ip == ip).unwrap()
    }

    /// The value of a metric, as Prometheus reads it.
    pub fn metric(&self, name: &str) -> u64 {
        let url = format!("http://127.0.0.1:{}/stats/prometheus", self.admin);
        let output = Command::new("curl").args(["-sS", &url]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let value = line.unwrap_or_else(|| panic!("no {name}"));
        value.trim().parse().unwrap()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("envoy.log")).unwrap()
    }
}

fn configuration(exits: &[Exit], listen: u16, admin: u16, tables: &str) -> String {
    let mut text = format!(
        "listen = \"127.0.0.1:{listen}\"\nadmin = \"127.0.0.1:{admin}\"\n\
         [sticky]\nmode = \"domain\"\n{tables}\n"
    );
    for exit in exits {
        writeln!(text, "{}", exit.entry(PASSWORD)).unwrap();
    }
    text
}

/// nginx, answering every host with the address it sees and the credentials it should not see.
fn origin(dir: &Path, port: u16) -> Process {
    let d = dir.display();
    let text = format!(
        "user root;\ndaemon off;\nmaster_process off;\npid {d}/nginx.pid;\nerror_log {d}/nginx-error.log;\n\
         events {{ worker_connections 1024; }}\nhttp {{\n  access_log off;\n  client_body_temp_path {d}/t0;\n  \
         proxy_temp_path {d}/t1; fastcgi_temp_path {d}/t2; uwsgi_temp_path {d}/t3; scgi_temp_path {d}/t4;\n  \
         server {{\n    listen 0.0.0.0:{port};\n    \
         location / {{ return 200 \"$remote_addr$http_proxy_authorization\\n\"; }}\n    \
         location /headers {{ return 200 \"[$http_x_remora_proxies$http_x_hop]\\n\"; }}\n    \
         location /picky {{ if ($remote_addr = 127.0.0.11) {{ return 403; }} return 200 \"$remote_addr\\n\"; }}\n  \
         }}\n}}\n"
    );
    let config = dir.join("nginx.conf");
    fs::write(&config, text).unwrap();
    let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("nginx");
    command
        .env("PATH", path)
        .arg("-c")
        .arg(&config)
        .arg("-e")
        .arg(dir.join("nginx-start.log"));
    Process::start(&mut command, &dir.join("nginx.log"), port)
}
