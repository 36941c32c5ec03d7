//! Many tenants in one process: how soon one is there, what an idle one holds, what a thousand at work cost.
//!
//! `make bench-tenants` runs it; docs/benchmarks.md keeps the table. Each tenant is a manager with a store of its
//! own and one instance of the plugin, as docs/tenants.md has it.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

mod at_work;
mod cold_start;
mod idle;
mod spread;
mod tenant;

use std::env;

fn main() {
    // A process of its own for each row whose memory is measured.
    if let Some(probe) = env::var_os(idle::PROBE) {
        return idle::probe(probe.to_str().unwrap());
    }
    println!("| what | measured | ratio | goal |\n|---|---|---|---|");
    cold_start::print();
    idle::print();
    at_work::print();
    spread::print();
}

/// The one in the middle.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
