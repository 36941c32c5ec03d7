//! Processes that end with their test.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Long enough for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A process that is killed, by its pid, when its test is over.
pub struct Process(Child);

impl Process {
    /// Starts a program with its output in `log`, and waits until it listens on `port`.
    pub fn start(command: &mut Command, log: &Path, port: u16) -> Self {
        let out = fs::File::create(log).unwrap();
        let err = out.try_clone().unwrap();
        let program = command.get_program().to_string_lossy().into_owned();
        let command = command.stdin(Stdio::null()).stdout(out).stderr(err);
        let child = command.spawn().unwrap_or_else(|error| {
            panic!(
                "cannot start {program}: {error}. Needed: \
                 make parts"
            )
        });
        let mut process = Self(child);
        until(&format!("{program} listens on {port}"), || {
            if let Some(status) = process.0.try_wait().unwrap() {
                let said = fs::read_to_string(log).unwrap_or_default();
                panic!("{program} ended with {status}: {said}");
            }
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        process
    }

    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal("-TERM");
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status();
        assert!(sent.unwrap().success());
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Resident memory in bytes.
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
        kilobytes.parse::<u64>().unwrap() * 1_024
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.0.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
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

/// A port that nobody uses.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    listener.local_addr().unwrap().port()
}

/// What curl said.
#[derive(Debug)]
pub struct Answer {
    /// 0 when curl got no response at all.
    pub status: u16,
    pub headers: String,
    pub body: String,
}

impl Answer {
    pub fn read(output: Output) -> Self {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (rest, status) = text.rsplit_once('\n').unwrap();
        // With CONNECT there is a head for the tunnel, too: the last one is the target's.
        let (headers, body) = rest.rsplit_once("\r\n\r\n").unwrap_or(("", rest));
        Self {
            status: status.parse().unwrap(),
            headers: headers.to_owned(),
            body: body.trim().to_owned(),
        }
    }

    /// The value of a header, whose name is in lower case.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        });
        value.unwrap_or_else(|| panic!("no `{name}` in {}", self.headers))
    }
}
