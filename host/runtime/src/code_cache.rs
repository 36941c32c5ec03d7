//! Compiled code on disk.
//!
//! The files are wasmtime's own: it names them by its version, the settings of the engine and a SHA-256 of
//! the component. What this file adds is that the directory is one that nobody but the operator can write to,
//! since whoever can write there runs code in this process; that a component is compiled in a process of its
//! own before it is loaded here; and that a file in which a bit has changed is not loaded: wasmtime would run it.

use std::ffi::OsString;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use wasmtime::{Cache, CacheConfig, Engine};

use crate::compiler::{self, Compiler};
use crate::error::PluginError;

/// Where wasmtime keeps its files. It tidies up there, and removes what it does not know.
const CODE: &str = "wasmtime";

/// Where components are being compiled.
const MAKING: &str = "making";
/// Nothing is compiled for as long as this.
const LEFT_BEHIND: Duration = Duration::from_secs(3_600);

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
        let failed = |reason| self.failed(reason);
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
        self.tidy();
        let mut config = CacheConfig::new();
        config.with_directory(directory.join(CODE));
        // A file that is used often is not written again: it would not be the one that was noted.
        config.with_optimized_compression_usage_counter_threshold(u64::MAX);
        Cache::new(config).map_err(|error| failed(format!("{error:#}")))
    }

    /// Removes what processes that were killed have left half made.
    fn tidy(&self) {
        let made = fs::read_dir(self.directory.join(MAKING));
        for place in made.into_iter().flatten().flatten() {
            let age = place.metadata().and_then(|place| place.modified());
            let age = age.ok().and_then(|at| at.elapsed().ok());
            if age.is_some_and(|age| age > LEFT_BEHIND) {
                let _ = fs::remove_dir_all(place.path());
            }
        }
    }

    /// Whether a component was compiled, and its code is as it was then.
    pub(crate) fn has(&self, engine: &Engine, bytes: &[u8]) -> bool {
        self.holds(&self.note(engine, bytes))
    }

    fn note(&self, engine: &Engine, bytes: &[u8]) -> PathBuf {
        self.directory.join("compiled").join(name(engine, bytes))
    }

    /// Has a component compiled, unless it was already and the code is as it was then.
    pub(crate) fn fill(&self, engine: &Engine, bytes: &[u8]) -> Result<(), PluginError> {
        match &self.compiler {
            Some(compiler) => self.make(engine, bytes, |place| compiler.run(place, bytes)),
            None => self.fill_here(engine, bytes),
        }
    }

    /// Compiles a component that is trusted in this process, unless it was already. Without room to keep the code it is
    /// compiled once more when it is loaded.
    pub(crate) fn fill_here(&self, engine: &Engine, bytes: &[u8]) -> Result<(), PluginError> {
        let made = self.make(engine, bytes, |place| compiler::compile(place, bytes));
        match made {
            Err(error @ PluginError::Cache { .. }) => {
                tracing::warn!(%error, "compiled code is not kept");
                Ok(())
            }
            made => made,
        }
    }

    fn make(
        &self,
        engine: &Engine,
        bytes: &[u8],
        compile: impl FnOnce(&Path) -> Result<(), PluginError>,
    ) -> Result<(), PluginError> {
        let note = self.note(engine, bytes);
        if self.holds(&note) {
            return Ok(());
        }
        self.discard(&note);
        // A cache of its own, in which there is one file afterwards.
        let place = self.directory.join(MAKING).join(random_name());
        let made = make_private(&place)
            .map_err(|error| self.failed(error.to_string()))
            .and_then(|()| compile(&place))
            .and_then(|()| {
                let kept = self.keep(&place, &note);
                kept.map_err(|error| self.failed(error.to_string()))
            });
        // In this process wasmtime may just be writing its statistics there.
        if let Err(error) = fs::remove_dir_all(&place).or_else(|_| fs::remove_dir_all(&place)) {
            tracing::warn!(%error, path = %place.display(), "left behind");
        }
        made
    }

    /// What is not as it was must not be found by wasmtime, whatever becomes of the next attempt.
    fn discard(&self, note: &Path) {
        let noted = fs::read_to_string(note).unwrap_or_default();
        if let Some((_, file)) = noted.split_once(' ') {
            let _ = fs::remove_file(self.directory.join(file));
        }
    }

    /// Whether the file that a note speaks of is there, unchanged.
    fn holds(&self, note: &Path) -> bool {
        let Ok(note) = fs::read_to_string(note) else {
            return false;
        };
        let Some((digest, file)) = note.split_once(' ') else {
            return false;
        };
        fs::read(self.directory.join(file)).is_ok_and(|code| hex(Sha256::digest(code)) == digest)
    }

    /// Moves the code from where it was made to where it is looked for, and notes what it is.
    fn keep(&self, place: &Path, note: &Path) -> io::Result<()> {
        let (made, version) = code_in(&place.join(CODE).join("modules"))?;
        let digest = hex(Sha256::digest(fs::read(&made)?));
        let file_name = made.file_name().unwrap_or_default();
        let file = Path::new(CODE)
            .join("modules")
            .join(version)
            .join(file_name);
        let noted = place.join("note");
        fs::write(&noted, format!("{digest} {}", file.display()))?;
        for (from, to) in [(made, self.directory.join(file)), (noted, note.to_owned())] {
            fs::create_dir_all(to.parent().unwrap_or(&to))?;
            fs::rename(from, to)?;
        }
        Ok(())
    }

    fn failed(&self, reason: String) -> PluginError {
        PluginError::Cache {
            path: self.directory.display().to_string(),
            reason,
        }
    }
}

/// The one file of code in a cache of wasmtime's, and the name of the directory of its version.
fn code_in(modules: &Path) -> io::Result<(PathBuf, OsString)> {
    for version in fs::read_dir(modules)? {
        let version = version?;
        for file in fs::read_dir(version.path())? {
            let file = file?.path();
            // The others are statistics, and files that are being written.
            if file.extension().is_none() {
                return Ok((file, version.file_name()));
            }
        }
    }
    Err(io::Error::other("the compiler left no code"))
}

fn random_name() -> String {
    uuid::Uuid::new_v4().to_string()
}

fn hex(digest: impl AsRef<[u8]>) -> String {
    let bytes = digest.as_ref().iter();
    bytes.map(|byte| format!("{byte:02x}")).collect()
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
    hex(hasher.0.finalize())
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
