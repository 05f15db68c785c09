//! What an edge keeps on its disk, so that it answers after a restart what it answered before.
//!
//! Three files below `replica/NAMESPACE`: `root`, the last version of the document that was adopted
//! (its announcement and its root; contents lie in the store of blobs), and two logs that take turns,
//! of the segments that came since. Segments are appended as they come, without a sync: the system
//! keeps what was written when a process dies, and after a loss of power an older state is told
//! from peers anew.
//!
//! **Invariant:** the version in `root` and the segments behind it lead to what was served when they
//! were written; a torn end is passed over.
//! **Not here:** what segments mean (`sync::mirror`).

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use siphasher::sip::SipHasher13;

use crate::durable;
use crate::feed::Revision;
use crate::limits::{LOG_FILE_OCTETS_MAX, ROOT_OCTETS_MAX, SEGMENT_OCTETS_MAX};
use crate::octets::{Format, OctetReader, put_counted};

/// The files of one feed.
#[derive(Debug)]
pub(super) struct Archive {
    /// Where they are.
    dir: PathBuf,
    /// The log that is written.
    file: Option<File>,
    /// Which of the two it is.
    turn: usize,
    /// Octets of whole segments in it.
    octets: u64,
    /// Where the newest segment of each leads.
    ends: [Revision; 2],
    /// Segments that are not written yet.
    buffer: Vec<u8>,
    /// Where the newest segment leads that could not be written.
    lost: Option<Revision>,
}

/// The file of a version that is to be kept.
#[derive(Clone, Debug)]
pub(super) struct Adoption {
    /// The file.
    path: PathBuf,
    /// What it says.
    octets: Vec<u8>,
    /// Where the version holds.
    at: Revision,
    /// The log that goes on behind it.
    turn: usize,
}

impl Adoption {
    /// Writes the file: takes as long as the disk does.
    ///
    /// # Errors
    /// What the system says; the version before is then still kept.
    pub(super) fn write(&self) -> io::Result<()> {
        durable::write(&self.path, &self.octets)
    }
}

/// What was kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The announcement of the last version that was adopted, and its root.
    pub(super) root: Option<(Bytes, Bytes)>,
    /// Segments, in the order in which they came.
    pub(super) segments: Vec<Bytes>,
    /// Whether some of it is damaged or gone: what is left may lead to an older state.
    pub(super) is_damaged: bool,
}

impl Archive {
    /// The directory of a feed below that of a mesh.
    pub(super) fn dir_in(mesh: &Path, namespace: &[u8; 32]) -> PathBuf {
        mesh.join("replica").join(data_encoding::HEXLOWER.encode(&namespace[..16]))
    }

    /// Whether a version of the feed was ever adopted.
    pub(super) fn is_there(mesh: &Path, namespace: &[u8; 32]) -> bool {
        Self::dir_in(mesh, namespace).join("root").exists()
    }

