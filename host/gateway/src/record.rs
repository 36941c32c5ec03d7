//! `record`: the file that decisions are written to.

use std::fs::{self, File, OpenOptions};
use std::io::{self, LineWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

/// How many recordings may lie beside each other.
const MOST: u32 = 100_000;

/// A record that is made. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    path: PathBuf,
    out: Arc<Mutex<Out>>,
}

#[derive(Debug)]
enum Out {
    /// What is decided before anybody listens: whoever cannot listen leaves no file.
    Waiting(Vec<u8>),
    Open(LineWriter<File>),
}

impl Record {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            out: Arc::new(Mutex::new(Out::Waiting(Vec::new()))),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Begins a file, and answers with its name. A record is one run of a process, from an empty storage on: what an
    /// earlier one has left, maybe when it crashed, stays as it is, and this one gets a number.
    pub(crate) fn open(&self) -> io::Result<PathBuf> {
        let mut out = self.out.lock();
        let Out::Waiting(so_far) = &*out else {
            return Ok(self.path.clone());
        };
        let (path, file) = begin(&self.path)?;
        let mut file = LineWriter::new(file);
        file.write_all(so_far)?;
        *out = Out::Open(file);
        Ok(path)
    }
}

impl Write for Record {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *self.out.lock() {
            Out::Waiting(so_far) => so_far.write(bytes),
            Out::Open(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut *self.out.lock() {
            Out::Waiting(_) => Ok(()),
            Out::Open(file) => file.flush(),
        }
    }
}

fn begin(path: &Path) -> io::Result<(PathBuf, File)> {
    let mut options = OpenOptions::new();
    // It holds targets and session ids.
    options.write(true).mode(0o600);
    if fs::metadata(path).is_ok_and(|place| !place.is_file()) {
        // A pipe, a terminal: there is nothing in it that could be lost.
        return Ok((path.to_owned(), options.open(path)?));
    }
    options.create_new(true);
    for number in 1..MOST {
        let path = numbered(path, number);
        match options.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            opened => return opened.map(|file| (path, file)),
        }
    }
    Err(io::Error::other(
        "there are too many recordings; move some away",
    ))
}

/// `trace.jsonl`, `trace.2.jsonl` and so on.
fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 1 {
        return path.to_owned();
    }
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!(".{number}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_record_begins_a_file_of_its_own_with_what_was_said_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace.jsonl");
        for (run, name) in ["trace.jsonl", "trace.2.jsonl", "trace.3.jsonl"]
            .into_iter()
            .enumerate()
        {
            let mut record = Record::new(&path);
            writeln!(record, "{run} before").unwrap();
            assert!(!dir.path().join(name).exists());
            let opened = record.open().unwrap();
            assert_eq!(opened, dir.path().join(name));
            writeln!(record, "{run} after").unwrap();
            let text = fs::read_to_string(&opened).unwrap();
            assert_eq!(text, format!("{run} before\n{run} after\n"));
            let mode = fs::metadata(&opened).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let first = fs::read_to_string(&path).unwrap();
        assert_eq!(first, "0 before\n0 after\n");
    }

    #[test]
    fn what_is_no_file_is_written_to_as_it_is() {
        let mut record = Record::new(Path::new("/dev/null"));
        assert_eq!(record.open().unwrap(), Path::new("/dev/null"));
        writeln!(record, "gone").unwrap();
    }
}
