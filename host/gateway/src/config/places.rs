//! Files that are made at the start: whether they can be, as far as that can be seen without opening any.

use std::io;
use std::path::Path;

use super::build::BuildError;
use super::file::File;

impl File {
    /// Whether there are places for `record` and for the file of `storage`.
    ///
    /// # Errors
    ///
    /// [`BuildError`] names the field and the file.
    pub(crate) fn check_places(&self) -> Result<(), BuildError> {
        if !self.has_own_pool() {
            // Tenants' files get a directory of their own, which is made.
            return Ok(());
        }
        let storage = self.storage()?;
        let files = [
            ("record", self.record.as_deref()),
            ("storage", storage.path()),
        ];
        for (field, path) in files {
            if let Some(path) = path {
                check(path).map_err(|error| BuildError::Path {
                    field,
                    path: path.display().to_string(),
                    error,
                })?;
            }
        }
        Ok(())
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
