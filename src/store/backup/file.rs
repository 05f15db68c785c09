//! The form of a backup in a file.
//!
//! `AB`, version, 0; the history of the store (varint length, JSON); then per entry the octet 1, the key and the
//! value (each behind a varint length); at the end the octet 0, the number of entries (64 bits, big-endian) and the
//! SHA-256 of all octets before it.
//!
//! **Invariant:** a file that was cut short or changed is told from a whole one before anything of it is used.
//! **Not here:** what the entries mean (`store::keys`).

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek as _, SeekFrom, Write};
use std::path::Path;

use ring::digest::{Context, SHA256};

use super::{BackupError, Entries};
use crate::durable;
use crate::limits::{BACKUP_HEADER_OCTETS_MAX, BACKUP_KEY_OCTETS_MAX, BACKUP_VALUE_OCTETS_MAX};
use crate::octets::{Format, put_counted, put_varint};
use crate::store::history::History;

/// Turns entries into the octets of a file.
pub struct BackupWriter {
    /// Of all octets so far.
    sum: Context,
    /// Entries so far.
    entries: u64,
}

/// Reads a file that was found whole.
#[derive(Debug)]
pub struct BackupFile {
    /// The file, behind what was read.
    file: BufReader<File>,
    /// The history of the store that it is of.
    history: History,
    /// Entries in it.
    entries: u64,
    /// Entries that were read.
    read: u64,
}

impl BackupWriter {
    /// Begins a file; returns its first octets too.
    pub fn begin(history: &History) -> (Self, Vec<u8>) {
        let mut octets = Vec::new();
        FORMAT.put(&mut octets);
        put_counted(&mut octets, &history.encode());
        let mut sum = Context::new(&SHA256);
        sum.update(&octets);
        (Self { sum, entries: 0 }, octets)
    }

    /// Returns the octets of entries.
    pub fn write(&mut self, entries: &Entries) -> Vec<u8> {
        let mut octets = Vec::new();
        for (key, value) in entries {
            octets.push(ENTRY);
            put_varint(&mut octets, key.len() as u64);
            octets.extend_from_slice(key);
            put_varint(&mut octets, value.len() as u64);
            octets.extend_from_slice(value);
        }
        self.sum.update(&octets);
        self.entries += entries.len() as u64;
        octets
    }

    /// Returns how many entries were written.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Ends the file; returns its last octets.
    pub fn end(mut self) -> Vec<u8> {
        let mut octets = vec![END];
        octets.extend_from_slice(&self.entries.to_be_bytes());
        self.sum.update(&octets);
        octets.extend_from_slice(self.sum.finish().as_ref());
        octets
    }
}

impl BackupFile {
    /// Reads a file from one end to the other, and goes back to its first entry (blocking).
    ///
    /// # Errors
    /// Every [`BackupError`] but those of copies.
    pub fn open(path: &Path) -> Result<Self, BackupError> {
        let mut summing =
            Summing { inner: BufReader::new(File::open(path)?), sum: Context::new(&SHA256) };
        let (history, begins_at) = read_header(&mut summing)?;
        let mut entries = 0;
        while read_entry(&mut summing, entries)?.is_some() {
            entries += 1;
        }
        let mut count = [0; 8];
        fill(&mut summing, &mut count, entries)?;
        let sum = summing.sum.clone().finish();
        let mut said = [0; 32];
        fill(&mut summing, &mut said, entries)?;
        let is_at_end = summing.inner.read(&mut [0])? == 0;
        if u64::from_be_bytes(count) != entries || sum.as_ref() != said || !is_at_end {
            return Err(BackupError::Damaged);
        }
        let mut file = summing.inner;
        file.seek(SeekFrom::Start(begins_at))?;
        Ok(Self { file, history, entries, read: 0 })
    }

    /// The history of the store that the file is of.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// How many entries there are.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Returns the next entries, some hundred; none at the end (blocking).
    ///
    /// # Errors
    /// [`BackupError::File`], [`BackupError::CutShort`] if the file changes while it is read.
    pub fn read(&mut self) -> Result<Option<Entries>, BackupError> {
        let (mut entries, mut octets) = (Entries::new(), 0);
        while octets < PAGE_OCTETS && entries.len() < PAGE_ENTRIES {
            let Some((key, value)) = read_entry(&mut self.file, self.read)? else { break };
            octets += key.len() + value.len();
            self.read += 1;
            entries.push((key, value));
        }
        Ok(Some(entries).filter(|entries| !entries.is_empty()))
    }
}

