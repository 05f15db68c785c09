//! The one way to write a small file, and to make the directories that hold it.
//!
//! **Invariant:** after a crash or a loss of power at any moment, `path` holds the old content or
//! the new one, whole; what [`write()`] has returned for is the new one. Files and directories that
//! are made here are their owner's alone from the first moment, those of older versions become so.
//! **Not here:** large files, which databases write.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Writes `octets` to a file of mode 0600: beside `path`, then renamed into its place.
///
/// # Errors
/// What the system says; `path` is then as it was.
pub fn write(path: &Path, octets: &[u8]) -> io::Result<()> {
    let place = place_of(path);
    // One after the other: who gave up waiting for a write that is slow may have begun another.
    let _turn = place.lock().unwrap_or_else(PoisonError::into_inner);
    let beside = beside(path);
    // What a crash left behind may have any mode and any owner's content.
    remove_if_there(&beside)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&beside)?;
    let written = file.write_all(octets).and_then(|()| file.sync_all());
    let renamed = written.and_then(|()| fs::rename(&beside, path));
    if renamed.is_err() {
        // The error says more than what becomes of the rest of it.
        let _ = fs::remove_file(&beside);
    }
    renamed?;
    sync_dir(path)
}

/// Begins a file of mode 0600 that is to take the place of `path`, or be new there, when it is whole: beside it.
///
/// # Errors
/// What the system says.
pub(crate) fn create_beside(path: &Path) -> io::Result<File> {
    let beside = beside(path);
    remove_if_there(&beside)?;
    OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&beside)
}

/// Puts what [`create_beside`] has begun, and its writer has made durable, in the place of `path`.
///
/// # Errors
/// What the system says; `path` is then as it was.
pub(crate) fn put_in_place(path: &Path) -> io::Result<()> {
    fs::rename(beside(path), path)?;
    sync_dir(path)
}

/// Removes what [`create_beside`] has begun.
pub(crate) fn remove_beside(path: &Path) {
    // The error that led here says more.
    let _ = fs::remove_file(beside(path));
}

/// Makes a new file of mode 0600.
///
/// # Errors
/// What the system says; one that is there already stays as it is.
pub fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)
}

/// Makes a directory and what is missing above it, its owner's alone; takes one that is there from
/// everybody else.
///
/// # Errors
/// What the system says.
pub fn create_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir)?;
    restrict(dir, DIR_MODE)
}

/// Takes every file and directory at or below `dir` from everybody but its owner.
///
/// # Errors
/// What the system says. What is not there is no error; links are not followed.
pub(crate) fn make_private(dir: &Path) -> io::Result<()> {
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        restrict(&dir, DIR_MODE)?;
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                dirs.push(entry.path());
            } else if kind.is_file() {
                restrict(&entry.path(), FILE_MODE)?;
            }
        }
    }
    Ok(())
}

/// Moves a file or directory that is of no use out of the way, beside itself, and returns where it
/// is now: what was moved there before goes.
///
/// # Errors
/// What the system says.
pub(crate) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".damaged");
    let aside = PathBuf::from(aside);
    match fs::symlink_metadata(&aside) {
        Ok(data) if data.is_dir() => fs::remove_dir_all(&aside)?,
        Ok(_) => fs::remove_file(&aside)?,
        Err(_) => {}
    }
    fs::rename(path, &aside)?;
    sync_dir(path)?;
    Ok(aside)
}

/// Clears the bits of group and others where they are set.
fn restrict(path: &Path, mode: u32) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?.permissions().mode(),
    };
    if found & OTHERS == 0 {
        return Ok(());
    }
    match fs::set_permissions(path, Permissions::from_mode(found & mode)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Returns what those who write one file take turns with.
fn place_of(path: &Path) -> Arc<Mutex<()>> {
    static PLACES: Mutex<BTreeMap<PathBuf, Arc<Mutex<()>>>> = Mutex::new(BTreeMap::new());
    let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
    places.retain(|_, place| Arc::strong_count(place) > 1);
    Arc::clone(places.entry(path.to_path_buf()).or_default())
}

/// Returns where the new content of a file is prepared.
fn beside(path: &Path) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    PathBuf::from(beside)
}

/// Removes a file if it is there.
fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Makes a rename or a removal in the directory of `path` last.
fn sync_dir(path: &Path) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

/// The mode of files: read and written by their owner.
const FILE_MODE: u32 = 0o600;
/// The mode of directories.
const DIR_MODE: u32 = 0o700;
/// What everybody else might do.
const OTHERS: u32 = 0o077;

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_is_replaced_whole_and_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        // What a crash of an older version may have left: readable by everybody.
        fs::write(beside(&path), "half").unwrap();
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        write(&path, b"new").unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"new".to_vec(), 0o600));
        assert!(!beside(&path).exists());
    }

    #[test]
    fn a_directory_that_cannot_be_written_leaves_the_file_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("no-such-directory").join("file");
        assert_eq!(write(&path, b"x").unwrap_err().kind(), ErrorKind::NotFound);
        // A directory in the file's place: the rename fails, and nothing is left beside it.
        let path = dir.path().join("taken");
        fs::create_dir_all(path.join("below")).unwrap();
        assert!(write(&path, b"x").is_err());
        assert!(!beside(&path).exists());
    }

    #[test]
    fn what_an_older_version_left_open_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("a").join("b");
        fs::create_dir_all(&below).unwrap();
        fs::write(below.join("file"), "x").unwrap();
        for path in [dir.path(), &below] {
            fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        }
        fs::set_permissions(below.join("file"), Permissions::from_mode(0o644)).unwrap();
        make_private(dir.path()).unwrap();
        assert_eq!((mode(&below), mode(&below.join("file"))), (0o700, 0o600));
        create_dir(&dir.path().join("c").join("d")).unwrap();
        assert_eq!(mode(&dir.path().join("c")), 0o700);
        make_private(&dir.path().join("nothing")).unwrap();
    }

    #[test]
    fn what_is_set_aside_replaces_what_was_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blobs");
        for round in ["one", "two"] {
            fs::create_dir(&path).unwrap();
            fs::write(path.join("file"), round).unwrap();
            let aside = set_aside(&path).unwrap();
            assert!(!path.exists());
            assert_eq!(fs::read_to_string(aside.join("file")).unwrap(), round);
        }
    }
}
