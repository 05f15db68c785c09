//! The compiled form of zone files: what a restart reads instead of their text.
//!
//! Integers are big-endian, varints and counted octets as in [`crate::octets`].
//!
//! ```text
//! file     "AC", version 1, 0; the program's version (counted text); zones
//! zone     one block or several
//! block    octets of the payload u32; SHA-1 of the payload; payload
//! payload  kind u8: 1 a zone begins here, 2 it ends here, 4 no name right below the apex has
//!          names both here and before, so that another processor may begin here
//!          head, where a zone begins
//!          pack (`feed::pack`) with a run of the zone's RRsets, to the payload's end
//! head     sources (count varint); warnings (count varint, each counted text); names u64
//! source   path (counted); device u64, inode u64, octets u64, modified u64, changed u64 (times in
//!          nanoseconds since 1970, as the file system tells them)
//! ```
//!
//! Only RRsets stand in it, in canonical order, nothing that hangs on the seed of hashes or on the
//! layout of a snapshot: a zone is built of it as of its text, without text to read or names to
//! sort. The checksum finds accidents, the proof of each pack and the builder find everything else.
//!
//! **Invariant:** whatever the octets, reading gives a zone or an error, and holds one block at a
//! time; memory is bounded by what was read.
//! **Not here:** files on disk (`masterfiles::store`), which sources changed (`masterfiles::source`).

mod write;

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use sha1::{Digest as _, Sha1};

use super::source::{Source, SourceKey};
use crate::feed::items::ItemRef;
use crate::feed::pack::Pack;
use crate::limits::{
    COMPILED_BLOCK_OCTETS_MAX, COMPILED_PATH_OCTETS_MAX, COMPILED_SOURCES_MAX,
    COMPILED_WARNING_OCTETS_MAX, MASTER_WARNINGS_MAX,
};
use crate::name::Name;
use crate::octets::{DecodeError, Format, OctetReader, put_counted};
use crate::zone::{BuildError, HashSeed, InsertError, Zone, ZoneBuilder};

pub use write::{ImageWriter, fits};

/// What stands in front of a zone.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ImageHead {
    /// The master file, then what it includes.
    pub sources: Vec<Source>,
    /// What was left out or mended when it was read.
    pub warnings: Vec<String>,
    /// How many names of the zone have records.
    pub names: u64,
}

