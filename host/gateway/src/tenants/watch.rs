//! Sees that the files of tenants have changed.
//!
//! It looks twice a second rather than waiting to be told: a watch of the system's misses changes on network file
//! systems and behind the symbolic links of mounted configuration, and says nothing of whether a file is complete. A file
//! counts when it was the same at two looks; so one that is being written is left alone, and so is one that was away
//! for a moment. What looking costs is in docs/tenants.md.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::Tenants;
use super::change::Wanted;
use super::stamp::Stamp;
use crate::config::{BuildError, Config, TenantConfig, check_name, read_tenant};

/// How often it looks.
const EVERY: Duration = Duration::from_millis(500);

/// The tenants that stand in `remora.toml` itself.
pub(crate) fn of_file(config: &Config) -> Vec<Wanted> {
    let tenants = config.tenants.iter();
    let wanted = tenants.map(|(name, fields)| Wanted {
        name: name.clone(),
        fields: Ok(fields.clone()),
    });
    wanted.collect()
}

/// The tenants that there are to begin with, and who sees changes of them where they stand in a directory.
pub(crate) fn first(config: &Config) -> Result<(Vec<Wanted>, Option<Watcher>), BuildError> {
    let Some(directory) = &config.file.tenants else {
        return Ok((of_file(config), None));
    };
    let mut watcher = Watcher::new(directory.clone());
    let wanted = watcher.read().map_err(|error| BuildError::Path {
        field: "tenants",
        path: directory.display().to_string(),
        error,
    })?;
    Ok((wanted.unwrap_or_default(), Some(watcher)))
}

/// Keeps the tenants as the files of a directory say; `again`: read all of them again.
pub(crate) async fn watch(
    tenants: Arc<Tenants>,
    mut watcher: Watcher,
    mut again: mpsc::Receiver<()>,
) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let anew = tokio::select! {
            _ = ticks.tick() => false,
            asked = again.recv() => match asked {
                Some(()) => true,
                None => return,
            },
        };
        let looked = spawn_blocking(move || {
            let wanted = if anew { watcher.read() } else { watcher.look() };
            (watcher, wanted)
        });
        let Ok((same, wanted)) = looked.await else {
            return;
        };
        watcher = same;
        match wanted {
            Ok(None) => {}
            Ok(Some(wanted)) => {
                tenants.become_these(wanted).await;
                tracing::info!(anew, "the directory of tenants was read");
            }
            Err(error) => {
                let directory = watcher.directory.display();
                tracing::error!(%directory, %error, "cannot look for tenants; all stay as they are");
            }
        }
    }
}

/// A file as it was seen.
#[derive(Clone, PartialEq, Eq)]
struct Sight {
    path: PathBuf,
    file: Option<Stamp>,
    /// The file of the plugin that it names.
    plugin: Option<Stamp>,
}

struct Entry {
    sight: Sight,
    fields: Result<Arc<TenantConfig>, String>,
}

/// A directory with a file `NAME.toml` for each tenant.
pub(crate) struct Watcher {
    directory: PathBuf,
    /// What was read last.
    read: BTreeMap<String, Entry>,
    /// What was seen at the last look.
    seen: BTreeMap<String, Sight>,
    /// Whether the last look failed, which is said once.
    is_lost: bool,
}

impl Watcher {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            read: BTreeMap::new(),
            seen: BTreeMap::new(),
            is_lost: false,
        }
    }

    /// Reads all of it, as it is.
    pub(crate) fn read(&mut self) -> io::Result<Option<Vec<Wanted>>> {
        self.seen = self.sights()?;
        self.read.clear();
        for (name, sight) in self.seen.clone() {
            self.enter(name, sight);
        }
        Ok(Some(self.wanted()))
    }

    /// Reads what has changed and is complete; `None`: nothing.
    pub(crate) fn look(&mut self) -> io::Result<Option<Vec<Wanted>>> {
        let sights = match self.sights() {
            Ok(sights) => sights,
            Err(_) if self.is_lost => return Ok(None),
            Err(error) => {
                self.is_lost = true;
                return Err(error);
            }
        };
        self.is_lost = false;
        let seen = std::mem::replace(&mut self.seen, sights.clone());
        let mut changed = false;
        for (name, sight) in &sights {
            let known = self
                .read
                .get(name)
                .is_some_and(|entry| entry.sight == *sight);
            if !known && seen.get(name) == Some(sight) {
                self.enter(name.clone(), sight.clone());
                changed = true;
            }
        }
        let before = self.read.len();
        let is_there = |name: &String| sights.contains_key(name) || seen.contains_key(name);
        self.read.retain(|name, _| is_there(name));
        changed |= self.read.len() != before;
        Ok(changed.then(|| self.wanted()))
    }

    fn wanted(&self) -> Vec<Wanted> {
        let wanted = self.read.iter().map(|(name, entry)| Wanted {
            name: name.clone(),
            fields: entry.fields.clone(),
        });
        wanted.collect()
    }

    fn enter(&mut self, name: String, mut sight: Sight) {
        let fields = read(&sight.path, &name);
        sight.plugin = fields.as_ref().ok().and_then(|fields| plugin(fields));
        self.seen.insert(name.clone(), sight.clone());
        self.read.insert(name, Entry { sight, fields });
    }

    /// The files of tenants. Names that begin with a dot, or end in something else, are those of editors.
    fn sights(&self) -> io::Result<BTreeMap<String, Sight>> {
        let mut sights = BTreeMap::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let name = path.file_stem().and_then(|name| name.to_str());
            let is_toml = path
                .extension()
                .is_some_and(|extension| extension == "toml");
            let Some(name) = name.filter(|name| is_toml && !name.starts_with('.')) else {
                continue;
            };
            let fields = self
                .read
                .get(name)
                .and_then(|entry| entry.fields.as_ref().ok());
            let sight = Sight {
                file: Stamp::of(&path),
                plugin: fields.and_then(|fields| plugin(fields)),
                path: path.clone(),
            };
            sights.insert(name.to_owned(), sight);
        }
        Ok(sights)
    }
}

