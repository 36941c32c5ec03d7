//! The servers under test.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use remora::config;
use remora::server::Server;
use remora::tenants::Tenants;

use crate::load::{self, Turn};
use crate::measure::{cpu_ns, resident};

/// The core of the server under test; everybody else is on the other one.
pub const SUBJECTS_CORE: &str = "0";
pub const OTHERS_CORE: &str = "1";

pub struct Subject {
    pub name: String,
    port: u16,
    process: Child,
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A command on one core.
pub fn on(core: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(program);
    command
}

/// This benchmark again, in another part.
pub fn myself(core: &str) -> Command {
    on(core, std::env::current_exe().unwrap())
}

pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

pub fn wait_for(port: u16) {
    for _ in 0..500 {
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("nobody listens on {port}");
}

impl Subject {
    pub fn haproxy(dir: &Path, far: u16) -> Self {
        let backend = format!("default_backend out\nbackend out\n  server far 127.0.0.1:{far}\n");
        Self::haproxy_with(dir, &backend)
    }

    /// `backends`: where requests go, in HAProxy's words.
    pub fn haproxy_with(dir: &Path, backends: &str) -> Self {
        let port = free_port();
        let text = format!(
            "global\n  nbthread 1\n  maxconn 9500\n\
             defaults\n  mode http\n  timeout connect 10s\n  timeout client 300s\n  timeout server 300s\n  \
             timeout tunnel 300s\n  timeout http-keep-alive 300s\n  http-reuse always\n\
             frontend in\n  bind 127.0.0.1:{port}\n  {backends}"
        );
        let config = dir.join("haproxy.cfg");
        fs::write(&config, text).unwrap();
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let mut command = on(SUBJECTS_CORE, "haproxy");
        command.env("PATH", path).arg("-db").arg("-f").arg(config);
        Self::start("HAProxy", port, command)
    }

    /// `how`: `plugin`, or `fixed` for the same gateway without a decision.
    pub fn remora(how: &str, dir: &Path, far: u16) -> Self {
        Self::remora_on("memory", how, dir, far)
    }

    /// One whose state lives there.
    pub fn remora_on(storage: &str, how: &str, dir: &Path, far: u16) -> Self {
        let on = match storage.split(':').next() {
            Some("memory") | None => String::new(),
            Some(kind) => format!(", {kind}"),
        };
        let name = format!("remora, {how}{on}");
        Self::gateway(&name, myself(SUBJECTS_CORE), storage, how, dir, far)
    }

    /// The gateway of another build of this benchmark.
    pub fn built_elsewhere(benchmark: &Path, dir: &Path, far: u16) -> Self {
        let name = format!("remora, plugin, {}", benchmark.display());
        let command = on(SUBJECTS_CORE, benchmark);
        Self::gateway(&name, command, "memory", "plugin", dir, far)
    }

    fn gateway(
        name: &str,
        mut command: Command,
        storage: &str,
        how: &str,
        dir: &Path,
        far: u16,
    ) -> Self {
        let port = free_port();
        let text = format!(
            "storage = \"{storage}\"\nlisten = \"127.0.0.1:{port}\"\n[sticky]\nmode = \"domain\"\n[timeouts]\nclient = \"300s\"\n\
             [limits]\nmax_connections = 9500\n[[proxy]]\nurl = \"http://127.0.0.1:{far}\"\n"
        );
        let config = dir.join(format!("remora-{port}.toml"));
        fs::write(&config, text).unwrap();
        command.args(["serve", how]).arg(config);
        Self::start(name, port, command)
    }

    /// Starts a server, and waits until it listens.
    pub fn start(name: &str, port: u16, mut command: Command) -> Self {
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("cannot start {name}: {error}; `make parts` installs it")
            });
        wait_for(port);
        Self {
            name: name.to_owned(),
            port,
            process,
        }
    }

    /// Load for a while.
    pub fn turn(&self, kind: &str, length: Duration) -> Turn {
        let before = cpu_ns(self.process.id());
        let (count, seconds) = load::from_another_process(kind, self.port, length);
        let used = cpu_ns(self.process.id()) - before;
        Turn {
            cpu_us: used as f64 / 1_000.0 / count as f64,
            rate: count as f64 / seconds,
        }
    }

    /// A request each for so many domains.
    pub fn domains(&self, first: usize, count: usize) {
        let mut command = myself(OTHERS_CORE);
        let [port, first, count] = [self.port.into(), first, count].map(|n| n.to_string());
        let status = command.args(["domains", &port, &first, &count]).status();
        assert!(status.unwrap().success());
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> u64 {
        resident(self.process.id())
    }

    /// What an idle connection and an open tunnel hold, in bytes.
    pub fn held(&self, connections: usize, tunnels: usize) -> (u64, u64) {
        let settle = || thread::sleep(Duration::from_millis(500));
        let pid = self.process.id();
        let before = resident(pid);
        let idle: Vec<TcpStream> = (0..connections)
            .map(|_| {
                let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
                stream.write_all(load::REQUEST.as_bytes()).unwrap();
                load::read_response(&mut stream);
                stream
            })
            .collect();
        settle();
        let connection = resident(pid).saturating_sub(before) / connections as u64;
        let before = resident(pid);
        let open: Vec<TcpStream> = (0..tunnels).map(|_| load::open_tunnel(self.port)).collect();
        settle();
        let tunnel = resident(pid).saturating_sub(before) / tunnels as u64;
        drop((idle, open));
        settle();
        (connection, tunnel)
    }
}

/// Runs a gateway until it is killed.
pub fn serve(how: &str, path: &str) {
    rlimit::increase_nofile_limit(20_000).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let config = config::read(Path::new(path)).unwrap();
        let mut gateway = remora::build::gateway(&config).await.unwrap();
        if how == "fixed" {
            gateway.decide_nothing();
        }
        let tenants = Arc::new(Tenants::only(gateway).unwrap());
        let server = Server::bind(tenants, config.limits, config.addresses.listen, None).unwrap();
        server
            .run(std::future::pending(), std::future::pending())
            .await;
    });
}

/// Reads until a line says that the head is over.
pub fn read_head(stream: &mut impl Read) -> Vec<u8> {
    let mut head = Vec::new();
    let mut buffer = [0; 4_096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = stream.read(&mut buffer).unwrap();
        assert!(
            count > 0,
            "closed after {:?}",
            String::from_utf8_lossy(&head)
        );
        head.extend_from_slice(&buffer[..count]);
    }
    head
}