/// Why a compiled file makes no zone.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The system does not give the octets.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// The file ends inside a block.
    #[error("octet {at}: the file ends inside a block")]
    CutShort {
        /// Where the block begins.
        at: u64,
    },
    /// A block that is longer than any that we write.
    #[error("octet {at}: a block of {octets} octets, {COMPILED_BLOCK_OCTETS_MAX} at most")]
    BlockTooLong {
        /// Where the block begins.
        at: u64,
        /// Its octets.
        octets: u32,
    },
    /// The octets are not those that were written.
    #[error("octet {at}: the checksum of the block does not agree")]
    Checksum {
        /// Where the block begins.
        at: u64,
    },
    /// What a block holds breaks a rule.
    #[error("block at octet {at}: {error}")]
    Decode {
        /// Where the block begins.
        at: u64,
        /// The rule.
        error: DecodeError,
    },
    /// The blocks of zones are not one after the other.
    #[error("octet {at}: a zone that begins twice, or not at all, or has two apexes")]
    Blocks {
        /// Where the block begins.
        at: u64,
    },
    /// An RRset breaks a rule of zones.
    #[error(transparent)]
    Insert(#[from] InsertError),
    /// The RRsets do not make a zone.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// Reads blocks one after the other.
#[derive(Debug)]
pub struct BlockReader<R> {
    /// Where they come from.
    input: R,
    /// The payload of the block read last.
    payload: Vec<u8>,
    /// Octets that were read.
    at: u64,
}

impl<R: Read> BlockReader<R> {
    /// Begins at a block, which stands `at` octets from the beginning of its file.
    pub fn new(input: R, at: u64) -> Self {
        Self { input, payload: Vec::new(), at }
    }

    /// Returns where the next block begins.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Reads the next block and returns its payload; `None` behind the last.
    ///
    /// # Errors
    /// [`ImageError::Read`], [`ImageError::CutShort`], [`ImageError::BlockTooLong`],
    /// [`ImageError::Checksum`].
    fn next_block(&mut self) -> Result<Option<(u64, &[u8])>, ImageError> {
        let at = self.at;
        let mut head = [0; BLOCK_HEAD_LEN];
        let first = loop {
            match self.input.read(&mut head) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        if first == 0 {
            return Ok(None);
        }
        let cut_short = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ImageError::CutShort { at },
            _ => ImageError::Read(error),
        };
        self.input.read_exact(&mut head[first..]).map_err(cut_short)?;
        let (len, sum) = split_block_head(&head);
        if len as usize > COMPILED_BLOCK_OCTETS_MAX {
            return Err(ImageError::BlockTooLong { at, octets: len });
        }
        self.payload.resize(len as usize, 0);
        self.input.read_exact(&mut self.payload).map_err(cut_short)?;
        if <[u8; 20]>::from(Sha1::digest(&self.payload)) != *sum {
            return Err(ImageError::Checksum { at });
        }
        self.at += (BLOCK_HEAD_LEN + self.payload.len()) as u64;
        Ok(Some((at, &self.payload)))
    }
}

/// A zone of which the first block was read.
#[derive(Debug)]
pub(crate) struct ImageZone {
    /// Takes the RRsets.
    pub builder: ZoneBuilder,
    /// The zone.
    pub apex: Name,
    /// What stands in front of it.
    pub head: ImageHead,
    /// Whether the first block was the last.
    pub has_ended: bool,
}

/// Reads the zone that begins at the next block, if `is_current` says so of its head.
///
/// `octets` is how long the blocks are at most; the builder makes room for no more names.
///
/// # Errors
/// Every [`ImageError`].
pub fn read_zone<R: Read>(
    blocks: &mut BlockReader<R>,
    octets: u64,
    seed: HashSeed,
    is_current: impl FnOnce(&ImageHead) -> bool,
) -> Result<Option<(Zone, ImageHead)>, ImageError> {
    let Some(mut draft) = begin_zone(blocks, octets, seed, is_current)? else { return Ok(None) };
    if !draft.has_ended {
        read_blocks(&mut draft.builder, &draft.apex, blocks, None)?;
    }
    Ok(Some((draft.builder.finish()?, draft.head)))
}

/// Reads the first block of a zone, as [`read_zone`] does.
///
/// # Errors
/// Every [`ImageError`].
pub(crate) fn begin_zone<R: Read>(
    blocks: &mut BlockReader<R>,
    octets: u64,
    seed: HashSeed,
    is_current: impl FnOnce(&ImageHead) -> bool,
) -> Result<Option<ImageZone>, ImageError> {
    let start = blocks.at;
    let Some((at, payload)) = blocks.next_block()? else {
        return Err(ImageError::Blocks { at: start });
    };
    let decode = |error| ImageError::Decode { at, error };
    let mut reader = OctetReader::new(payload);
    let kind = read_kind(&mut reader).map_err(decode)?;
    if kind & BEGINS == 0 {
        return Err(ImageError::Blocks { at });
    }
    let head = read_head(&mut reader).map_err(decode)?;
    if !is_current(&head) {
        return Ok(None);
    }
    let pack = &payload[reader.at()..];
    let (apex, _) = Pack::prove(pack).map_err(decode)?;
    let names = head.names.min(octets / NAME_OCTETS_MIN);
    let mut builder = ZoneBuilder::new(apex.clone(), seed, names);
    push_pack(&mut builder, at, &apex, pack)?;
    Ok(Some(ImageZone { builder, apex, head, has_ended: kind & ENDS != 0 }))
}

/// Reads further blocks of a zone: to its end, or to the one that begins `until` octets from the
/// beginning of the file.
///
/// # Errors
/// Every [`ImageError`] but [`ImageError::Build`].
pub(crate) fn read_blocks<R: Read>(
    builder: &mut ZoneBuilder,
    apex: &Name,
    blocks: &mut BlockReader<R>,
    until: Option<u64>,
) -> Result<(), ImageError> {
    loop {
        let start = blocks.at;
        if until == Some(start) {
            return Ok(());
        }
        let Some((at, payload)) = blocks.next_block()? else {
            return Err(ImageError::CutShort { at: start });
        };
        let mut reader = OctetReader::new(payload);
        let decode = |error| ImageError::Decode { at, error };
        let kind = read_kind(&mut reader).map_err(decode)?;
        if kind & BEGINS != 0 || (kind & ENDS != 0 && until.is_some()) {
            return Err(ImageError::Blocks { at });
        }
        push_pack(builder, at, apex, &payload[reader.at()..])?;
        if kind & ENDS != 0 {
            return Ok(());
        }
    }
}

/// Returns how many octets the block takes whose first [`PEEK_LEN`] these are, and whether a
/// part of a zone may begin with it. Nothing of it is proven.
pub(crate) fn peek_block(first: &[u8; PEEK_LEN]) -> (u64, bool) {
    let len = first.first_chunk::<4>().map_or(0, |len| u32::from_be_bytes(*len));
    (BLOCK_HEAD_LEN as u64 + u64::from(len), first[BLOCK_HEAD_LEN] & PARTS != 0)
}

/// Hands the RRsets of a pack to the builder.
fn push_pack(
    builder: &mut ZoneBuilder,
    at: u64,
    apex: &Name,
    pack: &[u8],
) -> Result<(), ImageError> {
    let decode = |error| ImageError::Decode { at, error };
    let (pack_apex, mut items) = Pack::prove(pack).map_err(decode)?;
    if pack_apex != *apex || items.is_delta() {
        return Err(ImageError::Blocks { at });
    }
    while let Some(item) = items.next().map_err(decode)? {
        if let ItemRef::Put(rrset) = item {
            builder.push(rrset)?;
        }
    }
    Ok(())
}

/// Returns what every compiled file begins with.
pub fn file_head() -> Vec<u8> {
    let mut head = Vec::new();
    FORMAT.put(&mut head);
    put_counted(&mut head, env!("CARGO_PKG_VERSION").as_bytes());
    head
}

/// Puts the right checksum in front of each block, for tests and fuzzers of what is behind it.
pub fn mend(mut blocks: &mut [u8]) {
    while let Some((head, rest)) = blocks.split_first_chunk_mut::<BLOCK_HEAD_LEN>() {
        let len = split_block_head(head).0 as usize;
        let Some((payload, rest)) = rest.split_at_mut_checked(len) else { return };
        head[4..].copy_from_slice(&Sha1::digest(&*payload));
        blocks = rest;
    }
}

/// Where a zone's blocks stand in a compiled file, and whose they are. Nothing of it is proven.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ZonePlace {
    /// Where the path of its master file stands.
    pub path: std::ops::Range<usize>,
    /// Where its blocks stand.
    pub blocks: std::ops::Range<usize>,
}

