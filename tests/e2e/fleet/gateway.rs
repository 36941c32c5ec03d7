//! A gateway of the fleet: a process, and all that its processes have written down.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use remora_test_support::history::Request;
use remora_test_support::ports::free_port;

use super::log;
use crate::exits::Exit;
use crate::parts::{Process, clock_off_by};
use crate::world::{World, remora};

pub struct Gateway {
    pub port: u16,
    admin: u16,
    config: PathBuf,
    /// By how many seconds its clock is wrong.
    skew: i64,
    process: Process,
    /// A log for each time it was started.
    logs: Vec<PathBuf>,
}

impl Gateway {
    /// The gateway of `world` once more, on this storage.
    pub fn start(world: &World, storage: &str, skew: i64) -> Self {
        let (port, admin) = (free_port(), free_port());
        let text = fs::read_to_string(world.config()).unwrap();
        let lines = text.lines().map(|line| match line.split(' ').next() {
            Some("listen") => format!("listen = \"127.0.0.1:{port}\"\nstorage = \"{storage}\""),
            Some("admin") => format!("admin = \"127.0.0.1:{admin}\""),
            _ => line.to_owned(),
        });
        let config = world.dir.path().join(format!("fleet-{port}.toml"));
        fs::write(&config, lines.collect::<Vec<_>>().join("\n")).unwrap();
        let first = config.with_extension("0.log");
        Self {
            process: serve(&config, skew, &first, port),
            port,
            admin,
            config,
            skew,
            logs: vec![first],
        }
    }

    /// kill -9, and a new process in its place.
    pub fn replace(&mut self) {
        self.process.kill();
        let log = format!("{}.log", self.logs.len());
        let log = self.config.with_extension(log);
        self.process = serve(&self.config, self.skew, &log, self.port);
        self.logs.push(log);
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// A number of `/metrics`.
    pub fn metric(&self, name: &str) -> u64 {
        let url = format!("http://127.0.0.1:{}/metrics", self.admin);
        let output = Command::new("curl").args(["-sS", &url]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let mut values = text.lines().filter_map(|line| line.split_once(' '));
        let value = values.find(|(found, _)| *found == name);
        value
            .unwrap_or_else(|| panic!("no {name} in {text}"))
            .1
            .parse()
            .unwrap()
    }

    /// What its process has written down.
    pub fn log(&self) -> String {
        fs::read_to_string(self.logs.last().unwrap()).unwrap()
    }

    /// What its processes asked the plugin and were told.
    pub fn history(&self, exits: &[Exit]) -> Vec<Request> {
        let read = |log: &PathBuf| log::read(log, self.skew, exits);
        self.logs.iter().flat_map(read).collect()
    }
}

fn serve(config: &Path, skew: i64, log: &Path, port: u16) -> Process {
    let mut serve = remora();
    serve.args(["serve", "--config"]).arg(config);
    serve.env("RUST_LOG", "info,remora::history=debug");
    serve.envs(clock_off_by(skew));
    Process::start(&mut serve, log, port)
}
