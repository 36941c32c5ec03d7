//! Standard output of a command: lines and tables, and the error that ends it.

use std::fmt::Display;
use std::io::{self, Write as _};

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{LineStyle, Table};

/// An error that ends a command.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Writes a text and an end of line. A closed pipe (`remora stats | head -1`) is not an error.
pub(crate) fn say(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// An empty table in the style of all of remora's tables.
pub(crate) fn table<const COLUMNS: usize>(header: [&str; COLUMNS]) -> Table {
    let mut table = Table::new();
    // Lines above, below and under the header; none between the rows.
    table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_header(header);
    table
}
