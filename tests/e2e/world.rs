//! An origin, some upstream proxies and a gateway.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use remora_test_support::ports::free_port;
use serde_json::Value;
use tempfile::TempDir;

use crate::exits::{Exit, Kind};
use crate::parts::{Answer, Process};

pub const USER: &str = "exit-user";
pub const PASSWORD: &str = "s3cret-Passw0rd";

/// Hosts that the origin answers for: names would need a resolver.
pub const HOSTS: [&str; 9] = [
    "127.0.1.1",
    "127.0.1.2",
    "127.0.1.3",
    "127.0.1.4",
    "127.0.1.5",
    "127.0.1.6",
    "127.0.1.7",
    "127.0.1.8",
    "127.0.1.9",
];

pub struct World {
    pub dir: TempDir,
    pub exits: Vec<Exit>,
    pub remora: Process,
    pub gateway: u16,
    admin: u16,
    http: u16,
    tls: u16,
    _origin: Process,
}

/// A gateway's configuration, but for its addresses.
pub fn sticky(ttl: &str, rest: &str) -> String {
    format!("[sticky]\nmode = \"domain\"\nttl = \"{ttl}\"\n{rest}\n")
}

impl World {
    /// Some tinyproxies. `tables`: the tables of the configuration, but for the proxies.
    pub fn new(exits: usize, tables: &str) -> Self {
        Self::with("", exits, tables, PASSWORD)
    }

    /// `password`: what the gateway shows the upstream proxies; nothing at all when it is empty.
    pub fn with(fields: &str, exits: usize, tables: &str, password: &str) -> Self {
        Self::of(&vec![Kind::Tinyproxy; exits], fields, tables, password)
    }

    /// Upstream proxies of these kinds, and a gateway in front of them.
    pub fn of(kinds: &[Kind], fields: &str, tables: &str, password: &str) -> Self {
        Self::start(kinds, |_, exits| {
            let entries: Vec<String> = exits.iter().map(|exit| exit.entry(password)).collect();
            (format!("{fields}\n{tables}"), entries.join("\n"))
        })
    }

    /// Upstream proxies, and a gateway whose configuration is made when they are there: what comes before its last
    /// tables, and these.
    pub fn start(kinds: &[Kind], say: impl FnOnce(&Path, &[Exit]) -> (String, String)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (http, tls) = (free_port(), free_port());
        let origin = origin(dir.path(), http, tls);
        let exits: Vec<Exit> = kinds
            .iter()
            .zip(11..)
            .map(|(kind, last)| Exit::start(*kind, dir.path(), last))
            .collect();
        let (gateway, admin) = (free_port(), free_port());
        let ca = dir.path().join("cert.pem");
        let (first, last) = say(dir.path(), &exits);
        let text = format!(
            "listen = \"127.0.0.1:{gateway}\"\nadmin = \"127.0.0.1:{admin}\"\n{first}\n\
             [tls]\nca = {ca:?}\n{last}\n"
        );
        let config = dir.path().join("remora.toml");
        fs::write(&config, text).unwrap();
        let remora = serve(&config, gateway);
        Self {
            dir,
            exits,
            remora,
            gateway,
            admin,
            http,
            tls,
            _origin: origin,
        }
    }

    /// The gateway again, after it has ended.
    pub fn serve_again(&mut self) {
        self.remora = serve(&self.config(), self.gateway);
    }

    pub fn config(&self) -> PathBuf {
        self.dir.path().join("remora.toml")
    }

    /// Curl through the gateway, as a client that says who it is.
    pub fn curl_as(&self, user: &str, url: &str) -> Command {
        let proxy = format!("http://{user}@127.0.0.1:{}", self.gateway);
        self.curl(url, &["-x", &proxy])
    }

    /// Curl through the gateway.
    pub fn curl(&self, url: &str, options: &[&str]) -> Command {
        let mut command = Command::new("curl");
        command
            .args(["-sS", "-i", "-w", "\n%{http_code}", "--max-time", "60"])
            .args(["-x", &format!("http://127.0.0.1:{}", self.gateway)])
            .arg("--cacert")
            .arg(self.dir.path().join("cert.pem"))
            .args(options)
            .arg(url);
        command
    }

    pub fn http(&self, host: &str, path: &str) -> String {
        format!("http://{host}:{}{path}", self.http)
    }

    pub fn https(&self, host: &str, path: &str) -> String {
        format!("https://{host}:{}{path}", self.tls)
    }

    /// The origin's port for plain HTTP.
    pub fn origin_port(&self) -> u16 {
        self.http
    }

    pub fn ask(&self, url: &str) -> Answer {
        Answer::read(self.curl(url, &[]).output().unwrap())
    }

