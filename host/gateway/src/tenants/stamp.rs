//! By what it is seen that a file has changed.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Another one after every write, and after the file was replaced by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
    /// Also after a change that sets the time of the last one back.
    changed: (i64, i64),
}

impl Stamp {
    /// `None`: there is no such file.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}