fn plugin(fields: &TenantConfig) -> Option<Stamp> {
    fields.plugin().and_then(Stamp::of)
}

fn read(path: &Path, name: &str) -> Result<Arc<TenantConfig>, String> {
    check_name(name).map_err(|error| format!("{}: {error}", path.display()))?;
    let fields = read_tenant(path, name).map_err(|error| error.to_string())?;
    Ok(Arc::new(fields))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn names(wanted: &io::Result<Option<Vec<Wanted>>>) -> Option<Vec<(&str, bool)>> {
        let wanted = wanted.as_ref().unwrap().as_ref()?;
        let names = wanted.iter().map(|w| (w.name.as_str(), w.fields.is_ok()));
        Some(names.collect())
    }

    #[test]
    fn a_file_counts_once_it_stays_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        fs::write(file("a.toml"), "").unwrap();
        fs::write(file(".b.toml"), "").unwrap();
        fs::write(file("c.toml~"), "").unwrap();
        let mut watcher = Watcher::new(dir.path().to_owned());
        assert_eq!(names(&watcher.read()), Some(vec![("a", true)]));
        assert_eq!(names(&watcher.look()), None);
        // Half of it, and then all of it.
        fs::write(file("d.toml"), "[sti").unwrap();
        assert_eq!(names(&watcher.look()), None);
        fs::write(file("d.toml"), "[sticky]").unwrap();
        assert_eq!(names(&watcher.look()), None);
        assert_eq!(names(&watcher.look()), Some(vec![("a", true), ("d", true)]));
        // Replaced by another one, away for a moment in between.
        fs::write(file("new"), "nonsense").unwrap();
        fs::remove_file(file("d.toml")).unwrap();
        assert_eq!(names(&watcher.look()), None);
        fs::rename(file("new"), file("d.toml")).unwrap();
        assert_eq!(names(&watcher.look()), None);
        assert_eq!(
            names(&watcher.look()),
            Some(vec![("a", true), ("d", false)])
        );
        fs::remove_file(file("d.toml")).unwrap();
        assert_eq!(names(&watcher.look()), None);
        assert_eq!(names(&watcher.look()), Some(vec![("a", true)]));
    }

    #[test]
    fn a_plugin_that_changes_changes_its_tenant() {
        let dir = tempfile::tempdir().unwrap();
        let plugin = dir.path().join("plugin.wasm");
        fs::write(dir.path().join("a.toml"), format!("plugin = {plugin:?}")).unwrap();
        let mut watcher = Watcher::new(dir.path().to_owned());
        assert_eq!(names(&watcher.read()), Some(vec![("a", true)]));
        fs::write(&plugin, "one").unwrap();
        assert_eq!(names(&watcher.look()), None);
        assert_eq!(names(&watcher.look()), Some(vec![("a", true)]));
        assert_eq!(names(&watcher.look()), None);
    }

    #[test]
    fn a_directory_that_is_gone_removes_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("tenants.d");
        fs::create_dir(&place).unwrap();
        fs::write(place.join("a.toml"), "").unwrap();
        let mut watcher = Watcher::new(place.clone());
        watcher.read().unwrap();
        fs::rename(&place, dir.path().join("away")).unwrap();
        assert!(watcher.look().is_err());
        assert!(watcher.read().is_err());
        assert_eq!(names(&watcher.look()), None);
        fs::rename(dir.path().join("away"), &place).unwrap();
        assert_eq!(names(&Ok(Some(watcher.wanted()))), Some(vec![("a", true)]));
        assert_eq!(names(&watcher.look()), None);
        fs::write(place.join("not a name.toml"), "").unwrap();
        assert_eq!(names(&watcher.look()), None);
        assert_eq!(
            names(&watcher.look()),
            Some(vec![("a", true), ("not a name", false)])
        );
    }
}
