//! A network namespace for a server, with lines to this machine that can be cut.

use std::fs;
use std::process::{Child, Command, Stdio};

use crate::until;

/// The namespace lives as long as the process that holds it; that one ends with this one, whatever happens to it.
pub struct Namespace {
    holder: Child,
    lines: u8,
}

impl Namespace {
    /// One with so many lines; `None` where this process has no right to make one.
    pub fn new(lines: u8) -> Option<Self> {
        let mut holder = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let ours = fs::read_link("/proc/self/ns/net").unwrap();
        let path = format!("/proc/{}/ns/net", holder.id());
        let mut ended = false;
        until("there is a namespace", || {
            ended = holder.try_wait().unwrap().is_some();
            ended || fs::read_link(&path).is_ok_and(|theirs| theirs != ours)
        });
        if ended {
            return None;
        }
        let namespace = Self { holder, lines };
        namespace.inside(&["ip", "link", "set", "lo", "up"]);
        for line in 0..lines {
            let (near, pid) = (namespace.near(line), namespace.holder.id().to_string());
            let far = far(line);
            let add = ["ip", "link", "add", &near, "type", "veth", "peer", "name"];
            run(&[&add[..], &[&far, "netns", &pid]].concat());
            run(&["ip", "address", "add", &subnet(line, 1), "dev", &near]);
            run(&["ip", "link", "set", &near, "up"]);
            namespace.inside(&["ip", "address", "add", &subnet(line, 2), "dev", &far]);
            namespace.mend(line);
        }
        Some(namespace)
    }

    /// What a command begins with that runs inside.
    pub fn enter(&self) -> Vec<String> {
        let path = format!("--net=/proc/{}/ns/net", self.holder.id());
        vec!["nsenter".into(), path]
    }

    /// Its address at the far end of a line.
    pub fn address(&self, line: u8) -> String {
        host(line, 2)
    }

    /// All its addresses.
    pub fn addresses(&self) -> Vec<String> {
        (0..self.lines).map(|line| self.address(line)).collect()
    }

    /// From now on nothing gets through, and nobody is told.
    pub fn cut(&self, line: u8) {
        self.inside(&["ip", "link", "set", &far(line), "down"]);
    }

    pub fn mend(&self, line: u8) {
        self.inside(&["ip", "link", "set", &far(line), "up"]);
    }

    fn near(&self, line: u8) -> String {
        format!("rem{}x{line}", self.holder.id())
    }

    fn inside(&self, command: &[&str]) {
        let enter = self.enter();
        let enter: Vec<&str> = enter.iter().map(String::as_str).collect();
        run(&[&enter[..], command].concat());
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn far(line: u8) -> String {
    format!("far{line}")
}

fn host(line: u8, end: u8) -> String {
    format!("10.213.{line}.{end}")
}

fn subnet(line: u8, end: u8) -> String {
    format!("{}/30", host(line, end))
}

fn run(command: &[&str]) {
    let output = Command::new(command[0]).args(&command[1..]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}
