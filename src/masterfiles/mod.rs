//! Master files on disk, served as they are, and their compiled form.
//!
//! [`publish_file`] serves one, [`ZoneFiles`] those of a directory.
//!
//! A start reads the text of those files alone that have changed since they were read last; of the
//! others it reads what they were made into then ([`image`]). [`ZoneFiles::refresh`] does the same
//! while they are served. All processors share the files; one large file is read by one.
//!
//! **Invariant:** the order of the result does not depend on timing; of two files with one apex
//! the first by name is served and the second is an error. A file that cannot be read leaves the zone
//! in place that it held before, even before a restart; one that never made a zone holds its apex.
//! **Not here:** the syntax (`record::master`), zone files that go into the store (`api::import`).

pub mod image;
mod known;
mod load;
mod parts;
mod publish;
pub(crate) mod source;
mod store;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::limits::{REFRESH_WARNINGS_MAX, ZONE_FILE_OCTETS_MAX};
use crate::name::{Name, NameError};
use crate::record::master::{
    self, IncludeError, MasterError, MasterOptions, MasterReader, SortedZone,
};
use crate::record::{RecordType, RrsetRef};
use crate::zone::{BuildError, HashSeed, Zone, ZoneBuilder};

pub use known::ZoneFiles;
pub use publish::{PublishedFile, publish_file};
use source::ReadSource;

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
    /// A pipe, a socket or a device, which may have no end, or a directory.
    #[error("{}: no regular file (a pipe, a socket, a device or a directory)", path.display())]
    NoFile {
        /// What it is called.
        path: PathBuf,
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

impl ZoneFileError {
    /// Whether there is no such file.
    pub fn is_missing_file(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }
}

/// What has become of the zones of files.
#[derive(Debug, Default)]
pub struct Refreshed {
    /// Zones that are new, or have changed, by the order of their files.
    pub changed: Vec<Arc<Zone>>,
    /// Zones that no file holds any more.
    pub gone: Vec<Arc<Zone>>,
    /// Apexes of files that make no zone, and never did: they are to be held.
    pub held: Vec<Name>,
    /// Apexes that were held, and are no file's any more.
    pub released: Vec<Name>,
    /// What is not served, or not as the file has it now.
    pub errors: Vec<FailedFile>,
    /// What the authors of the changed files should look at, as `FILE:LINE:COLUMN: what`: the first
    /// [`REFRESH_WARNINGS_MAX`]. All are logged.
    pub warnings: Vec<String>,
    /// How many zones there are.
    pub zone_count: u64,
    /// How many of the changed ones were built of their compiled form.
    pub compiled_count: u64,
}

impl Refreshed {
    /// Adds the warnings of a file, as long as they are few.
    fn add_warnings(&mut self, warnings: Vec<String>) {
        let room = REFRESH_WARNINGS_MAX.saturating_sub(self.warnings.len());
        self.warnings.extend(warnings.into_iter().take(room));
    }
}

/// A file that is not served.
#[derive(Debug)]
pub struct FailedFile {
    /// Whether it was named, and not found in a directory.
    pub is_named: bool,
    /// Why.
    pub error: ZoneFileError,
    /// What is answered instead.
    pub instead: Instead,
}

/// What is answered in the place of a file that is not served.
#[derive(Clone, Debug)]
pub enum Instead {
    /// This zone, which is what the file was when it was good last.
    LastGood(Arc<Zone>),
    /// SERVFAIL at and below this apex.
    Nothing(Name),
    /// What would be without the file: its zone is another's, or not known.
    Others,
}

impl FailedFile {
    /// Logs what is wrong, with the place in the file, and what is answered instead.
    pub fn log(&self) {
        let error = &self.error;
        match &self.instead {
            Instead::LastGood(zone) => {
                let (apex, serial) = (zone.apex().to_fqdn(), zone.serial());
                tracing::warn!("{error}; zone {apex} is served as it was, with serial {serial}");
            }
            Instead::Nothing(apex) => {
                tracing::error!("{error}; zone {} is answered with SERVFAIL", apex.to_fqdn());
            }
            Instead::Others => tracing::error!("{error}"),
        }
    }
}

/// A master file that was read, with what it includes.
#[derive(Debug)]
pub struct MasterFile {
    /// Its zone.
    pub zone: SortedZone,
    /// The file, then those that it includes, in the order in which they were read.
    pub sources: Vec<ReadSource>,
}

/// Returns the `NAME.zone` files of `dir`, by name.
///
/// # Errors
/// [`ZoneFileError::Read`].
pub(crate) fn list_dir(dir: &Path) -> Result<Vec<PathBuf>, ZoneFileError> {
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
    // By octets: all have one directory in front, and a path would be taken apart for each step.
    paths.sort_unstable_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
    Ok(paths)
}

/// Returns the apex that the zone of a file that makes none would have: the owner of its SOA record if
/// that can be read, or the name that the file's name spells.
fn apex_of(path: &Path) -> Option<Name> {
    let origin = origin_of(path).ok()?;
    let dir = path.parent().unwrap_or(Path::new(""));
    let mut opener = |name: &str| open_included(dir, name).map(|(text, _)| text);
    let text = source::read(path);
    let Ok((text, _)) = text else { return Some(origin) };
    let options = MasterOptions { opener: Some(&mut opener), ..MasterOptions::default() };
    let mut records = MasterReader::new(&text, &origin, options).map_while(Result::ok);
    let soa = records.find(|record| record.rtype == RecordType::SOA);
    Some(soa.map_or_else(|| origin.clone(), |soa| soa.owner))
}

/// Reads one master file and what it includes.
///
/// # Errors
/// [`ZoneFileError::Read`], [`ZoneFileError::TooLong`] and [`ZoneFileError::Master`].
pub fn read_master(path: &Path, origin: &Name) -> Result<MasterFile, ZoneFileError> {
    let (text, first) = source::read(path)?;
    let dir = path.parent().unwrap_or(Path::new(""));
    let mut included = Vec::new();
    let mut opener = |name: &str| {
        let (text, read) = open_included(dir, name)?;
        included.push(read);
        Ok(text)
    };
    let options = MasterOptions {
        file: path.display().to_string(),
        opener: Some(&mut opener),
        ..MasterOptions::default()
    };
    let zone = master::read_sorted(&text, origin, options, &mut |_| {})?;
    let mut sources = vec![first];
    sources.append(&mut included);
    Ok(MasterFile { zone, sources })
}

/// Reads a file that a master file in `dir` includes; it must lie in `dir` or below.
fn open_included(dir: &Path, name: &str) -> Result<(Vec<u8>, ReadSource), IncludeError> {
    let unreadable = |error: std::io::Error| IncludeError::Unreadable(error.kind());
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let real_dir = dir.canonicalize().map_err(unreadable)?;
    // The path as it is written is what is looked at again: a link in it may lead elsewhere then.
    let path = dir.join(name);
    if !path.canonicalize().map_err(unreadable)?.starts_with(&real_dir) {
        return Err(IncludeError::Outside);
    }
    source::read(&path).map_err(|error| match error {
        ZoneFileError::Read { source, .. } => unreadable(source),
        ZoneFileError::NoFile { .. } => IncludeError::Unreadable(std::io::ErrorKind::InvalidInput),
        _ => IncludeError::Unreadable(std::io::ErrorKind::FileTooLarge),
    })
}

/// Builds the zone of a master file; `see` is shown every RRset in its order.
///
/// # Errors
/// [`ZoneFileError::Build`].
pub fn build(
    path: &Path,
    master: &SortedZone,
    seed: HashSeed,
    see: &mut dyn FnMut(RrsetRef<'_>),
) -> Result<Zone, ZoneFileError> {
    let error = |source| ZoneFileError::Build { path: path.into(), source };
    let mut builder = ZoneBuilder::new(master.apex.clone(), seed, master.name_count());
    for rrset in master.rrsets() {
        builder.push(rrset).map_err(|source| error(BuildError::Rrset(source)))?;
        see(rrset);
    }
    builder.finish().map_err(error)
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

#[cfg(test)]
mod tests;
