//! Commits that wait for a version of the document that leads to them.
//!
//! Exporters of one history tell the same commits, each in its own detail: one that begins anew tells again
//! from further back, and of a zone that it has read later only where that has come to. All of it is
//! true, so each zone takes of a commit the step that leads furthest by itself, whoever told it. What waits
//! then leads every zone at least as far as any of them alone, in whatever order it comes: a restart finds
//! together what came one after the other.
//!
//! **Invariant:** a commit waits once, however often it is told; the steps counted are those of all commits.
//! **Not here:** when what waits is too much (`mirror`).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use crate::feed::HistoryId;
use crate::feed::segment::{LogCommit, LogStep, LogZone, Position};
use crate::name::Name;

/// Commits that wait; between some of them something may be missing.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// The commits of each history, by revision; of no history none.
    histories: BTreeMap<HistoryId, BTreeMap<u64, Waiting>>,
    /// How many there are, and steps of zones in them.
    steps: usize,
}

/// A commit that waits.
#[derive(Debug)]
struct Waiting {
    /// The lowest position that it was told to follow on.
    from: Position,
    /// The commit.
    commit: LogCommit,
}

impl Line {
    /// Whether no commit waits.
    pub(super) fn is_empty(&self) -> bool {
        self.histories.is_empty()
    }

    /// Returns how many commits wait, and steps of zones in them.
    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// The newest history of the commits, and the position that those of it lead to.
    pub(super) fn last(&self) -> Option<(HistoryId, Position)> {
        let history = *self.histories.last_key_value()?.0;
        Some((history, self.last_of(history)?))
    }

    /// The position that the commits of a history lead to.
    pub(super) fn last_of(&self, history: HistoryId) -> Option<Position> {
        let (_, last) = self.histories.get(&history)?.last_key_value()?;
        Some(last.commit.at)
    }

    /// The position that the first commit of a history follows on, if any waits.
    pub(super) fn from(&self, history: HistoryId) -> Option<Position> {
        let (_, first) = self.histories.get(&history)?.first_key_value()?;
        Some(first.from)
    }

    /// Returns the next commit of a history behind a position, if all before it are known; forgets those
    /// before, and those of histories that are over.
    pub(super) fn poll(&mut self, history: HistoryId, position: Position) -> Option<LogCommit> {
        let is_over = |other: &HistoryId| other.epoch <= history.epoch && *other != history;
        for (_, commits) in self.histories.extract_if(.., |other, _| is_over(other)) {
            self.steps -= commits.values().map(Waiting::steps).sum::<usize>();
        }
        let commits = self.histories.get_mut(&history)?;
        let mut next = None;
        while next.is_none()
            && let Some(first) = commits.first_entry()
            && first.get().from.revision <= position.revision
        {
            let waiting = first.remove();
            self.steps -= waiting.steps();
            next = Some(waiting.commit).filter(|commit| commit.at.revision > position.revision);
        }
        if commits.is_empty() {
            self.histories.remove(&history);
        }
        next
    }

    /// Takes commits, in whatever order they come. What lies before them may come yet, and a version leads
    /// over it otherwise. Those of another history wait, too: a restart may find the beginning of it
    /// behind what was served.
    pub(super) fn push(&mut self, history: HistoryId, before: Position, commits: Vec<LogCommit>) {
        let mut from = before;
        for commit in commits {
            let at = commit.at;
            match self.histories.entry(history).or_default().entry(at.revision) {
                Entry::Vacant(place) => {
                    let waiting = place.insert(Waiting { from, commit });
                    self.steps += waiting.steps();
                }
                Entry::Occupied(known) => {
                    let known = known.into_mut();
                    self.steps -= known.steps();
                    known.take(from, commit);
                    self.steps += known.steps();
                }
            }
            from = at;
        }
        let waiting = self.histories.values().flat_map(BTreeMap::values);
        debug_assert!(
            self.steps == waiting.map(Waiting::steps).sum::<usize>(),
            "steps are counted"
        );
    }
}

impl Waiting {
    /// What a commit that waits counts for: those without zones wait, too.
    fn steps(&self) -> usize {
        1 + self.commit.zones.len()
    }

    /// Takes the same commit as it was told another time.
    fn take(&mut self, from: Position, told: LogCommit) {
        if self.commit.at != told.at {
            // Of a history that has parted; another one begins.
            return;
        }
        if from.revision < self.from.revision {
            self.from = from;
        }
        let zones = &mut self.commit.zones;
        let places: HashMap<Name, usize> =
            zones.iter().enumerate().map(|(at, zone)| (zone.apex.clone(), at)).collect();
        for zone in told.zones {
            match places.get(&zone.apex) {
                Some(at) if reach(&zone) > reach(&zones[*at]) => zones[*at] = zone,
                Some(_) => {}
                None => zones.push(zone),
            }
        }
    }
}