    /// Removes what is kept of a feed in whose place another has come, but for what says so.
    pub(super) fn forget(mesh: &Path, namespace: &[u8; 32]) {
        let dir = Self::dir_in(mesh, namespace);
        // The version first: without it nothing is read of the rest.
        for file in ["root", "log.0", "log.1", "peers", "contact", "behind"] {
            match std::fs::remove_file(dir.join(file)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(dir = %dir.display(), file, %error, "what is of no use stays");
                }
                Ok(()) | Err(_) => {}
            }
        }
    }

    /// Opens the files of a feed and returns what they hold.
    ///
    /// # Errors
    /// What the system says of the directory. A file that does not read counts as none.
    pub(super) fn open(mesh: &Path, namespace: &[u8; 32]) -> io::Result<(Self, Kept)> {
        let dir = Self::dir_in(mesh, namespace);
        durable::create_dir(&dir)?;
        let root = read_root(&dir.join("root"));
        let has_root_file = dir.join("root").exists();
        let logs = [0, 1].map(|turn| dir.join(format!("log.{turn}")));
        let newer = root.as_ref().map_or(0, |root| root.turn);
        let [older, newest] = [1 - newer, newer].map(|turn| read_log(&logs[turn]));
        let is_newest_gone = root.is_some() && !logs[newer].exists();
        let is_root_gone = root.is_none() && older.octets + newest.octets > 0;
        if is_newest_gone || (is_root_gone && !has_root_file) {
            tracing::warn!(dir = %dir.display(), "some of what this edge had of the feed is gone");
        }
        let is_damaged = (root.is_none() && has_root_file)
            || is_newest_gone
            || is_root_gone
            || older.is_torn
            || newest.is_torn;
        let mut ends = [Revision::default(); 2];
        (ends[1 - newer], ends[newer]) = (older.end, newest.end);
        let mut segments = older.segments;
        segments.extend(newest.segments);
        let mut archive = Self {
            dir,
            file: None,
            turn: newer,
            octets: newest.octets,
            ends,
            buffer: Vec::new(),
            lost: None,
        };
        archive.go_on();
        let root = root.map(|root| (root.announcement, root.root));
        Ok((archive, Kept { root, segments, is_damaged }))
    }

    /// Takes a segment that leads to a revision.
    pub(super) fn push(&mut self, segment: &[u8], end: Revision) {
        self.ends[self.turn] = self.ends[self.turn].max(end);
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&(segment.len() as u32).to_be_bytes());
        self.buffer.extend_from_slice(&[0; 8]);
        self.buffer.extend_from_slice(&end.epoch.to_be_bytes());
        self.buffer.extend_from_slice(&end.number.to_be_bytes());
        self.buffer.extend_from_slice(segment);
        let sum = checksum(&self.buffer[start + SUM_END..]);
        self.buffer[start + SUM_AT..start + SUM_END].copy_from_slice(&sum.to_be_bytes());
    }

    /// Writes what was taken. A disk that is full costs the archive, not the edge.
    pub(super) fn write(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        if self.file.is_none() {
            self.go_on();
        }
        let written = match &mut self.file {
            Some(file) => file.write_all(&self.buffer),
            None => Err(io::Error::other("it cannot be opened")),
        };
        match written {
            Ok(()) => self.octets += self.buffer.len() as u64,
            Err(error) => {
                if self.lost.is_none() {
                    tracing::warn!(dir = %self.dir.display(), %error,
                        "what arrives cannot be kept for a restart");
                }
                self.lost = self.lost.max(Some(self.ends[self.turn]));
                // What is torn is cut off before anything is written behind it.
                self.file = None;
            }
        }
        self.buffer.clear();
    }

    /// Whether the log has become so long that a newer version should be adopted.
    pub(super) fn is_long(&self) -> bool {
        self.octets > LOG_FILE_OCTETS_MAX
    }

    /// Whether segments could not be written that no version which is kept has.
    pub(super) fn is_torn(&self) -> bool {
        self.lost.is_some()
    }

    /// Whether nothing came since the last version.
    pub(super) fn is_empty(&self) -> bool {
        self.octets == 0
    }

    /// Prepares to keep a version that holds at a revision. The older log is to be forgotten if nothing
    /// in it leads on from there; else both are kept, since the next version is not far.
    pub(super) fn prepare(&mut self, announcement: &[u8], root: &[u8], at: Revision) -> Adoption {
        self.write();
        let mut octets = Vec::with_capacity(root.len() + announcement.len() + 32);
        FORMAT.put(&mut octets);
        put_counted(&mut octets, announcement);
        put_counted(&mut octets, root);
        // What was begun last is not told by the times of files: clocks step.
        let is_over = self.ends[1 - self.turn] <= at;
        let turn = if is_over { 1 - self.turn } else { self.turn };
        octets.push(turn as u8);
        let sum = checksum(&octets);
        octets.extend_from_slice(&sum.to_be_bytes());
        Adoption { path: self.dir.join("root"), octets, at, turn }
    }

    /// Goes on behind a version whose file is written.
    pub(super) fn finish(&mut self, adoption: &Adoption) {
        self.lost = self.lost.filter(|lost| *lost > adoption.at);
        if adoption.turn == self.turn {
            return;
        }
        self.write();
        self.turn = adoption.turn;
        self.ends[self.turn] = Revision::default();
        self.octets = 0;
        self.go_on();
    }

    /// Forgets all segments: they lead on from nothing that is known.
    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        self.ends = [Revision::default(); 2];
        self.octets = 0;
        for turn in [0, 1] {
            let path = self.dir.join(format!("log.{turn}"));
            let emptied = OpenOptions::new().write(true).truncate(true).open(&path);
            if let Err(error) = emptied.map(drop)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "what is of no use is not emptied");
            }
        }
        self.go_on();
    }

    /// Opens the log whose turn it is, to be written on behind what is whole.
    fn go_on(&mut self) {
        let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(self.path());
        self.file = opened.and_then(|file| file.set_len(self.octets).map(|()| file)).ok();
    }

    /// The log whose turn it is.
    fn path(&self) -> PathBuf {
        self.dir.join(format!("log.{}", self.turn))
    }
}

