//! Finds out, at the start of an export, what was written before and what has to be written anew.
//!
//! The last root is kept in a file of its own. What it says is compared with the source: the same
//! history and not further than the source, then the log goes on after it, and every zone whose
//! revision and digest agree is as it should be. A root that is further than its own source, or at a
//! commit that the source never made, is the proof that the source is an older copy, and one of another
//! history that the source was replaced: then a new history begins, above all that were seen.
//!
//! **Invariant:** after opening, book and source agree on every zone, or the zone is asked for.
//! **Not here:** following commits from then on (`task`).

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::ExportError;
use super::book::{Book, Built, Head};
use super::chronicle::{Chronicle, Signer};
use super::depot::Depot;
use super::parts::Parts;
use super::shelf::Shelf;
use super::term;
use crate::feed::index::{BundleRef, Index, IndexRow};
use crate::feed::root::Root;
use crate::feed::segment::Position;
use crate::feed::{Hash, HistoryId};
use crate::limits::EVIDENCE_READ_MS_MAX;
use crate::name::Name;
use crate::store::history::{
    CommitSource, CommitsAhead, History, SourceError, ZoneSource, ZoneState, read_ahead,
};

/// An export that has begun.
pub(super) struct Opened {
    /// What the feed says.
    pub(super) book: Book,
    /// The indexes of the last version.
    pub(super) shelf: Shelf,
    /// The log.
    pub(super) chronicle: Chronicle,
    /// The last root, if what it says still holds.
    pub(super) root: Option<Root>,
    /// The number of the last version, whatever became of it.
    pub(super) number: u64,
    /// The commits from here on.
    pub(super) commits: CommitsAhead,
}

/// Begins an export. `seen` is the newest history that peers have shown, `term` the term before in
/// this process.
///
/// # Errors
/// [`ExportError`]; nothing was promised to anybody.
pub(super) async fn open(
    parts: &Parts,
    seen: Option<HistoryId>,
    term: u64,
) -> Result<Opened, ExportError> {
    let mut tried = None;
    match open_from(parts, seen, term, true, &mut tried).await {
        Err(ExportError::Source(
            error @ (SourceError::Damaged { .. } | SourceError::Compacted { .. }),
        )) => {
            // Asked again, they would be no better known: all zones are compared without them.
            tracing::warn!(%error, "the commits since the last version cannot be read");
            open_from(parts, seen, term, false, &mut tried).await
        }
        Err(ExportError::Source(SourceError::Replaced { .. })) => {
            // The one that was found to be replaced, not the one of now: another feed of the source may have
            // begun that for the same reason, and one is enough for all.
            open_from(parts, seen.max(tried), term, true, &mut None).await
        }
        opened => opened,
    }
}

/// Begins an export, with the commits since the last version if `has_commits`; notes in `tried` of which
/// history, whatever becomes of it.
async fn open_from(
    parts: &Parts,
    seen: Option<HistoryId>,
    term: u64,
    has_commits: bool,
    tried: &mut Option<HistoryId>,
) -> Result<Opened, ExportError> {
    let last = parts.root_file.as_deref().and_then(read_root);
    let last = last.filter(|root| root.namespace == parts.namespace);
    // What does not hang on each other is asked for at once: the store may be far away, and edges wait.
    let (newest_at, own) = tokio::try_join!(parts.source.newest(), parts.source.history())?;
    let newest = newest_at.revision;
    let at = last.as_ref().filter(|root| has_commits && root.digest_key == own.digest_key);
    let at = at.map(|root| root.at);
    let settling = settle_history(parts, last.as_ref(), own, newest_at, seen);
    let (settled, begun) = tokio::join!(settling, commits_after(parts, at));
    let (history, is_same) = settled?;
    let id = id_of(&history);
    *tried = Some(id);
    // Edges believe no term and take no version that they have seen already. Where the last root is lost,
    // terms go on in a file of their own, and versions at the newest commit: a commit makes one at most.
    // Where both are not enough, edges show it (`evidence`).
    let term_file = parts.root_file.as_deref().map(term::file_of);
    // Where several exporters take turns, others may have made as many versions meanwhile.
    let (known, number) = match (&parts.config.tenure, &last) {
        (Some(tenure), last) => {
            let (known, number) = last.as_ref().map_or((0, 0), |root| (root.term, root.number));
            (known.max(tenure.term_above), number.max(newest).max(tenure.number_above))
        }
        (None, Some(root)) => (root.term, root.number),
        (None, None) => (newest, newest),
    };
    let term = term::begin(term_file.as_deref(), known.max(term));
    let usable = last.filter(|root| root.digest_key == history.digest_key);
    let mut book = Book::new(history.digest_key);
    let mut shelf = Shelf::default();
    if let Some(root) = &usable {
        shelf = Shelf::adopted(&root.indexes);
        adopt(&mut book, &*parts.depot, root).await;
    }
    let (from, commits) = follow(parts, begun.filter(|_| is_same), newest_at).await?;
    let (namespace, author) = (parts.namespace, parts.author.clone());
    let signer = Signer { namespace, author, history: id, term };
    let (source, log) = (Arc::clone(&parts.source), Arc::clone(&parts.log));
    let mut chronicle = Chronicle::begin(source, parts.config.clone(), signer, log, from);
    let mut commits = commits;
    catch_up(&mut book, &mut chronicle, &mut commits, newest).await?;
    compare(parts, &mut book, &chronicle, is_same).await?;
    // Another history needs a root of its own, though all its zones may be as they were.
    let root = usable.filter(|_| is_same);
    Ok(Opened { book, shelf, chronicle, root, number, commits })
}

