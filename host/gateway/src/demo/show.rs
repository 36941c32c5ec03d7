//! Tables for people.

use serde::Serialize;
use serde_json::json;

use super::exit::Exit;
use crate::stdout::{Failure, say, table};

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
    title: String,
    rows: Vec<Row>,
    json: bool,
    wrong: Vec<String>,
}

/// A line of it.
#[derive(Serialize)]
struct Row {
    request: String,
    exit_ip: String,
    status: String,
    shows: String,
}

impl Scene {
    pub(super) fn new(json: bool, title: &str) -> Self {
        Self {
            title: title.to_owned(),
            rows: Vec::new(),
            json,
            wrong: Vec::new(),
        }
    }

    pub(super) fn row(&mut self, request: &str, exit: &str, status: &str, note: &str) {
        self.rows.push(Row {
            request: request.to_owned(),
            exit_ip: exit.to_owned(),
            status: status.to_owned(),
            shows: note.to_owned(),
        });
    }

    /// Notes what is not as it should be.
    pub(super) fn expect(&mut self, holds: bool, what: &str) {
        if !holds {
            self.wrong.push(what.to_owned());
        }
    }

    /// Prints it.
    pub(super) fn end(self) -> Result<(), Failure> {
        if self.json {
            let scene = json!({ "scene": self.title, "rows": self.rows, "wrong": self.wrong });
            say(scene)?;
        } else {
            let mut rows = table(["request", "exit IP", "status", "what it shows"]);
            for row in self.rows {
                rows.add_row([row.request, row.exit_ip, row.status, row.shows]);
            }
            say(format_args!("\n{}\n\n{rows}", self.title))?;
        }
        if self.wrong.is_empty() {
            return Ok(());
        }
        Err(format!("not as it should be: {}", self.wrong.join("; ")).into())
    }
}
