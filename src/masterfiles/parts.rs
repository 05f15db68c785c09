//! Builds one large zone of its compiled file on several processors.
//!
//! The file is cut where no name right below the apex has names on both sides; each part is built
//! by itself, and the parts are put together. The builder checks that they are what they claim.
//!
//! **Invariant:** the zone is the one that a single reader makes; what is wrong with the file is found
//! here as there.
//! **Not here:** the format (`masterfiles::image`).

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::thread;

use super::image::{
    BlockReader, ImageError, ImageHead, PEEK_LEN, begin_zone, peek_block, read_blocks,
};
use crate::zone::{HashSeed, Zone};

/// Reads a file from a place on, while others read elsewhere in it.
#[derive(Debug)]
struct FileAt<'f> {
    /// The file.
    file: &'f File,
    /// Where the next octet is.
    at: u64,
}

impl Read for FileAt<'_> {
    fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        let len = self.file.read_at(octets, self.at)?;
        self.at += len as u64;
        Ok(len)
    }
}

/// Reads the zone whose blocks begin `start` octets from the beginning of a file and end with it,
/// in up to `threads` parts; see [`super::image::read_zone`].
///
/// # Errors
/// Every [`ImageError`].
pub(crate) fn read_zone(
    file: &File,
    start: u64,
    threads: u64,
    seed: HashSeed,
    is_current: impl FnOnce(&ImageHead) -> bool,
) -> Result<Option<(Zone, ImageHead)>, ImageError> {
    let octets = file.metadata()?.len();
    let mut blocks = BlockReader::new(FileAt { file, at: start }, start);
    let Some(mut draft) = begin_zone(&mut blocks, octets, seed, is_current)? else {
        return Ok(None);
    };
    if draft.has_ended {
        return Ok(Some((draft.builder.finish()?, draft.head)));
    }
    let starts = find_parts(file, blocks.at(), octets, threads);
    let names = draft.head.names.min(octets) / (starts.len() as u64 + 1);
    let siblings: Option<Vec<_>> = starts.iter().map(|_| draft.builder.sibling(names)).collect();
    // The first part ends where the second begins, the last one with the zone.
    let (starts, siblings) = siblings.map_or((&[][..], Vec::new()), |all| (&starts[..], all));
    let apex = &draft.apex;
    let builder = &mut draft.builder;
    thread::scope(|scope| {
        let workers: Vec<_> = siblings
            .into_iter()
            .enumerate()
            .map(|(index, mut part)| {
                let (at, until) = (starts[index], starts.get(index + 1).copied());
                scope.spawn(move || {
                    let mut blocks = BlockReader::new(FileAt { file, at }, at);
                    read_blocks(&mut part, apex, &mut blocks, until).map(|()| part)
                })
            })
            .collect();
        let first = read_blocks(builder, apex, &mut blocks, starts.first().copied());
        let mut result = first;
        for worker in workers {
            // A panic goes on in the caller; every worker is waited for.
            let part = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            result = result.and_then(|()| Ok(builder.append(part?)?));
        }
        result
    })?;
    Ok(Some((draft.builder.finish()?, draft.head)))
}

