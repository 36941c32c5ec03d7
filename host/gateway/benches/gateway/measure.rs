//! CPU time, memory, and the table.

use std::fmt;
use std::fs;

use crate::subject::Subject;

/// CPU time that a process has used, in nanoseconds, over all of its threads.
pub fn cpu_ns(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let times = tasks.map(|task| {
        let stat = fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
        stat.split(' ').next().unwrap().parse::<u64>().unwrap()
    });
    times.sum()
}

/// Resident memory in bytes.
pub fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse::<u64>()
        .unwrap()
        * 1_024
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What `docs/benchmarks.md` shows.
pub struct Table(String);

impl Table {
    pub fn new() -> Self {
        Self("\n| what | who | CPU time each | by HAProxy's | by that of a fixed upstream | each second |\n|---|---|---|---|---|---|\n".into())
    }

    /// `costs` in the order HAProxy, fixed, plugin.
    pub fn add(&mut self, kind: &str, subjects: &[Subject], costs: &[f64], rates: &[f64]) {
        for (i, subject) in subjects.iter().enumerate() {
            self.0 += &format!(
                "| {kind} | {} | {:.1} µs | {:.2} | {:.3} | {:.0} |\n",
                subject.name,
                costs[i],
                costs[i] / costs[0],
                costs[i] / costs[1],
                rates[i]
            );
        }
    }

    pub fn memory(&mut self, name: &str, connection: u64, tunnel: u64) {
        self.0 += &format!(
            "| memory | {name} | {connection} bytes an idle connection, {tunnel} bytes a tunnel | | | |\n"
        );
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