/// What the file of the version says.
struct KeptRoot {
    /// The announcement.
    announcement: Bytes,
    /// The root.
    root: Bytes,
    /// Which log goes on behind it.
    turn: usize,
}

/// Reads the version that was adopted last; none if there is none, or if it does not read.
fn read_root(path: &Path) -> Option<KeptRoot> {
    let read = match std::fs::read(path) {
        Ok(octets) => parse_root(&Bytes::from(octets)).ok_or("it is damaged".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => Err(error.to_string()),
    };
    read.inspect_err(|error| {
        tracing::warn!(path = %path.display(), error,
            "what this edge had of the feed does not read: all is fetched anew");
    })
    .ok()
}

/// Reads the octets of the file of a version.
fn parse_root(octets: &Bytes) -> Option<KeptRoot> {
    let (content, sum) = octets.split_last_chunk::<8>()?;
    if u64::from_be_bytes(*sum) != checksum(content) {
        return None;
    }
    let mut reader = OctetReader::new(content);
    reader.format("replica", FORMAT).ok()?;
    let announcement = reader.counted("announcement", SEGMENT_OCTETS_MAX).ok()?;
    let root = reader.counted("root", ROOT_OCTETS_MAX).ok()?;
    let turn = usize::from(reader.u8("turn").ok()? & 1);
    reader.end().ok()?;
    let (announcement, root) = (octets.slice_ref(announcement), octets.slice_ref(root));
    Some(KeptRoot { announcement, root, turn })
}

/// What a log holds.
#[derive(Debug, Default)]
struct ReadLog {
    /// The segments.
    segments: Vec<Bytes>,
    /// Octets of those that are whole.
    octets: u64,
    /// Where the newest leads.
    end: Revision,
    /// Whether there is something behind these that does not read.
    is_torn: bool,
}

/// Reads a log up to its end, or to the first thing that is no segment.
fn read_log(path: &Path) -> ReadLog {
    let mut octets = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(READ_OCTETS_MAX).read_to_end(&mut octets));
    if let Err(error) = read {
        if error.kind() != io::ErrorKind::NotFound {
            tracing::warn!(path = %path.display(), %error, "segments that were kept do not read");
        }
        let is_torn = error.kind() != io::ErrorKind::NotFound;
        return ReadLog { is_torn, ..ReadLog::default() };
    }
    let octets = Bytes::from(octets);
    let mut log = ReadLog::default();
    let mut rest: &[u8] = &octets;
    while let Some((segment, end, left)) = read_segment(rest) {
        log.segments.push(octets.slice_ref(segment));
        log.end = log.end.max(end);
        rest = left;
    }
    log.octets = (octets.len() - rest.len()) as u64;
    log.is_torn = !rest.is_empty();
    if log.is_torn {
        tracing::warn!(path = %path.display(), whole = log.octets, octets = octets.len(),
            "the end of what was kept is torn or damaged: it is passed over");
    }
    log
}

/// Reads one segment and where it leads, and returns what follows.
fn read_segment(octets: &[u8]) -> Option<(&[u8], Revision, &[u8])> {
    let (len, rest) = octets.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<8>()?;
    let len = u32::from_be_bytes(*len) as usize;
    if len > SEGMENT_OCTETS_MAX {
        return None;
    }
    let (summed, rest) = rest.split_at_checked(END_LEN + len)?;
    let (epoch, number) = summed.split_first_chunk::<8>()?;
    let (number, segment) = number.split_first_chunk::<8>()?;
    let end = Revision::new(u64::from_be_bytes(*epoch), u64::from_be_bytes(*number));
    (u64::from_be_bytes(*sum) == checksum(summed)).then_some((segment, end, rest))
}

/// Returns a sum that damaged octets do not have.
fn checksum(octets: &[u8]) -> u64 {
    SipHasher13::new().hash(octets)
}

