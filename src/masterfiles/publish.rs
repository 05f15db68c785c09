//! Zones of files into what is served: one file, or all of a directory again and again.
//!
//! **Invariant:** what cannot be read is served as it was; all that one reading has changed becomes
//! visible at once.
//! **Not here:** reading (`masterfiles::known`), which source is served (`publish::stage`).

use std::path::Path;
use std::sync::Arc;

use super::{MasterFile, Refreshed, ZoneFileError, ZoneFiles, build, origin_of, read_master};
use crate::catalog::{CatalogChange, HoldReason};
use crate::publish::stage::{Rank, Stage};
use crate::record::master::Warnings;
use crate::zone::Zone;

/// A master file whose zone is served.
#[derive(Clone, Debug)]
pub struct PublishedFile {
    /// The zone.
    pub zone: Arc<Zone>,
    /// What its author should look at.
    pub warnings: Warnings,
}

/// Reads one master file, with what it includes, and serves its zone, in the place of the one that the
/// stage has of files ([`Rank::File`]) at that apex.
///
/// Relative names lie under the name that the file's name spells ([`origin_of`]) until the file says else.
/// To serve a whole directory, and to see what has changed in it, there is [`ZoneFiles::in_dir`].
///
/// # Errors
/// Every [`ZoneFileError`] but [`ZoneFileError::ApexTwice`]; nothing has changed then.
///
/// # Examples
///
/// ```
/// use aspen_dns::masterfiles;
/// use aspen_dns::publish::stage::{Rank, Stage};
/// use aspen_dns::zone::HashSeed;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("example.com.zone");
/// # let text = "@ 300 SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 192.0.2.53\nwww.test. A 192.0.2.1\n";
/// # std::fs::write(&path, text)?;
/// let stage = Stage::new(HashSeed::random(), Rank::File);
/// let file = masterfiles::publish_file(&path, &stage)?; // …/example.com.zone
/// for warning in &file.warnings.kept {
///     eprintln!("{warning}"); // …/example.com.zone:4:1: A at www.test is outside the zone and left out
/// }
/// # assert_eq!(file.warnings.count, 1);
/// assert_eq!(file.zone.apex().to_fqdn(), "example.com.");
/// assert_eq!(stage.reader().load().zone_count(), 1);
///
/// std::fs::write(&path, "@ SOA ns hostmaster 2 3600 600 86400\n")?;
/// let error = masterfiles::publish_file(&path, &stage).unwrap_err();
/// assert!(error.to_string().ends_with("example.com.zone:1:37: SOA: the minimum is missing"), "{error}");
/// assert_eq!(stage.reader().load().zone_count(), 1); // as it was
/// # Ok(())
/// # }
/// ```
pub fn publish_file(path: impl AsRef<Path>, stage: &Stage) -> Result<PublishedFile, ZoneFileError> {
    let path = path.as_ref();
    let origin = origin_of(path);
    let origin = origin.map_err(|source| ZoneFileError::FileName { path: path.into(), source })?;
    let MasterFile { zone: mut master, .. } = read_master(path, &origin)?;
    let zone = Arc::new(build(path, &master, stage.catalog().seed(), &mut |_| {})?);
    stage.publish(Rank::File, vec![CatalogChange::Put(Arc::clone(&zone))]);
    Ok(PublishedFile { zone, warnings: std::mem::take(&mut master.warnings) })
}

impl ZoneFiles {
    /// Reads all files that are new or have changed, and serves what they hold now: zones, and SERVFAIL
    /// for those of files that have never made one. What no file holds any more goes.
    ///
    /// # Errors
    /// [`ZoneFileError::Read`] if the directory cannot be read; nothing has changed then. What is wrong with
    /// single files is in [`Refreshed::errors`].
    ///
    /// # Panics
    /// If the stage has another seed than these files.
    ///
    /// # Examples
    ///
    /// ```
    /// use aspen_dns::masterfiles::ZoneFiles;
    /// use aspen_dns::publish::stage::{Rank, Stage};
    /// use aspen_dns::zone::HashSeed;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let soa = "@ 300 SOA ns hostmaster 1 3600 600 86400 60\n";
    /// # std::fs::write(dir.path().join("example.com.zone"), soa)?;
    /// # std::fs::write(dir.path().join("example.org.zone"), "@ SOA what?\n")?;
    /// let seed = HashSeed::random();
    /// let stage = Stage::new(seed, Rank::File);
    /// let mut files = ZoneFiles::in_dir(dir.path(), seed);
    /// let read = files.publish(&stage)?; // and again whenever something may have changed
    /// assert_eq!((read.zone_count, read.warnings.len()), (1, 1)); // no NS record
    /// for failed in &read.errors {
    ///     eprintln!("{}", failed.error); // …/example.org.zone:1:1: SOA: the …
    /// }
    /// assert_eq!(stage.reader().load().held_count(), 1); // example.org: SERVFAIL
    /// # Ok(())
    /// # }
    /// ```
    pub fn publish(&mut self, stage: &Stage) -> Result<Refreshed, ZoneFileError> {
        let read = self.refresh()?;
        stage.publish(Rank::File, read.changes());
        Ok(read)
    }
}

impl Refreshed {
    /// Returns what changes in a catalog, all to be published at once.
    pub fn changes(&self) -> Vec<CatalogChange> {
        let gone = self.gone.iter().map(|zone| zone.apex());
        let gone = gone.chain(&self.released).cloned().map(CatalogChange::Remove);
        let hold = |apex: &_| CatalogChange::Hold(Clone::clone(apex), HoldReason::Broken);
        let changed = self.changed.iter().cloned().map(CatalogChange::Put);
        gone.chain(self.held.iter().map(hold)).chain(changed).collect()
    }
}
