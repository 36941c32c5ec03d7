//! An origin, some upstream proxies and a gateway.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::parts::{Answer, Process, free_port};

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
    gateway: u16,
    admin: u16,
    http: u16,
    tls: u16,
    _origin: Process,
}

/// An upstream proxy.
pub struct Exit {
    /// What the origin sees.
    pub ip: String,
    pub port: u16,
    config: PathBuf,
    process: Process,
}

impl Exit {
    fn start(dir: &Path, last: u8) -> Self {
        let (ip, port) = (format!("127.0.0.{last}"), free_port());
        let config = dir.join(format!("exit-{last}.conf"));
        let text = format!(
            "Port {port}\nListen 127.0.0.1\nBind {ip}\nTimeout 60\nMaxClients 200\n\
             BasicAuth {USER} {PASSWORD}\nLogLevel Error\nDisableViaHeader Yes\n"
        );
        fs::write(&config, text).unwrap();
        let process = tinyproxy(&config, port);
        Self {
            ip,
            port,
            config,
            process,
        }
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }

    pub fn restart(&mut self) {
        self.process = tinyproxy(&self.config, self.port);
    }
}

fn tinyproxy(config: &Path, port: u16) -> Process {
    let mut command = Command::new("tinyproxy");
    Process::start(
        command.arg("-d").arg("-c").arg(config),
        &config.with_extension("log"),
        port,
    )
}

/// A gateway's configuration, but for its addresses.
pub fn sticky(ttl: &str, rest: &str) -> String {
    format!("[sticky]\nmode = \"domain\"\nttl = \"{ttl}\"\n{rest}\n")
}

impl World {
    /// `tables`: the tables of the configuration, but for the proxies.
    pub fn new(exits: u8, tables: &str) -> Self {
        Self::with("", exits, tables, PASSWORD)
    }

    /// `password`: what the gateway shows the upstream proxies; nothing at all when it is empty.
    pub fn with(fields: &str, exits: u8, tables: &str, password: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (http, tls) = (free_port(), free_port());
        let origin = origin(dir.path(), http, tls);
        let exits: Vec<Exit> = (11..11 + exits)
            .map(|last| Exit::start(dir.path(), last))
            .collect();
        let (gateway, admin) = (free_port(), free_port());
        let mut text = format!(
            "listen = \"127.0.0.1:{gateway}\"\nadmin = \"127.0.0.1:{admin}\"\n{fields}\n{tables}\n"
        );
        for exit in &exits {
            let url = match password {
                "" => format!("http://127.0.0.1:{}", exit.port),
                _ => format!("http://{USER}:{password}@127.0.0.1:{}", exit.port),
            };
            writeln!(text, "[[proxy]]\nurl = \"{url}\"").unwrap();
        }
        let config = dir.path().join("remora.toml");
        fs::write(&config, text).unwrap();
        let mut serve = remora();
        serve
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .env("RUST_LOG", "debug");
        let remora = Process::start(&mut serve, &dir.path().join("remora.log"), gateway);
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

    pub fn ask(&self, url: &str) -> Answer {
        Answer::read(self.curl(url, &[]).output().unwrap())
    }

    /// The exit that a host sees; the request has to succeed.
    pub fn exit(&self, host: &str) -> String {
        let answer = self.ask(&self.http(host, "/"));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// The admin interface.
    pub fn admin(&self, path: &str) -> (u16, String) {
        let url = format!("http://127.0.0.1:{}{path}", self.admin);
        let mut command = Command::new("curl");
        let output = command
            .args(["-sS", "-i", "-w", "\n%{http_code}", &url])
            .output()
            .unwrap();
        let answer = Answer::read(output);
        (answer.status, answer.body)
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

pub fn remora() -> Command {
    Command::new(env!("CARGO_BIN_EXE_remora"))
}

/// nginx, answering every host with the address it sees, on a plain and a TLS port.
fn origin(dir: &Path, http: u16, tls: u16) -> Process {
    let alternatives: Vec<String> = HOSTS.iter().map(|host| format!("IP:{host}")).collect();
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
        .arg("-keyout")
        .arg(dir.join("key.pem"))
        .arg("-out")
        .arg(dir.join("cert.pem"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    fs::create_dir(dir.join("uploads")).unwrap();
    fs::write(dir.join("slow"), vec![b'x'; 1_000_000]).unwrap();
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
    location /headers {{ return 200 "[$http_proxy_authorization$http_proxy_connection$http_x_hop] $http_host\n"; }}
    location /slow {{ root {d}; limit_rate 250k; }}
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