/// The first octets of the file of a root.
const FORMAT: Format = Format { letters: *b"AV", version: 1 };
/// Where the sum stands in front of a segment, and where it ends.
const SUM_AT: usize = 4;
/// See [`SUM_AT`].
const SUM_END: usize = 12;
/// Octets that say where a segment leads.
const END_LEN: usize = 16;
/// Octets of a log that are read at most: its bound, and what came before it was looked at.
const READ_OCTETS_MAX: u64 = 8 * LOG_FILE_OCTETS_MAX;

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path) -> (Archive, Kept) {
        Archive::open(dir, &[1; 32]).unwrap()
    }

    impl Archive {
        /// Keeps a version, all at once.
        fn adopt(&mut self, announcement: &[u8], root: &[u8], at: Revision) -> io::Result<()> {
            let adoption = self.prepare(announcement, root, at);
            adoption.write()?;
            self.finish(&adoption);
            Ok(())
        }
    }

    fn at(number: u64) -> Revision {
        Revision::new(1, number)
    }

    fn texts(kept: &Kept) -> Vec<String> {
        kept.segments.iter().map(|octets| String::from_utf8_lossy(octets).into_owned()).collect()
    }

    #[test]
    fn segments_come_back_over_restarts_until_two_versions_later() {
        let dir = tempfile::tempdir().unwrap();
        let (mut archive, kept) = open(dir.path());
        assert!(kept.root.is_none() && kept.segments.is_empty());
        archive.push(b"a", at(1));
        archive.push(b"b", at(2));
        archive.write();
        drop(archive);
        let (mut archive, kept) = open(dir.path());
        assert_eq!(texts(&kept), ["a", "b"]);
        archive.push(b"c", at(3));
        archive.adopt(b"announcement", b"root", at(3)).unwrap();
        archive.push(b"d", at(4));
        archive.write();
        drop(archive);
        let (mut archive, kept) = open(dir.path());
        assert_eq!(texts(&kept), ["a", "b", "c", "d"]);
        let (announcement, root) = kept.root.unwrap();
        assert_eq!((&announcement[..], &root[..]), (&b"announcement"[..], &b"root"[..]));
        archive.adopt(b"later", b"root", at(4)).unwrap();
        archive.push(b"e", at(5));
        archive.write();
        drop(archive);
        let (archive, kept) = open(dir.path());
        assert_eq!(texts(&kept), ["d", "e"]);
        assert_eq!(&kept.root.unwrap().0[..], b"later");
        assert!(Archive::is_there(dir.path(), &[1; 32]));
        assert!(!archive.is_empty() && !archive.is_long());
    }

    #[test]
    fn a_torn_end_is_passed_over_and_a_damaged_root_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let (mut archive, _) = open(dir.path());
        archive.adopt(b"announcement", b"root", at(3)).unwrap();
        archive.push(b"first", at(1));
        archive.push(b"second", at(2));
        archive.write();
        let (log, root) = (archive.path(), archive.dir.join("root"));
        drop(archive);
        let whole = std::fs::read(&log).unwrap();
        for len in 0..whole.len() {
            std::fs::write(&log, &whole[..len]).unwrap();
            assert_eq!(read_log(&log).segments.len(), usize::from(len >= 33), "cut at {len}");
        }
        // What comes after a torn end is not lost with it.
        std::fs::write(&log, &whole[..whole.len() - 1]).unwrap();
        let (mut archive, _) = open(dir.path());
        archive.push(b"third", at(3));
        archive.write();
        drop(archive);
        assert_eq!(texts(&open(dir.path()).1), ["first", "third"]);
        let whole = std::fs::read(&root).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&root, damaged).unwrap();
            assert!(read_root(&root).is_none(), "octet {at}");
        }
    }
    #[test]
    fn what_leads_on_from_a_version_outlives_the_version_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let (mut archive, _) = open(dir.path());
        archive.push(b"a", at(1));
        archive.push(b"b", at(2));
        archive.adopt(b"announcement", b"root", at(1)).unwrap();
        archive.push(b"c", at(3));
        // "b" came before the version above was kept, and leads on from this one.
        archive.adopt(b"later", b"root", at(1)).unwrap();
        archive.push(b"d", at(4));
        archive.write();
        drop(archive);
        let (mut archive, kept) = open(dir.path());
        assert_eq!(texts(&kept), ["a", "b", "c", "d"]);
        archive.adopt(b"latest", b"root", at(2)).unwrap();
        drop(archive);
        assert_eq!(texts(&open(dir.path()).1), ["c", "d"]);
        // Another history is further than any revision of the one before.
        let (mut archive, _) = open(dir.path());
        archive.adopt(b"another", b"root", Revision::new(2, 0)).unwrap();
        drop(archive);
        assert!(open(dir.path()).1.segments.is_empty());
    }
}