/// Writes a backup to a file that is not there yet; one that does not come to its end is removed (blocking).
///
/// # Errors
/// [`BackupError::File`]; that of `next`.
pub fn write_file(
    path: &Path,
    history: &History,
    next: impl FnMut() -> Result<Option<Entries>, BackupError>,
) -> Result<u64, BackupError> {
    let file = durable::create_new(path)?;
    let written = write_all(file, history, next);
    if written.is_err() {
        let _ = std::fs::remove_file(path);
    }
    written
}

/// Writes a backup, and sees to it that it stays.
fn write_all(
    file: File,
    history: &History,
    mut next: impl FnMut() -> Result<Option<Entries>, BackupError>,
) -> Result<u64, BackupError> {
    let mut file = BufWriter::new(file);
    let (mut writer, octets) = BackupWriter::begin(history);
    file.write_all(&octets)?;
    while let Some(entries) = next()? {
        file.write_all(&writer.write(&entries))?;
    }
    let entries = writer.entries();
    file.write_all(&writer.end())?;
    let file = file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(entries)
}

/// Reads, and sums up what was read.
struct Summing {
    /// The file.
    inner: BufReader<File>,
    /// The sum.
    sum: Context,
}

impl Read for Summing {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = self.inner.read(buffer)?;
        self.sum.update(&buffer[..len]);
        Ok(len)
    }
}

/// Reads what stands before the entries, and returns where these begin.
fn read_header(from: &mut impl Read) -> Result<(History, u64), BackupError> {
    let no_backup = |what| BackupError::NoBackup { what };
    let mut start = [0; 4];
    from.read_exact(&mut start).map_err(|_| no_backup("the file is shorter than any"))?;
    let [a, b, version, zero] = start;
    if [a, b] != FORMAT.letters || zero != 0 {
        return Err(no_backup("it does not begin as one"));
    }
    if version != FORMAT.version {
        return Err(no_backup("its version"));
    }
    let (history, len) = read_counted(from, BACKUP_HEADER_OCTETS_MAX)
        .map_err(|_| no_backup("the history of its store"))?;
    Ok((History::decode(&history)?, (start.len() + len) as u64))
}

/// A key and a value.
type BackupEntry = (Vec<u8>, Vec<u8>);

/// Reads the next entry; none at the end. `entries` were read before.
fn read_entry(from: &mut impl Read, entries: u64) -> Result<Option<BackupEntry>, BackupError> {
    let mut kind = [0];
    fill(from, &mut kind, entries)?;
    match kind[0] {
        END => return Ok(None),
        ENTRY => {}
        _ => return Err(BackupError::Damaged),
    }
    let cut = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => BackupError::CutShort { entries },
        std::io::ErrorKind::InvalidData => BackupError::Damaged,
        _ => BackupError::File(error),
    };
    let (key, _) = read_counted(from, BACKUP_KEY_OCTETS_MAX).map_err(cut)?;
    let (value, _) = read_counted(from, BACKUP_VALUE_OCTETS_MAX).map_err(cut)?;
    Ok(Some((key, value)))
}

/// Reads a varint length of at most `max` and that many octets; returns how many octets that were in all.
fn read_counted(from: &mut impl Read, max: usize) -> std::io::Result<(Vec<u8>, usize)> {
    let (mut len, mut shift, mut taken) = (0_usize, 0, 0);
    loop {
        let mut octet = [0];
        from.read_exact(&mut octet)?;
        taken += 1;
        len |= usize::from(octet[0] & 0x7f) << shift;
        shift += 7;
        if octet[0] & 0x80 == 0 {
            break;
        }
        if shift > 28 {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
    }
    if len > max {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let mut octets = vec![0; len];
    from.read_exact(&mut octets)?;
    Ok((octets, taken + len))
}

/// Fills a buffer.
fn fill(from: &mut impl Read, buffer: &mut [u8], entries: u64) -> Result<(), BackupError> {
    from.read_exact(buffer).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => BackupError::CutShort { entries },
        _ => BackupError::File(error),
    })
}

/// What a backup begins with.
const FORMAT: Format = Format { letters: *b"AB", version: 1 };
/// An entry follows.
const ENTRY: u8 = 1;
/// The end follows.
const END: u8 = 0;
/// Octets of a page, or somewhat more.
const PAGE_OCTETS: usize = 256 << 10;
/// Entries of a page.
const PAGE_ENTRIES: usize = 512;
