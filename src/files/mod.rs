//! Reads master files from disk into zones that are served as they are.
//!
//! A directory of 100,000 small files is read by all processors; one large file by one.
//!
//! **Invariant:** the order of the result does not depend on timing; of two files with one apex
//! the first by name is served and the second is an error.
//! **Not here:** the syntax (`record::master`), zone files that go into the store (`api::import`).

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::limits::ZONE_FILE_OCTETS_MAX;
use crate::name::{Name, NameError};
use crate::record::master::{self, IncludeError, MasterError, MasterOptions, MasterZone};
use crate::zone::{BuildError, HashSeed, Zone};

/// Why a zone file is not served.
#[derive(Debug, thiserror::Error)]
pub enum ZoneFileError {
    /// A file or directory cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is longer than we read.
    #[error("{}: longer than {ZONE_FILE_OCTETS_MAX} octets", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The file's name is no name of a zone.
    #[error("{}: the file's name is no zone's name: {source}", path.display())]
    FileName {
        /// The file.
        path: PathBuf,
        /// The rule.
        source: NameError,
    },
    /// The text breaks a rule; the error has file, line and column.
    #[error(transparent)]
    Master(#[from] MasterError),
    /// The records do not make a zone.
    #[error("{}: {source}", path.display())]
    Build {
        /// The file.
        path: PathBuf,
        /// The rule.
        source: BuildError,
    },
    /// Another file has the same apex.
    #[error("{}: zone {apex} is in another file already", path.display())]
    ApexTwice {
        /// The file.
        path: PathBuf,
        /// The apex.
        apex: Name,
    },
}

/// What a directory or a list of files held.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The zones, by the order of their files.
    pub zones: Vec<Zone>,
    /// What is not served.
    pub errors: Vec<FailedFile>,
}

/// A file that is not served.
#[derive(Debug)]
pub struct FailedFile {
    /// Its place in the list of files.
    pub index: usize,
    /// Why.
    pub error: ZoneFileError,
}

