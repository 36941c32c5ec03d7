//! Tables for people.

use super::exit::Exit;
use crate::cli::table;

/// The upstream proxies.
pub(super) fn pool(exits: &[Exit]) -> String {
    let mut pool = table(["upstream proxy", "exit IP that sites see"]);
    for exit in exits {
        pool.add_row([format!("http://{}", exit.address()), exit.ip.to_string()]);
    }
    pool.to_string()
}

/// One scene: what was asked and what came of it.
pub(super) struct Scene {
    rows: comfy_table::Table,
    wrong: Vec<String>,
}

impl Scene {
    pub(super) fn new(title: &str) -> Self {
        println!("\n{title}\n");
        Self {
            rows: table(["request", "exit IP", "status", "what it shows"]),
            wrong: Vec::new(),
        }
    }

    pub(super) fn row(&mut self, request: &str, exit: &str, status: &str, note: &str) {
        self.rows.add_row([request, exit, status, note]);
    }

    /// Notes what is not as it should be.
    pub(super) fn expect(&mut self, holds: bool, what: &str) {
        if !holds {
            self.wrong.push(what.to_owned());
        }
    }

    /// Prints it.
    pub(super) fn end(self) -> Result<(), String> {
        println!("{}", self.rows);
        if self.wrong.is_empty() {
            return Ok(());
        }
        Err(format!("not as it should be: {}", self.wrong.join("; ")))
    }
}