/// Lists the zones of a compiled file by its blocks' lengths and the path in front of each.
///
/// It ends where the octets make no sense; what is behind is not listed.
pub fn list_zones(octets: &[u8]) -> Vec<ZonePlace> {
    let mut zones: Vec<ZonePlace> = Vec::new();
    let Some(rest) = octets.strip_prefix(file_head().as_slice()) else { return zones };
    let mut at = octets.len() - rest.len();
    let mut is_open = false;
    while let Some(head) = octets[at..].first_chunk::<BLOCK_HEAD_LEN>() {
        let start = at + BLOCK_HEAD_LEN;
        let len = split_block_head(head).0 as usize;
        let Some(payload) = octets[start..].get(..len) else { break };
        let mut reader = OctetReader::new(payload);
        let Ok(kind) = read_kind(&mut reader) else { break };
        at = start + len;
        match (kind & BEGINS != 0, is_open) {
            (true, false) => {
                let path = reader
                    .varint("count of sources", COMPILED_SOURCES_MAX as u64)
                    .and_then(|_| reader.counted("path", COMPILED_PATH_OCTETS_MAX));
                let Ok(path) = path else { break };
                let path_end = start + reader.at();
                let path = path_end - path.len()..path_end;
                zones.push(ZonePlace { path, blocks: start - BLOCK_HEAD_LEN..at });
            }
            (false, true) => {
                if let Some(zone) = zones.last_mut() {
                    zone.blocks.end = at;
                }
            }
            _ => break,
        }
        is_open = kind & ENDS == 0;
    }
    if is_open {
        zones.pop();
    }
    zones
}

/// Reads the kind of a block.
fn read_kind(reader: &mut OctetReader<'_>) -> Result<u8, DecodeError> {
    let at = reader.at();
    let kind = reader.u8("kind of a block")?;
    if kind & !(BEGINS | ENDS | PARTS) == 0 {
        Ok(kind)
    } else {
        Err(DecodeError::BadValue { what: "kind of a block", at })
    }
}

/// Reads what stands in front of a zone.
fn read_head(reader: &mut OctetReader<'_>) -> Result<ImageHead, DecodeError> {
    let mut head = ImageHead::default();
    for _ in 0..reader.varint("count of sources", COMPILED_SOURCES_MAX as u64)? {
        let path = reader.counted("path", COMPILED_PATH_OCTETS_MAX)?;
        let path = PathBuf::from(OsStr::from_bytes(path));
        let key = SourceKey {
            device: reader.u64("device")?,
            inode: reader.u64("inode")?,
            octets: reader.u64("length of a source")?,
            modified_ns: reader.u64("time of a source")?,
            changed_ns: reader.u64("time of a source")?,
        };
        head.sources.push(Source { path, key });
    }
    for _ in 0..reader.varint("count of warnings", MASTER_WARNINGS_MAX as u64)? {
        head.warnings.push(reader.text("warning", COMPILED_WARNING_OCTETS_MAX)?.to_owned());
    }
    head.names = reader.u64("count of names")?;
    Ok(head)
}

/// Splits what stands in front of a payload: its length, its checksum.
fn split_block_head(head: &[u8; BLOCK_HEAD_LEN]) -> (u32, &[u8; 20]) {
    let (len, sum) = head.split_first_chunk::<4>().expect("a head has 24 octets");
    let sum = sum.first_chunk::<20>().expect("a head has 24 octets");
    (u32::from_be_bytes(*len), sum)
}

/// Octets in front of a payload.
const BLOCK_HEAD_LEN: usize = 4 + 20;
/// The bit of a block in which a zone begins.
const BEGINS: u8 = 1;
/// The bit of a block in which a zone ends.
const ENDS: u8 = 2;
/// The bit of a block with which a part of a zone may begin.
const PARTS: u8 = 4;
/// Octets that are needed to see what a block is.
pub(crate) const PEEK_LEN: usize = BLOCK_HEAD_LEN + 1;
/// Octets that a name takes in a pack at least: owner, kind, length, and a record's own length.
const NAME_OCTETS_MIN: u64 = 5;
/// The first octets of a compiled file. Another layout, or another reading of master files, is
/// another version.
const FORMAT: Format = Format { letters: *b"AC", version: 2 };

#[cfg(test)]
mod tests;
