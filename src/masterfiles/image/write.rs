//! Writes the compiled form of a zone.
//!
//! **Invariant:** what is written is read back to the same RRsets.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use sha1::{Digest as _, Sha1};

use super::{BEGINS, ENDS, ImageHead, PARTS};
use crate::feed::items::{ItemRef, PushError};
use crate::feed::pack::PackWriter;
use crate::limits::{
    COMPILED_BLOCK_OCTETS_MAX, COMPILED_PATH_OCTETS_MAX, COMPILED_SOURCES_MAX,
    COMPILED_WARNING_OCTETS_MAX, MASTER_WARNINGS_MAX, PACK_OCTETS_TARGET,
};
use crate::masterfiles::source::{Source, SourceKey};
use crate::name::Name;
use crate::octets::{put_counted, put_varint};
use crate::record::RrsetRef;

/// Writes one zone, RRset by RRset in canonical order.
#[derive(Debug)]
pub struct ImageWriter<W> {
    /// Where the blocks go.
    out: W,
    /// The payload of the next block up to its pack.
    front: Vec<u8>,
    /// The pack of the next block.
    pack: PackWriter,
    /// The zone.
    apex: Name,
    /// The label right below the apex of the last RRset's owner; empty for the apex itself.
    top: Vec<u8>,
}

impl<W: Write> ImageWriter<W> {
    /// Begins a zone.
    pub fn new(out: W, apex: Name, head: &ImageHead) -> Self {
        let mut front = vec![BEGINS];
        put_head(&mut front, head);
        Self { out, front, pack: PackWriter::base(apex.clone()), apex, top: Vec::new() }
    }

    /// Appends an RRset.
    ///
    /// # Errors
    /// Those of the output; [`PushError`] as one of kind `InvalidInput`.
    pub fn push(&mut self, rrset: RrsetRef<'_>) -> io::Result<()> {
        let is_full = self.pack.len() + rrset.rdata.len() > PACK_OCTETS_TARGET;
        let top = top_label(rrset.owner, self.apex.as_wire().len());
        if is_full && !self.pack.is_empty() {
            self.write_block(0)?;
            if !self.top.is_empty() && self.top != top {
                self.front[0] |= PARTS;
            }
        }
        if self.top != top {
            self.top.clear();
            self.top.extend_from_slice(top);
        }
        let refuse = |error: PushError| io::Error::new(io::ErrorKind::InvalidInput, error);
        self.pack.push(ItemRef::Put(rrset)).map_err(refuse)
    }

    /// Ends the zone and returns the output.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(mut self) -> io::Result<W> {
        self.write_block(ENDS)?;
        Ok(self.out)
    }

    /// Writes a block of what was pushed.
    fn write_block(&mut self, kind: u8) -> io::Result<()> {
        let pack = std::mem::replace(&mut self.pack, PackWriter::base(self.apex.clone())).finish();
        let mut payload = std::mem::replace(&mut self.front, vec![0]);
        payload[0] |= kind;
        payload.extend_from_slice(&pack);
        if payload.len() > COMPILED_BLOCK_OCTETS_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.out.write_all(&(payload.len() as u32).to_be_bytes())?;
        self.out.write_all(&Sha1::digest(&payload))?;
        self.out.write_all(&payload)
    }
}

/// Whether a head can be written such that it is read back.
pub fn fits(head: &ImageHead) -> bool {
    let fits_path = |path: &Path| path.as_os_str().len() <= COMPILED_PATH_OCTETS_MAX;
    head.sources.len() <= COMPILED_SOURCES_MAX
        && head.sources.iter().all(|source| fits_path(&source.path))
        && head.warnings.len() <= MASTER_WARNINGS_MAX
        && head.warnings.iter().all(|warning| warning.len() <= COMPILED_WARNING_OCTETS_MAX)
}

/// Appends what stands in front of a zone.
fn put_head(out: &mut Vec<u8>, head: &ImageHead) {
    put_varint(out, head.sources.len() as u64);
    for Source { path, key } in &head.sources {
        put_counted(out, path.as_os_str().as_bytes());
        let SourceKey { device, inode, octets, modified_ns, changed_ns } = *key;
        for number in [device, inode, octets, modified_ns, changed_ns] {
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
    put_varint(out, head.warnings.len() as u64);
    for warning in &head.warnings {
        put_counted(out, warning.as_bytes());
    }
    out.extend_from_slice(&head.names.to_be_bytes());
}

/// Returns the label right below an apex whose name takes `apex_len` octets at the end of `owner`.
fn top_label(owner: &[u8], apex_len: usize) -> &[u8] {
    let mut at = 0;
    while let Some(&len) = owner.get(at) {
        let end = at + 1 + usize::from(len);
        if end + apex_len >= owner.len() {
            return owner.get(at + 1..end).filter(|_| at + apex_len < owner.len()).unwrap_or(&[]);
        }
        at = end;
    }
    &[]
}