/// Returns where parts of about the same length begin, the first one not named: none where the
/// blocks make no sense, so that the one who reads them all says what is wrong.
fn find_parts(file: &File, start: u64, end: u64, threads: u64) -> Vec<u64> {
    let mut parts = Vec::new();
    let mut at = start;
    let mut first = [0; PEEK_LEN];
    while at < end && (parts.len() as u64) + 1 < threads {
        if file.read_exact_at(&mut first, at).is_err() {
            return Vec::new();
        }
        let (len, may_begin) = peek_block(&first);
        let wanted = start + (end - start) / threads * (parts.len() as u64 + 1);
        if may_begin && at >= wanted {
            parts.push(at);
        }
        at += len;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::super::image::{ImageWriter, file_head};
    use super::*;
    use crate::name::Name;
    use crate::record::master::{MasterOptions, SortedZone, read_sorted};

    /// Writes a zone of many blocks below the labels `top` makes of a number.
    fn sorted(top: impl Fn(u32) -> String, more: &str) -> SortedZone {
        let mut text = format!("@ 60 SOA ns h 1 2 3 4 5\n@ NS ns\n{more}\n");
        for i in 0..150 {
            let strings = format!("\"{}\" ", "x".repeat(250)).repeat(100);
            text += &format!("{} TXT {strings}\n", top(i));
        }
        let origin = Name::from_text("example").unwrap();
        read_sorted(text.as_bytes(), &origin, MasterOptions::default(), &mut |_| {}).unwrap()
    }

    /// Compiles a zone to a file.
    fn compile(sorted: &SortedZone) -> File {
        let mut file = tempfile::tempfile().unwrap();
        let head = ImageHead { names: sorted.name_count(), ..ImageHead::default() };
        let mut writer = ImageWriter::new(file_head(), sorted.apex.clone(), &head);
        for rrset in sorted.rrsets() {
            writer.push(rrset).unwrap();
        }
        io::Write::write_all(&mut file, &writer.finish().unwrap()).unwrap();
        file
    }

    /// Reads a file with some threads.
    fn read(file: &File, threads: u64) -> Result<Zone, ImageError> {
        let start = file_head().len() as u64;
        read_zone(file, start, threads, HashSeed(3), |_| true).map(|zone| zone.unwrap().0)
    }

    /// Returns all that a zone says of its nodes.
    fn nodes(zone: &Zone) -> Vec<String> {
        let mut path = crate::zone::path::NamePath::new();
        let mut nodes: Vec<String> = zone
            .rrsets()
            .map(|rrset| {
                path.set_canonical(rrset.owner.as_wire(), zone.seed());
                let node = zone.node_at(&path, path.depth()).unwrap();
                format!("{:?} {} {}", rrset, node.flags(), node.children())
            })
            .collect();
        nodes.sort();
        nodes.push(format!("{:?} {:?}", zone.totals(), zone.apex_node().children()));
        nodes.push(format!("{:?}", zone.denial()));
        nodes
    }

    /// Whether several threads make the same zone as one; returns how many parts there were.
    fn check(sorted: &SortedZone) -> usize {
        let file = compile(sorted);
        let one = nodes(&read(&file, 1).unwrap());
        for threads in [2, 3, 8] {
            assert_eq!(nodes(&read(&file, threads).unwrap()), one, "{threads} threads");
        }
        find_parts(&file, file_head().len() as u64, file.metadata().unwrap().len(), 3).len() + 1
    }

    #[test]
    fn several_threads_make_the_zone_that_one_makes() {
        let cut = "t030 NS ns.t030\nns.t030 A 192.0.2.1\n* A 192.0.2.2\nt100 NSEC t101 TXT NSEC";
        assert_eq!(check(&sorted(|i| format!("t{i:03}"), cut)), 3);
        assert_eq!(check(&sorted(|i| format!("a.b.t{i:03}"), cut)), 3);
    }

    #[test]
    fn a_zone_below_one_label_or_a_dname_is_made_by_one() {
        assert_eq!(check(&sorted(|i| format!("t{i:03}.top"), "")), 1);
        check(&sorted(|i| format!("t{i:03}"), "@ DNAME elsewhere.test."));
    }

    #[test]
    fn parts_that_are_damaged_are_errors() {
        let file = compile(&sorted(|i| format!("t{i:03}"), ""));
        let len = file.metadata().unwrap().len();
        for at in (file_head().len() as u64..len).step_by(len as usize / 60) {
            let mut octet = [0];
            file.read_exact_at(&mut octet, at).unwrap();
            file.write_all_at(&[octet[0] ^ 0x40], at).unwrap();
            for threads in [1, 3] {
                assert!(read(&file, threads).is_err(), "octet {at}");
            }
            file.write_all_at(&octet, at).unwrap();
        }
        assert!(read(&file, 3).is_ok());
        file.set_len(len - 1).unwrap();
        assert!(read(&file, 3).is_err());
    }
}