    /// The exit that a host sees; the request has to succeed.
    pub fn exit(&self, host: &str) -> String {
        let answer = self.ask(&self.http(host, "/"));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    pub fn admin_port(&self) -> u16 {
        self.admin
    }

    /// The admin interface.
    pub fn admin(&self, path: &str) -> (u16, String) {
        self.operate(path, &[])
    }

    /// The admin interface, with more options for curl.
    pub fn operate(&self, path: &str, options: &[&str]) -> (u16, String) {
        let url = format!("http://127.0.0.1:{}{path}", self.admin);
        let mut command = Command::new("curl");
        let output = command
            .args(["-sS", "-i", "-w", "\n%{http_code}", &url])
            .args(options)
            .output()
            .unwrap();
        let answer = Answer::read(output);
        (answer.status, answer.body)
    }

    /// What the command line says of the gateway.
    pub fn says(&self, arguments: &[&str]) -> String {
        let mut command = remora();
        let output = command.args(arguments).arg("--config").arg(self.config());
        let output = output.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn stats(&self) -> Value {
        serde_json::from_str(&self.admin("/stats").1).unwrap()
    }

    pub fn exit_of(&mut self, ip: &str) -> &mut Exit {
        self.exits.iter_mut().find(|exit| exit.ip == ip).unwrap()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("remora.log")).unwrap()
    }
}

fn serve(config: &Path, gateway: u16) -> Process {
    let mut serve = remora();
    let serve = serve.arg("serve").arg("--config").arg(config);
    let log = config.with_file_name("remora.log");
    // Without the history of leases, which says all that is counted here once more.
    let serve = serve.env("RUST_LOG", "debug,remora::history=off");
    Process::start(serve, &log, gateway)
}

pub fn remora() -> Command {
    Command::new(env!("CARGO_BIN_EXE_remora"))
}

/// nginx, answering every host with the address it sees, on a plain and a TLS port.
pub fn origin(dir: &Path, http: u16, tls: u16) -> Process {
    // The origin's, and that of upstream proxies that speak TLS.
    let hosts = HOSTS.iter().chain(&["127.0.0.1"]);
    let alternatives: Vec<String> = hosts.map(|host| format!("IP:{host}")).collect();
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=origin",
        ])
        .args([
            "-addext",
            &format!("subjectAltName={}", alternatives.join(",")),
        ])
        // It is not an authority: rustls takes none for a server.
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(dir.join("key.pem"))
        .arg("-out")
        .arg(dir.join("cert.pem"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    fs::create_dir(dir.join("uploads")).unwrap();
    fs::write(dir.join("slow"), vec![b'x'; 1_000_000]).unwrap();
    // A file of 1 GiB that takes no room.
    fs::File::create(dir.join("large"))
        .unwrap()
        .set_len(1 << 30)
        .unwrap();
    let d = dir.display();
    let mut listen = format!("listen 127.0.0.1:{http}; listen 127.0.0.1:{tls} ssl;");
    for host in HOSTS {
        write!(listen, "listen {host}:{http}; listen {host}:{tls} ssl;").unwrap();
    }
    let text = format!(
        r#"
user root;
daemon off;
master_process off;
pid {d}/nginx.pid;
error_log {d}/nginx-error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {d}/uploads;
  proxy_temp_path {d}/t1; fastcgi_temp_path {d}/t2; uwsgi_temp_path {d}/t3; scgi_temp_path {d}/t4;
  client_max_body_size 0;
  server {{
    {listen}
    ssl_certificate {d}/cert.pem;
    ssl_certificate_key {d}/key.pem;
    location / {{ return 200 "$remote_addr\n"; }}
    location /picky {{ if ($remote_addr = 127.0.0.11) {{ return 403; }} return 200 "$remote_addr\n"; }}
    location /broken {{ return 503; }}
    location /asks-for-credentials {{ return 407; }}
    location /headers {{ return 200 "[$http_proxy_authorization$http_proxy_connection$http_x_hop$http_x_remora_upstream$http_x_session_id] $http_host\n"; }}
    location /slow {{ root {d}; limit_rate 250k; }}
    location /large {{ root {d}; }}
    location /swallow {{ client_body_in_file_only clean; proxy_pass http://127.0.0.1:{http}/; }}
    location /upload {{ client_body_in_file_only on; proxy_pass http://127.0.0.1:{http}/; }}
  }}
}}
"#
    );
    let config = dir.join("nginx.conf");
    fs::write(&config, text).unwrap();
    // Debian keeps it where only root's PATH looks.
    let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("nginx");
    command
        .env("PATH", path)
        .arg("-c")
        .arg(&config)
        .arg("-e")
        .arg(dir.join("nginx-start.log"));
    Process::start(&mut command, &dir.join("nginx.log"), http)
}
