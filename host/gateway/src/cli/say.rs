//! What a command has to say, on standard output.

use std::fmt::Display;
use std::io::{self, Write as _};

/// Writes it, and an end of line. Whoever has stopped reading (`remora stats | head -1`) has read enough.
pub(crate) fn say(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}
