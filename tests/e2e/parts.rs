//! Processes that end with their test.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

pub use remora_test_support::{PATIENCE, until};

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

/// Waits until a process handles a signal, by its number, rather than dies of it.
pub fn until_it_hears(pid: &str, signal: u32) {
    until("it would hear a signal", || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = u64::from_str_radix(caught.unwrap().trim(), 16).unwrap();
        caught & (1 << (signal - 1)) != 0
    });
}

/// What a process finds in its environment whose clock is to be off by so many seconds.
pub fn clock_off_by(seconds: i64) -> Vec<(&'static str, String)> {
    if seconds == 0 {
        return Vec::new();
    }
    let library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
    assert!(
        fs::exists(library).unwrap(),
        "needed: apt-get install -y faketime"
    );
    vec![
        ("LD_PRELOAD", library.into()),
        ("FAKETIME", format!("{seconds:+}s")),
        ("DONT_FAKE_MONOTONIC", "1".into()),
    ]
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

/// What several curls say that run at the same time.
pub fn together(curls: impl Iterator<Item = Command>) -> Vec<Answer> {
    let running: Vec<Child> = curls
        .map(|mut curl| curl.stdout(Stdio::piped()).spawn().unwrap())
        .collect();
    let said = running.into_iter().map(|c| c.wait_with_output().unwrap());
    said.map(Answer::read).collect()
}
