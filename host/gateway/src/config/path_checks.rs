//! Files that are made at the start: whether they can be, and whether one that is there already can be the one, as far
//! as that can be seen without writing to any.

use std::fs::{self, File as Opened};
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

use super::error::BuildError;
use super::validate::Config;

/// What a file of redb begins with.
const MAGIC: [u8; 9] = *b"redb\x1A\x0A\xA9\x0D\x0A";

impl Config {
    /// Whether there are places for `record` and for the file of `storage`.
    pub(super) fn check_paths(&self, errors: &mut Vec<BuildError>) {
        if !self.file.has_own_pool() {
            // Tenants' files get a directory of their own, which is made.
            return;
        }
        let files = [
            ("record", self.file.record.as_deref(), check as Check),
            ("storage", self.storage.path(), check_state),
        ];
        for (field, path, check) in files {
            if let Some(path) = path
                && let Err(error) = check(path)
            {
                let path = path.display().to_string();
                errors.push(BuildError::Path { field, path, error });
            }
        }
    }
}

type Check = fn(&Path) -> io::Result<()>;

fn check_state(path: &Path) -> io::Result<()> {
    check(path)?;
    let place = match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        place => place?,
    };
    let wrong = |what: &str| {
        let line = format!("it is {what}; move it away to begin with a new one");
        Err(io::Error::other(line))
    };
    if !place.is_file() {
        return wrong("not a regular file");
    }
    if place.len() == 0 {
        return wrong("empty, and so not a state file of remora");
    }
    let mut first = [0; MAGIC.len()];
    let read = Opened::open(path).and_then(|mut file| file.read_exact(&mut first));
    match read {
        // Whoever checks need not be who serves.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => Err(error),
        _ if first != MAGIC => wrong("not a state file of remora"),
        _ => Ok(()),
    }
}

fn check(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::Error::other("it is a directory; a file is needed"));
    }
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() && !parent.is_dir() => {
            let line = format!("there is no directory {}", parent.display());
            Err(io::Error::other(line))
        }
        _ => Ok(()),
    }
}