/// Reads the last root; none if there is none, or if it does not read: then all is written anew.
pub(super) fn read_root(file: &Path) -> Option<Root> {
    let read = match std::fs::read(file) {
        Ok(octets) => Root::from_octets(&octets).map_err(|error| error.to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => Err(error.to_string()),
    };
    read.inspect_err(|error| {
        tracing::warn!(file = %file.display(), error, "the last root does not read: all is written anew");
    })
    .ok()
}

/// Returns the history that is exported, of a source whose own is `own`, and whether it is that of the last root;
/// begins a new one where the source is not what others have seen.
async fn settle_history(
    parts: &Parts,
    last: Option<&Root>,
    own: History,
    newest: Position,
    seen: Option<HistoryId>,
) -> Result<(History, bool), ExportError> {
    let known = last.map(|root| root.history).max(seen);
    let Some(known) = known else { return Ok((own, false)) };
    let is_own = known == id_of(&own);
    if is_own && seen.is_none() {
        let has_parted = match last {
            Some(root) => has_parted(&*parts.source, root.at, newest).await,
            None => false,
        };
        if !has_parted {
            return Ok((own, last.is_some()));
        }
    }
    if !is_own && own.epoch > known.epoch {
        return Ok((own, false));
    }
    let new = parts.source.begin_history(&own, known.epoch).await?;
    tracing::error!(
        feed = %parts.config.name,
        store_revision = newest.revision,
        was = %known,
        is = %id_of(&new),
        "the store is not the one that was exported before, or an older copy of it: \
         a new history begins, and every edge goes to it"
    );
    Ok((new, false))
}

/// The history as feeds name it.
fn id_of(history: &History) -> HistoryId {
    HistoryId { epoch: history.epoch, id: history.id }
}

/// Whether the source, whose newest commit is `newest`, has no such commit as `at`, which was exported.
async fn has_parted(source: &dyn ZoneSource, at: Position, newest: Position) -> bool {
    let is_same = at.tag == newest.tag || at.tag == 0 || newest.tag == 0;
    match at.revision.cmp(&newest.revision) {
        Ordering::Greater => true,
        Ordering::Equal => !is_same,
        Ordering::Less => never_was_at(source, at).await,
    }
}

/// Whether the source still knows its commits from back then, and made another one at a position that was
/// exported.
pub(super) async fn never_was_at(source: &dyn ZoneSource, at: Position) -> bool {
    if at.revision == 0 {
        return false;
    }
    let reading = async {
        let mut commits = source.commits(at.revision - 1).await?;
        commits.next().await
    };
    let limit = Duration::from_millis(EVIDENCE_READ_MS_MAX);
    match tokio::time::timeout(limit, reading).await {
        Ok(Ok(commit)) => {
            commit.revision != at.revision
                || (commit.tag != 0 && at.tag != 0 && commit.tag != at.tag)
        }
        // What is not known any more proves nothing.
        Ok(Err(_)) | Err(_) => false,
    }
}

/// Takes what the last root says into the book. Zones whose packs are not all there are asked for; that
/// those which count as there can be read is looked at afterwards.
pub(super) async fn adopt(book: &mut Book, depot: &dyn Depot, root: &Root) {
    let mut rows: HashMap<Name, (IndexRow, usize)> = HashMap::new();
    let mut indexes: Vec<Vec<BundleRef>> = Vec::new();
    for named in &root.indexes {
        // A store of contents that fails is as one that has lost them.
        let octets = depot.get(named.hash).await.unwrap_or(None);
        let Some(index) = octets.and_then(|octets| Index::from_octets(&octets).ok()) else {
            // An older row may stand before it: none counts.
            tracing::warn!("an index of the last version is gone: all zones are written anew");
            return;
        };
        for row in index.rows {
            rows.insert(row.apex.clone(), (row, indexes.len()));
        }
        indexes.push(index.bundles);
    }
    let mut bundles: HashSet<Hash> = HashSet::new();
    for (row, at) in rows.into_values() {
        let named = row.zone.iter().flat_map(|zone| &zone.packs);
        bundles.extend(named.map(|place| indexes[at][place.bundle as usize].hash));
        book.adopt(row, &indexes[at], root.at.revision);
    }
    let mut missing = HashSet::new();
    for hash in bundles {
        if depot.has(hash).await.is_ok_and(|is_here| !is_here) {
            missing.insert(hash);
        }
    }
    if !missing.is_empty() {
        let zones = book.zones_in(&missing);
        tracing::warn!(
            zones = zones.len(),
            "contents of the last version are gone: these zones are written anew"
        );
        zones.iter().for_each(|apex| book.want(apex));
    }
}

/// A stream of commits that was asked for, and the position behind which it begins.
type Begun = (Position, Result<Box<dyn CommitSource>, SourceError>);

/// Opens the stream of commits after a position, if there is one.
async fn commits_after(parts: &Parts, at: Option<Position>) -> Option<Begun> {
    let at = at?;
    Some((at, parts.source.commits(at.revision).await))
}

/// Follows the stream of commits that was opened, or, where they are not known, one after the newest.
async fn follow(
    parts: &Parts,
    begun: Option<Begun>,
    newest: Position,
) -> Result<(Position, CommitsAhead), ExportError> {
    if let Some((from, begun)) = begun {
        match begun {
            Ok(stream) => return Ok((from, read_ahead(stream))),
            Err(SourceError::Compacted { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let stream = parts.source.commits(newest.revision).await?;
    Ok((newest, read_ahead(stream)))
}

/// Writes the commits that were made already, up to `newest`.
async fn catch_up(
    book: &mut Book,
    chronicle: &mut Chronicle,
    commits: &mut CommitsAhead,
    newest: u64,
) -> Result<(), ExportError> {
    let mut together = Vec::new();
    let mut at = chronicle.at().revision;
    while at < newest {
        let Some(commit) = commits.recv().await else { break };
        let commit = commit?;
        at = commit.revision;
        together.push(commit);
        if together.len() >= crate::limits::COMMITS_AHEAD_MAX || at >= newest {
            chronicle.take(book, std::mem::take(&mut together)).await;
        }
    }
    Ok(())
}

/// Compares every zone of the source with the book, and asks for those that differ.
///
/// # Errors
/// [`SourceError::Replaced`] if a zone of the same history has gone back: where the commits from back then
/// are not known any more, nothing else shows it.
async fn compare(
    parts: &Parts,
    book: &mut Book,
    chronicle: &Chronicle,
    is_same: bool,
) -> Result<(), ExportError> {
    let at = chronicle.at().revision;
    let zones = parts.source.zones().await?;
    let zones: HashMap<Name, ZoneState> = zones
        .into_iter()
        .filter(|zone| parts.config.carries(&zone.apex))
        .map(|zone| (zone.apex.clone(), zone))
        .collect();
    let mut differing = 0_u64;
    for zone in zones.values() {
        let known = book.head(&zone.apex);
        // What changed since comes with its commit.
        if zone.revision > at.max(known.revision) && known.is_there && is_same {
            continue;
        }
        let (revision, serial, digest) = (zone.revision, zone.serial, zone.digest);
        let head = Head { revision, serial, digest, is_there: true };
        if known == head {
            continue;
        }
        let doc = book.doc(&zone.apex);
        let is_behind = |known: &Head| known.is_there && revision < known.revision;
        if is_same && (is_behind(&known) || is_behind(&doc)) {
            tracing::warn!(apex = %zone.apex, revision, "a zone was exported that was further");
            return Err(SourceError::Replaced { after: at }.into());
        }
        let is_number_right = !is_same || doc.revision <= revision;
        let is_content_known = doc.is_there && doc.digest == digest && is_number_right;
        book.set_head(&zone.apex, head);
        if is_content_known {
            let (apex, places) = (zone.apex.clone(), book.places(&zone.apex));
            book.put_doc(Built { apex, doc: head, names: None, places });
        } else {
            differing += u64::from(known.is_there);
            if !is_same {
                book.disown(&zone.apex);
            }
            book.want(&zone.apex);
        }
    }
    let gone: Vec<Name> = book
        .apexes()
        .filter(|apex| book.head(apex).is_there || book.is_in_doc(apex))
        .filter(|apex| !zones.contains_key(*apex))
        .cloned()
        .collect();
    for apex in gone {
        let head = book.head(&apex);
        if !is_same || head.revision <= at {
            let revision = if is_same { head.revision.max(at) } else { at };
            book.set_head(&apex, Head { revision, serial: 0, is_there: false, ..head });
            book.want(&apex);
        }
    }
    if differing > 0 {
        tracing::info!(
            zones = differing,
            "zones that differ from the last version are written anew"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests;
