//! Counts the exporters of a feed, so that edges tell what this one says from what one before it said.
//!
//! The number lies in a file of its own, which is written over in place: that takes no room, so that
//! a disk that is full keeps no exporter from beginning.
//!
//! **Invariant:** no two exporters of a feed have the same term, unless the disk forgets.
//! **Not here:** what an older copy of the file leads to (`evidence`).

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::durable;

/// The file beside that of the last root.
pub(super) fn file_of(root: &Path) -> PathBuf {
    root.with_extension("term")
}

/// Begins the next term: one above that of the file, and above `known`.
pub(super) fn begin(file: Option<&Path>, known: u64) -> u64 {
    let Some(file) = file else { return known + 1 };
    let last = match read(file) {
        Ok(last) => last,
        Err(error) => {
            tracing::warn!(file = %file.display(), %error,
                "the last term of the feed does not read: it is told from the last root");
            0
        }
    };
    let term = last.max(known).saturating_add(1);
    if let Err(error) = write(file, term) {
        tracing::warn!(file = %file.display(), %error,
            "the term of the feed cannot be kept: edges may not believe what is written after a restart");
    }
    term
}

/// Returns the last term that the file tells of, 0 if it tells of none.
pub(super) fn last(file: &Path) -> u64 {
    read(file).unwrap_or(0)
}

/// Reads the last term; 0 if there was none.
fn read(file: &Path) -> io::Result<u64> {
    match fs::read_to_string(file) {
        Ok(text) => text
            .trim_end()
            .parse()
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no number")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Writes a term.
fn write(file: &Path, term: u64) -> io::Result<()> {
    let text = format!("{term:020}\n");
    let is_long = |data: fs::Metadata| data.is_file() && data.len() == text.len() as u64;
    if !fs::metadata(file).is_ok_and(is_long) {
        return durable::write(file, text.as_bytes());
    }
    let file = OpenOptions::new().write(true).open(file)?;
    file.write_all_at(text.as_bytes(), 0)?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_rise_over_restarts_whatever_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let file = file_of(&dir.path().join("main.root"));
        assert_eq!(begin(Some(&file), 7), 8);
        assert_eq!(begin(Some(&file), 7), 9);
        assert_eq!(begin(Some(&file), 20), 21);
        assert_eq!(begin(Some(&file), 0), 22);
        fs::write(&file, "nonsense").unwrap();
        assert_eq!(begin(Some(&file), 22), 23);
        assert_eq!(begin(Some(&file), 0), 24);
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert_eq!(begin(Some(&file), 24), 25);
        assert_eq!(begin(None, 25), 26);
    }
}
