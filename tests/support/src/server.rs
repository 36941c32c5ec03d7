//! Real Redis servers on loopback, each in a directory of its own.

use std::env;
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::namespace::Namespace;
use crate::ports::free_port_of_a_node;
use crate::until;

/// A server; killed, by its pid, when the test is over.
pub struct Server {
    pub port: u16,
    pub dir: TempDir,
    place: Place,
    arguments: Vec<String>,
    child: Child,
}

/// Where it runs.
#[derive(Clone)]
struct Place {
    /// What its command begins with.
    enter: Vec<String>,
    addresses: Vec<String>,
}

impl Place {
    fn here() -> Self {
        Self {
            enter: Vec::new(),
            addresses: vec!["127.0.0.1".into()],
        }
    }
}

impl Server {
    /// A server that keeps nothing on disk, as a cache is run.
    pub fn new() -> Self {
        Self::with(&[])
    }

    pub fn with(arguments: &[&str]) -> Self {
        Self::start(Place::here(), arguments)
    }

    /// One inside a network namespace, at the end of all its lines.
    pub fn inside(namespace: &Namespace, arguments: &[&str]) -> Self {
        let place = Place {
            enter: namespace.enter(),
            addresses: namespace.addresses(),
        };
        Self::start(place, arguments)
    }

    fn start(place: Place, arguments: &[&str]) -> Self {
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port_of_a_node());
        let arguments = arguments.iter().map(|a| (*a).to_owned()).collect();
        Self::run(place, dir, port, arguments)
    }

    /// One that is reached with TLS only, by a certificate that `dir/cert.pem` trusts.
    pub fn with_tls(arguments: &[&str]) -> Self {
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port_of_a_node());
        certificate(dir.path());
        let path = |name: &str| dir.path().join(name).display().to_string();
        let tls = [
            "--tls-port".to_owned(),
            port.to_string(),
            "--tls-cert-file".into(),
            path("cert.pem"),
            "--tls-key-file".into(),
            path("key.pem"),
            "--tls-ca-cert-file".into(),
            path("cert.pem"),
            "--tls-auth-clients".into(),
            "no".into(),
        ];
        let rest = arguments.iter().map(|a| (*a).to_owned());
        Self::run(
            Place::here(),
            dir,
            port,
            tls.into_iter().chain(rest).collect(),
        )
    }

    fn run(place: Place, dir: TempDir, port: u16, arguments: Vec<String>) -> Self {
        let child = spawn(&place, &dir, port, &arguments);
        Self {
            port,
            dir,
            place,
            arguments,
            child,
        }
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// A new process on the same port.
    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(&self.place, &self.dir, self.port, &self.arguments);
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status();
        assert!(sent.unwrap().success());
    }

    pub fn url(&self, rest: &str) -> String {
        format!("redis://{}:{}/{rest}", self.place.addresses[0], self.port)
    }

    /// What `redis-cli` answers.
    pub fn cli(&self, command: &[&str]) -> String {
        let mut cli = Command::new("redis-cli");
        let output = cli
            .args(["-h", &self.place.addresses[0]])
            .args(["-p", &self.port.to_string()])
            .args(command)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// How often a command was called, by a client or a script.
    pub fn calls(&self, command: &str) -> u64 {
        let info = self.cli(&["INFO", "commandstats"]);
        let prefix = format!("cmdstat_{command}:calls=");
        let line = info.lines().find_map(|line| line.strip_prefix(&prefix));
        line.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The server that is tried: Redis, unless another one is named.
fn binary() -> String {
    env::var("REMORA_TEST_REDIS_SERVER").unwrap_or_else(|_| "redis-server".into())
}

fn spawn(place: &Place, dir: &TempDir, port: u16, arguments: &[String]) -> Child {
    let plain = if arguments.iter().any(|a| a == "--tls-port") {
        0
    } else {
        port
    };
    let log = fs::File::create(dir.path().join("redis.log")).unwrap();
    let words = [&place.enter[..], &[binary()]].concat();
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .args(["--port", &plain.to_string(), "--protected-mode", "no"])
        .arg("--bind")
        .args(&place.addresses)
        .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
        .arg("--dir")
        .arg(dir.path())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log);
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {words:?}: {error}. Needed: make parts"));
    until(&format!("{} listens on {port}", words[0]), || {
        if let Some(status) = child.try_wait().unwrap() {
            let said = fs::read_to_string(dir.path().join("redis.log")).unwrap_or_default();
            panic!("{words:?} ended with {status}: {said}");
        }
        TcpStream::connect((&*place.addresses[0], port)).is_ok()
    });
    child
}

fn certificate(dir: &Path) {
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        ])
        .args([
            "-subj",
            "/CN=redis",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .arg("-keyout")
        .arg(dir.join("key.pem"))
        .arg("-out")
        .arg(dir.join("cert.pem"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}
