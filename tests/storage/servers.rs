//! Real Redis servers on loopback, each in a directory of its own.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use remora_host::storage::{Blocking, RedisOptions, RedisStorage};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

/// Long enough for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Everything asynchronous in this binary runs here.
pub static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(4).enable_all().build().unwrap()
});

/// A server; killed, by its pid, when the test is over.
pub struct Server {
    pub port: u16,
    pub dir: TempDir,
    arguments: Vec<String>,
    child: Child,
}

pub fn free_port() -> u16 {
    // A cluster's nodes talk to each other on the port plus 10,000.
    loop {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let port = listener.local_addr().unwrap().port();
        if port < 55_000 {
            return port;
        }
    }
}

impl Server {
    /// A server that keeps nothing on disk, as a cache is run.
    pub fn new() -> Self {
        Self::with(&[])
    }

    pub fn with(arguments: &[&str]) -> Self {
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        Self::start(
            dir,
            port,
            arguments.iter().map(|a| (*a).to_owned()).collect(),
        )
    }

    /// One that is reached with TLS only, by a certificate that `dir/cert.pem` trusts.
    pub fn with_tls(arguments: &[&str]) -> Self {
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
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
        Self::start(dir, port, tls.into_iter().chain(rest).collect())
    }

    fn start(dir: TempDir, port: u16, arguments: Vec<String>) -> Self {
        let child = spawn(&dir, port, &arguments);
        Self {
            port,
            dir,
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
        self.child = spawn(&self.dir, self.port, &self.arguments);
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status();
        assert!(sent.unwrap().success());
    }

    pub fn url(&self, rest: &str) -> String {
        format!("redis://127.0.0.1:{}/{rest}", self.port)
    }

    /// What `redis-cli` answers.
    pub fn cli(&self, command: &[&str]) -> String {
        let mut cli = Command::new("redis-cli");
        let output = cli
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

fn spawn(dir: &TempDir, port: u16, arguments: &[String]) -> Child {
    let plain = if arguments.iter().any(|a| a == "--tls-port") {
        0
    } else {
        port
    };
    let log = fs::File::create(dir.path().join("redis.log")).unwrap();
    let mut command = Command::new("redis-server");
    command
        .args(["--port", &plain.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
        .arg("--dir")
        .arg(dir.path())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log);
    let mut child = command.spawn().unwrap_or_else(|error| {
        panic!("cannot start redis-server: {error}. Needed: apt-get install -y redis-server")
    });
    until(&format!("redis-server listens on {port}"), || {
        if let Some(status) = child.try_wait().unwrap() {
            let said = fs::read_to_string(dir.path().join("redis.log")).unwrap_or_default();
            panic!("redis-server ended with {status}: {said}");
        }
        TcpStream::connect(("127.0.0.1", port)).is_ok()
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

/// Waits until it holds.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < PATIENCE,
            "{what}: not within {PATIENCE:?}"
        );
        thread::sleep(Duration::from_millis(20));
    }
}

pub fn open(url: &str) -> Arc<RedisStorage> {
    let _inside = RUNTIME.enter();
    Arc::new(RedisStorage::open(RedisOptions::parse(url).unwrap()).unwrap())
}

/// For callers that wait.
pub fn blocking(url: &str) -> Blocking<RedisStorage> {
    Blocking::new(open(url), RUNTIME.handle().clone())
}