/// Returns the `NAME.zone` files of `dir`, by name.
///
/// # Errors
/// [`ZoneFileError::Read`].
pub fn list_dir(dir: &Path) -> Result<Vec<PathBuf>, ZoneFileError> {
    let read = |source| ZoneFileError::Read { path: dir.into(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(read)? {
        let path = entry.map_err(read)?.path();
        let is_zone = path.extension().is_some_and(|extension| extension == "zone");
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
        if is_zone && !is_hidden {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

/// Reads all of `paths`, on all processors when there are many.
pub fn load(paths: &[PathBuf], seed: HashSeed) -> Loaded {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(paths.len());
    let next = AtomicUsize::new(0);
    let mut results: Vec<(usize, Result<Zone, ZoneFileError>)> = thread::scope(|scope| {
        let read_some = || {
            let mut results = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(path) = paths.get(index) else { return results };
                results.push((index, load_file(path, seed)));
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(read_some)).collect();
        let joined = workers.into_iter().map(thread::ScopedJoinHandle::join);
        // A worker that panicked would lose files silently: the panic goes on in the caller.
        joined
            .flat_map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    results.sort_unstable_by_key(|(index, _)| *index);
    let mut loaded = Loaded::default();
    let mut apexes = HashSet::with_capacity(results.len());
    for (index, result) in results {
        match result {
            Ok(zone) if !apexes.insert(zone.apex().clone()) => {
                let (path, apex) = (paths[index].clone(), zone.apex().clone());
                let error = ZoneFileError::ApexTwice { path, apex };
                loaded.errors.push(FailedFile { index, error });
            }
            Ok(zone) => loaded.zones.push(zone),
            Err(error) => loaded.errors.push(FailedFile { index, error }),
        }
    }
    loaded
}

/// Reads one file; its name without `.zone` is the initial origin.
///
/// # Errors
/// Every [`ZoneFileError`] but [`ZoneFileError::ApexTwice`].
pub fn load_file(path: &Path, seed: HashSeed) -> Result<Zone, ZoneFileError> {
    let origin =
        origin_of(path).map_err(|source| ZoneFileError::FileName { path: path.into(), source })?;
    let zone = read_master(path, &origin)?;
    for warning in &zone.warnings.kept {
        tracing::warn!("{warning}");
    }
    crate::zone::build(zone.apex, seed, zone.rrsets)
        .map_err(|source| ZoneFileError::Build { path: path.into(), source })
}

/// Reads one master file and what it includes.
///
/// # Errors
/// [`ZoneFileError::Read`], [`ZoneFileError::TooLong`] and [`ZoneFileError::Master`].
pub fn read_master(path: &Path, origin: &Name) -> Result<MasterZone, ZoneFileError> {
    let text = read(path)?;
    let dir = path.parent().unwrap_or(Path::new(""));
    let mut opener = |name: &str| open_included(dir, name);
    let options = MasterOptions {
        file: path.display().to_string(),
        opener: Some(&mut opener),
        ..MasterOptions::default()
    };
    Ok(master::read_zone(&text, origin, options, &mut |_| {})?)
}

/// Reads a file that a master file in `dir` includes; it must lie in `dir` or below.
fn open_included(dir: &Path, name: &str) -> Result<Vec<u8>, IncludeError> {
    let unreadable = |error: std::io::Error| IncludeError::Unreadable(error.kind());
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let dir = dir.canonicalize().map_err(unreadable)?;
    let path = dir.join(name).canonicalize().map_err(unreadable)?;
    if !path.starts_with(&dir) {
        return Err(IncludeError::Outside);
    }
    read(&path).map_err(|error| match error {
        ZoneFileError::Read { source, .. } => unreadable(source),
        _ => IncludeError::Unreadable(std::io::ErrorKind::FileTooLarge),
    })
}

/// Returns the name that a file's name spells: `example.com.zone`; `root.zone` is the root.
///
/// # Errors
/// Every [`NameError`] that text can break.
pub fn origin_of(path: &Path) -> Result<Name, NameError> {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    match name.strip_suffix(".zone").unwrap_or(&name) {
        "root" => Ok(Name::root()),
        stem => stem.parse(),
    }
}

/// Reads a whole file that is not absurdly long.
///
/// # Errors
/// [`ZoneFileError::Read`], [`ZoneFileError::TooLong`].
fn read(path: &Path) -> Result<Vec<u8>, ZoneFileError> {
    let error = |source| ZoneFileError::Read { path: path.into(), source };
    let len = std::fs::metadata(path).map_err(error)?.len();
    if len > ZONE_FILE_OCTETS_MAX {
        return Err(ZoneFileError::TooLong { path: path.into() });
    }
    std::fs::read(path).map_err(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A zone whose names are all relative.
    const ZONE: &str = "@ 60 SOA ns hostmaster 1 2 3 4 5\n@ 60 NS ns\nns 60 A 192.0.2.1\n";

    /// Writes the files and reads the directory.
    fn load_all(files: &[(&str, &str)]) -> Loaded {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        load(&list_dir(dir.path()).unwrap(), HashSeed(1))
    }

    #[test]
    fn the_files_name_is_the_origin_and_root_is_the_root() {
        let loaded = load_all(&[
            ("a.example.zone", ZONE),
            ("root.zone", ZONE),
            ("notes.txt", "not a zone"),
            (".hidden.zone", "not a zone"),
        ]);
        let apexes: Vec<String> = loaded.zones.iter().map(|zone| zone.apex().to_fqdn()).collect();
        assert_eq!(apexes, ["a.example.", "."]);
        assert!(loaded.errors.is_empty(), "{:?}", loaded.errors);
    }

    #[test]
    fn a_broken_file_does_not_keep_the_others_back() {
        let loaded = load_all(&[("a.zone", ZONE), ("b.zone", "@ 60 SOA ns\n"), ("c.zone", ZONE)]);
        assert_eq!(loaded.zones.len(), 2);
        let [error] = loaded.errors.as_slice() else { panic!("{:?}", loaded.errors) };
        let line = error.error.to_string();
        assert!(line.contains("b.zone:1:") && !line.contains('\n'), "{line}");
    }

    #[test]
    fn the_second_file_of_an_apex_is_an_error() {
        let other = format!("$ORIGIN a.example.\n{ZONE}");
        let loaded = load_all(&[("a.example.zone", ZONE), ("b.zone", &other)]);
        assert_eq!(loaded.zones.len(), 1);
        assert!(matches!(loaded.errors[0].error, ZoneFileError::ApexTwice { .. }));
    }
}
