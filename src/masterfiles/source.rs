//! Master files on disk: how they are read, and how a change of one is noticed.
//!
//! A file that is written again gets another time of change, which nothing short of setting the
//! clock back can hide; the times are as coarse as the file system makes them, so a file is
//! trusted by them only once it has rested for [`SOURCE_REST_MS`].
//!
//! **Invariant:** a key belongs to the octets that were read: a file that changes meanwhile has none.
//! **Not here:** the syntax (`record::master`).

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha1::{Digest as _, Sha1};

use super::ZoneFileError;
use crate::clock;
use crate::limits::{SOURCE_REST_MS, ZONE_FILE_OCTETS_MAX};

/// What tells one state of a file from any other.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct SourceKey {
    /// The file system.
    pub device: u64,
    /// The file in it.
    pub inode: u64,
    /// The length in octets.
    pub octets: u64,
    /// When its octets were written last, in nanoseconds since 1970.
    pub modified_ns: u64,
    /// When anything of it was changed last, its times included, in nanoseconds since 1970.
    pub changed_ns: u64,
}

/// A file that a zone is made of.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Source {
    /// Its path, as it was opened.
    pub path: PathBuf,
    /// Its state.
    pub key: SourceKey,
}

/// A file that was read.
#[derive(Debug)]
pub struct ReadSource {
    /// The file.
    pub source: Source,
    /// The SHA-1 of its octets, if it had not rested yet.
    pub unrested: Option<[u8; 20]>,
    /// Whether it stayed the same while it was read.
    pub is_steady: bool,
}

impl SourceKey {
    /// Makes a key of what the system tells of a file.
    fn of(metadata: &Metadata) -> Self {
        let ns = |s: i64, ns: i64| s.wrapping_mul(1_000_000_000).wrapping_add(ns) as u64;
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            octets: metadata.len(),
            modified_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Returns the key of the file that stands at a path now, if there is one.
    pub fn at(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|metadata| Self::of(&metadata))
    }

    /// Returns how long the file has yet to rest at `now_ms` milliseconds since 1970; nothing if it
    /// has.
    pub fn rest_left(&self, now_ms: u64) -> Duration {
        let rest = Duration::from_millis(SOURCE_REST_MS);
        let changed = Duration::from_nanos(self.modified_ns.max(self.changed_ns));
        let age = Duration::from_millis(now_ms).checked_sub(changed);
        // A change in the future is one of a clock that was set back: it never rests long enough.
        age.map_or(rest, |age| rest.saturating_sub(age))
    }
}

/// Refuses what is no file: it might never be read to its end, or have none.
///
/// # Errors
/// [`ZoneFileError::NoFile`], [`ZoneFileError::Read`].
fn check_file(path: &Path) -> Result<(), ZoneFileError> {
    let found = std::fs::metadata(path);
    let kind =
        found.map_err(|source| ZoneFileError::Read { path: path.into(), source })?.file_type();
    match kind.is_file() {
        true => Ok(()),
        false => Err(ZoneFileError::NoFile { path: path.into() }),
    }
}

/// Reads a whole file that is not absurdly long.
///
/// # Errors
/// Those of [`check_file`], and [`ZoneFileError::TooLong`].
pub(crate) fn read(path: &Path) -> Result<(Vec<u8>, ReadSource), ZoneFileError> {
    check_file(path)?;
    let error = |source| ZoneFileError::Read { path: path.into(), source };
    let mut file = File::open(path).map_err(error)?;
    let key = SourceKey::of(&file.metadata().map_err(error)?);
    if key.octets > ZONE_FILE_OCTETS_MAX {
        return Err(ZoneFileError::TooLong { path: path.into() });
    }
    let has_rested = key.rest_left(clock::now_ms()).is_zero();
    let mut octets = Vec::with_capacity(key.octets as usize);
    // A device has no length of its own and must not fill the memory either.
    let limited = (&mut file).take(ZONE_FILE_OCTETS_MAX + 1).read_to_end(&mut octets);
    limited.map_err(error)?;
    if octets.len() as u64 > ZONE_FILE_OCTETS_MAX {
        return Err(ZoneFileError::TooLong { path: path.into() });
    }
    let after = SourceKey::of(&file.metadata().map_err(error)?);
    let is_steady = key == after && key.octets == octets.len() as u64;
    let unrested = (!has_rested).then(|| Sha1::digest(&octets).into());
    Ok((octets, ReadSource { source: Source { path: path.into(), key }, unrested, is_steady }))
}

/// Whether a file that had not rested when it was read still holds the same octets, and has now.
pub(crate) fn has_come_to_rest(source: &Source, digest: &[u8; 20]) -> bool {
    match read(&source.path) {
        Ok((octets, read)) => {
            read.is_steady
                && read.unrested.is_none()
                && read.source.key == source.key
                && <[u8; 20]>::from(Sha1::digest(&octets)) == *digest
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_to_rest_for_two_seconds() {
        let key = SourceKey { changed_ns: 10_000_000_000, ..SourceKey::default() };
        for (now_ms, left_ms) in [(9_000, 2_000), (10_000, 2_000), (11_500, 500), (12_000, 0)] {
            assert_eq!(key.rest_left(now_ms), Duration::from_millis(left_ms), "{now_ms}");
        }
    }

    #[test]
    fn every_way_to_change_a_file_changes_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "one").unwrap();
        let first = SourceKey::at(&path).unwrap();
        assert_eq!(read(&path).unwrap().1.source.key, first);
        std::fs::write(dir.path().join("g"), "two").unwrap();
        std::fs::rename(dir.path().join("g"), &path).unwrap();
        let second = SourceKey::at(&path).unwrap();
        assert_ne!(first, second);
        std::fs::write(&path, "three").unwrap();
        assert_ne!(second, SourceKey::at(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(SourceKey::at(&path), None);
    }
}
