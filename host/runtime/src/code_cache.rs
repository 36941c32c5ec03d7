//! Compiled code on disk.
//!
//! The files are wasmtime's own: it names them by its version, the settings of the engine and a SHA-256 of
//! the component, and checks them when it loads them. What this file adds is that the directory is one that
//! nobody but the operator can write to, since whoever can write there runs code in this process; and that
//! a component is compiled in a process of its own before it is loaded here.

use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wasmtime::{Cache, CacheConfig, Engine};

use crate::compiler::Compiler;
use crate::error::PluginError;

/// Where compiled code is kept, and who compiles it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeCache {
    /// The directory. Made if it is not there. It and every directory above it must be writable by nobody but
    /// root and the user that this process runs as.
    pub directory: PathBuf,
    /// The program that compiles. `None`: this process does, for as long as it takes and with as much memory
    /// as it takes: for plugins that are trusted.
    pub compiler: Option<Compiler>,
}

impl CodeCache {
    /// Opens the directory, if it can be trusted.
    pub(crate) fn open(&self) -> Result<Cache, PluginError> {
        let failed = |reason: String| PluginError::Cache {
            path: self.directory.display().to_string(),
            reason,
        };
        make_private(&self.directory).map_err(|error| failed(error.to_string()))?;
        let directory = self
            .directory
            .canonicalize()
            .map_err(|error| failed(error.to_string()))?;
        for place in directory.ancestors() {
            if let Some(reason) = writable_by_others(place) {
                return Err(failed(reason));
            }
        }
        let mut config = CacheConfig::new();
        config.with_directory(directory);
        Cache::new(config).map_err(|error| failed(format!("{error:#}")))
    }

    /// Has a component compiled, unless it was already.
    pub(crate) fn fill(&self, engine: &Engine, bytes: &[u8]) -> Result<(), PluginError> {
        let Some(compiler) = &self.compiler else {
            return Ok(());
        };
        let mark = self.directory.join("compiled").join(name(engine, bytes));
        if mark.exists() {
            return Ok(());
        }
        compiler.run(&self.directory, bytes)?;
        // Without the mark it is compiled again the next time: slow, not wrong.
        let kept = fs::create_dir_all(self.directory.join("compiled"))
            .and_then(|()| fs::write(&mark, b""));
        if let Err(error) = kept {
            tracing::warn!(%error, mark = %mark.display(), "compiled code will not be found again");
        }
        Ok(())
    }
}

/// A file name for a component under the settings of an engine.
fn name(engine: &Engine, bytes: &[u8]) -> String {
    struct Digesting(Sha256);
    impl Hasher for Digesting {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }

        fn finish(&self) -> u64 {
            0
        }
    }
    let mut hasher = Digesting(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    bytes.hash(&mut hasher);
    let digest = hasher.0.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn make_private(directory: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
}

/// Why somebody who is neither root nor this process's user could put a file of theirs in this place.
fn writable_by_others(place: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let metadata = match fs::metadata(place) {
        Ok(metadata) => metadata,
        Err(error) => return Some(format!("{}: {error}", place.display())),
    };
    let own = rustix::process::geteuid().as_raw();
    let mode = metadata.mode();
    if metadata.uid() != own && metadata.uid() != 0 {
        let uid = metadata.uid();
        return Some(format!(
            "{} belongs to user {uid}; it has to belong to root or to user {own}",
            place.display()
        ));
    }
    // In a sticky directory such as /tmp nobody moves away what is another's.
    let sticky = mode & 0o1000 != 0;
    (mode & 0o022 != 0 && !sticky).then(|| {
        format!(
            "{} can be written by others (mode {:04o}); nobody but its owner may",
            place.display(),
            mode & 0o7777
        )
    })
}