/// How far a step leads by itself: the highest of those of one commit is taken.
///
/// Changes lead on from one revision only, and a whole from any. The document may be long in coming, and the
/// less of it a step asks for, the more of what comes behind can be made without it.
fn reach(zone: &LogZone) -> (bool, u64, bool) {
    match zone.step {
        LogStep::Document => (false, u64::MAX - zone.revision, false),
        LogStep::Changes(_) => (true, zone.revision, false),
        LogStep::Whole(_) | LogStep::Removed => (true, zone.revision, true),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const HISTORY: HistoryId = HistoryId { epoch: 2, id: 1 };

    /// A commit: its revision, and of zones the letter of the apex, the step and where it leads.
    type Told<'a> = (u64, &'a [(&'a str, char, u64)]);

    fn position(revision: u64) -> Position {
        Position { revision, tag: 1 }
    }

    fn push(line: &mut Line, history: HistoryId, before: u64, commits: &[Told<'_>]) {
        let zone = |(apex, step, revision): &(&str, char, u64)| LogZone {
            apex: Name::from_text(apex).expect("a name"),
            before: 0,
            revision: *revision,
            serial: 0,
            digest: crate::feed::digest::Digest::default(),
            step: match step {
                'c' => LogStep::Changes(Bytes::new()),
                'w' => LogStep::Whole(Bytes::new()),
                'r' => LogStep::Removed,
                _ => LogStep::Document,
            },
        };
        let commits = commits.iter().map(|(revision, zones)| LogCommit {
            at: position(*revision),
            zones: zones.iter().map(zone).collect(),
        });
        line.push(history, position(before), commits.collect());
    }

    /// Takes everything that leads on from a position, and says it in text.
    fn drain(line: &mut Line, mut at: u64) -> String {
        let mut out = Vec::new();
        while let Some(commit) = line.poll(HISTORY, position(at)) {
            at = commit.at.revision;
            let zones = commit.zones.iter().map(|zone| {
                let step = match zone.step {
                    LogStep::Changes(_) => 'c',
                    LogStep::Whole(_) => 'w',
                    LogStep::Removed => 'r',
                    LogStep::Document => 'd',
                };
                format!(" {} {step}{}", zone.apex, zone.revision)
            });
            out.push(format!("{at}:{}", zones.collect::<String>()));
        }
        out.join("; ")
    }

    /// What comes behind a position of two runs of commits, whichever comes first.
    fn check(one: (u64, &[Told<'_>]), other: (u64, &[Told<'_>]), at: u64, expected: &str) {
        for runs in [[one, other], [other, one]] {
            let mut line = Line::default();
            runs.iter().for_each(|(before, commits)| push(&mut line, HISTORY, *before, commits));
            assert_eq!(drain(&mut line, at), expected, "{runs:?}");
            assert_eq!((line.steps(), line.is_empty()), (0, true));
        }
    }

    #[test]
    fn a_whole_that_leads_further_counts_whichever_exporter_told_it() {
        let told: &[Told<'_>] = &[(50, &[("b", 'w', 50)]), (58, &[("b", 'c', 58)])];
        let anew: &[Told<'_>] =
            &[(44, &[]), (50, &[("b", 'w', 72)]), (58, &[("b", 'd', 72)]), (72, &[("b", 'd', 72)])];
        check((44, told), (32, anew), 44, "50: b w72; 58: b c58; 72: b d72");
        check((44, told), (32, anew), 32, "44:; 50: b w72; 58: b c58; 72: b d72");
        check((44, told), (44, &anew[1..]), 44, "50: b w72; 58: b c58; 72: b d72");
    }

    #[test]
    fn each_zone_of_a_commit_takes_the_step_that_leads_furthest_by_itself() {
        let (told, anew) = ([("a", 'c', 7), ("b", 'd', 7)], [("a", 'd', 9), ("b", 'w', 9)]);
        check((5, &[(7, &told)]), (3, &[(7, &anew)]), 6, "7: a c7 b w9");
    }

    #[test]
    fn a_whole_counts_for_more_than_changes_and_of_the_document_the_least() {
        check((5, &[(7, &[("a", 'c', 7)])]), (3, &[(7, &[("a", 'w', 7)])]), 5, "7: a w7");
        check((5, &[(7, &[("a", 'c', 7)])]), (3, &[(7, &[("a", 'r', 9)])]), 5, "7: a r9");
        check((5, &[(7, &[("a", 'd', 7)])]), (3, &[(7, &[("a", 'd', 9)])]), 5, "7: a d7");
    }

    #[test]
    fn commits_wait_until_all_before_them_are_known() {
        let mut line = Line::default();
        push(&mut line, HISTORY, 5, &[(7, &[]), (9, &[])]);
        push(&mut line, HISTORY, 12, &[(13, &[])]);
        assert_eq!(drain(&mut line, 4), "");
        assert_eq!(
            (line.from(HISTORY), line.last_of(HISTORY)),
            (Some(position(5)), Some(position(13)))
        );
        assert_eq!(drain(&mut line, 7), "9:");
        assert_eq!((line.from(HISTORY), line.steps()), (Some(position(12)), 1));
        push(&mut line, HISTORY, 8, &[(9, &[]), (12, &[])]);
        assert_eq!(drain(&mut line, 9), "12:; 13:");
    }

    #[test]
    fn commits_of_histories_that_are_over_are_forgotten() {
        let mut line = Line::default();
        for (epoch, id) in [(1, 1), (2, 0), (2, 1), (2, 2), (3, 1)] {
            push(&mut line, HistoryId { epoch, id }, 5, &[(7, &[("a", 'c', 7)])]);
        }
        assert_eq!(line.steps(), 10);
        assert_eq!(drain(&mut line, 5), "7: a c7");
        assert_eq!((line.steps(), line.from(HISTORY)), (2, None));
        assert_eq!(line.last(), Some((HistoryId { epoch: 3, id: 1 }, position(7))));
    }
}
