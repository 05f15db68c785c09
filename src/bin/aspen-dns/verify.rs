//! `aspen-dns verify`: compares what edges answer with their authority, zone by zone.
//!
//! **Invariant:** only zones at one revision are compared; a zone that could not be is a difference.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::client::{Client, key_in, query_value};
use crate::flags::VerifyFlags;
use crate::output;

/// A page of digests, as a node gives it.
#[derive(Debug, Deserialize)]
struct Page {
    /// The history of the revisions.
    history: String,
    /// The newest revision.
    revision: u64,
    /// The zones.
    zones: Vec<Row>,
    /// Where to go on.
    next: Option<String>,
}

/// One zone of a page.
#[derive(Debug, Deserialize)]
struct Row {
    /// Its apex.
    apex: String,
    /// Its state.
    #[serde(flatten)]
    state: State,
}

/// What a zone comes to.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct State {
    /// Its revision.
    revision: u64,
    /// Its digest.
    digest: String,
}

/// What a node has.
#[derive(Debug, Default)]
struct Listing {
    /// The history of the revisions.
    history: String,
    /// The newest revision.
    revision: u64,
    /// The zones.
    zones: BTreeMap<String, State>,
}

/// A zone that differs.
#[derive(Debug, Eq, PartialEq, Serialize)]
struct Difference {
    /// Its apex.
    apex: String,
    /// What the authority has.
    authority: Option<State>,
    /// What the edge has.
    edge: Option<State>,
}

/// What came of one edge.
#[derive(Debug, Serialize)]
struct Found {
    /// Its URL.
    edge: String,
    /// The authority's history.
    history: String,
    /// The edge's.
    edge_history: String,
    /// The revision of the authority.
    revision: u64,
    /// Zones that were compared.
    zones: usize,
    /// Those that differ.
    differences: Vec<Difference>,
}

impl Found {
    /// Whether the edge has what the authority has.
    fn is_equal(&self) -> bool {
        self.differences.is_empty() && self.history == self.edge_history
    }
}

/// Compares every edge with the authority and prints what was found.
pub(crate) fn run(
    authority: &Client,
    flags: &VerifyFlags,
    is_json: bool,
) -> anyhow::Result<ExitCode> {
    let mut all = Vec::new();
    for (index, url) in flags.edge.iter().enumerate() {
        let edge = authority.at(url, "--edge", edge_key(authority, flags, index)?)?;
        all.push(verify(authority, &edge, flags)?);
    }
    let is_equal = all.iter().all(Found::is_equal);
    if is_json {
        output::print_json(&json!({ "is_equal": is_equal, "edges": all }))?;
    } else {
        all.iter().try_for_each(|found| output::print(text(found)))?;
    }
    Ok(if is_equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns the key of an edge.
fn edge_key(
    authority: &Client,
    flags: &VerifyFlags,
    index: usize,
) -> anyhow::Result<Option<String>> {
    let of_each = [flags.edge_key.len(), flags.edge_data_dir.len()];
    if of_each.iter().any(|count| *count > 1 && *count != flags.edge.len()) {
        bail!("give --edge-key or --edge-data-dir once, or once for each --edge");
    }
    if let Some(key) = flags.edge_key.get(index).or(flags.edge_key.first()) {
        return Ok(Some(key.clone()));
    }
    match flags.edge_data_dir.get(index).or(flags.edge_data_dir.first()) {
        Some(dir) => key_in(dir),
        None => Ok(authority.key().map(str::to_owned)),
    }
}

/// Compares one edge with the authority, those zones again that change meanwhile.
fn verify(authority: &Client, edge: &Client, flags: &VerifyFlags) -> anyhow::Result<Found> {
    let is_recount = flags.recount;
    let (mut ours, mut theirs) = read_both(authority, edge, None, is_recount)?;
    for wait_ms in WAITS_MS {
        let differences = compare(&ours, &theirs, flags.partial);
        let is_one_history = ours.history == theirs.history;
        if differences.is_empty() && is_one_history {
            break;
        }
        std::thread::sleep(Duration::from_millis(wait_ms));
        if !is_one_history || differences.len() > SINGLE_MAX {
            (ours, theirs) = read_both(authority, edge, None, is_recount)?;
            continue;
        }
        for Difference { apex, .. } in differences {
            let only = Some(apex.as_str());
            let (our, their) = read_both(authority, edge, only, is_recount)?;
            ours.replace(&apex, our);
            theirs.replace(&apex, their);
        }
    }
    let differences = compare(&ours, &theirs, flags.partial);
    Ok(Found {
        edge: edge.base().to_owned(),
        history: ours.history,
        edge_history: theirs.history,
        revision: ours.revision,
        zones: if flags.partial { theirs.zones.len() } else { ours.zones.len() },
        differences,
    })
}

/// Reads what both nodes have, at the same time.
fn read_both(
    authority: &Client,
    edge: &Client,
    only: Option<&str>,
    is_recount: bool,
) -> anyhow::Result<(Listing, Listing)> {
    std::thread::scope(|scope| {
        let theirs = scope.spawn(|| read(edge, only, is_recount));
        let ours = read(authority, only, is_recount);
        let theirs = theirs.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((ours?, theirs?))
    })
}

/// Reads what a node has, all of it or one zone.
fn read(client: &Client, only: Option<&str>, is_recount: bool) -> anyhow::Result<Listing> {
    let only = only.map(|apex| format!("&zone={}", query_value(apex))).unwrap_or_default();
    let (mut listing, mut cursor) = (Listing::default(), String::new());
    loop {
        let path = format!("/api/v1/aspen/digests?recount={is_recount}{only}{cursor}");
        let value = client.get(&path).with_context(|| client.base().to_owned())?;
        let page: Page = serde_json::from_value(value).context("the node is of another version")?;
        (listing.history, listing.revision) = (page.history, page.revision);
        listing.zones.extend(page.zones.into_iter().map(|row| (row.apex, row.state)));
        match page.next {
            Some(next) => cursor = format!("&cursor={}", query_value(&next)),
            None => return Ok(listing),
        }
    }
}

impl Listing {
    /// Puts what one zone comes to now in the place of what it came to before.
    fn replace(&mut self, apex: &str, mut newer: Listing) {
        (self.history, self.revision) = (newer.history, newer.revision);
        match newer.zones.remove(apex) {
            Some(state) => self.zones.insert(apex.to_owned(), state),
            None => self.zones.remove(apex),
        };
    }
}

/// Returns what differs; with `is_partial` the edge may lack zones, but not all of them.
fn compare(authority: &Listing, edge: &Listing, is_partial: bool) -> Vec<Difference> {
    let is_partial = is_partial && !edge.zones.is_empty();
    let mut differences = Vec::new();
    let difference = |apex: &String| Difference {
        apex: apex.clone(),
        authority: authority.zones.get(apex).cloned(),
        edge: edge.zones.get(apex).cloned(),
    };
    for (apex, state) in &authority.zones {
        let is_equal = match edge.zones.get(apex) {
            Some(theirs) => theirs == state,
            None => is_partial,
        };
        if !is_equal {
            differences.push(difference(apex));
        }
    }
    let is_extra = |apex: &&String| !authority.zones.contains_key(*apex);
    differences.extend(edge.zones.keys().filter(is_extra).map(difference));
    differences
}

/// Says what was found at one edge.
fn text(found: &Found) -> String {
    let state = |state: &Option<State>| match state {
        Some(state) => format!("{} at revision {}", state.digest, state.revision),
        None => "no such zone".to_owned(),
    };
    let mut lines = String::new();
    for Difference { apex, authority, edge } in &found.differences {
        lines.push_str(&format!(
            "{}: {apex} differs: authority {}, edge {}\n",
            found.edge,
            state(authority),
            state(edge)
        ));
    }
    if found.history != found.edge_history {
        lines.push_str(&format!(
            "{}: the authority is in history {}, the edge in {}\n",
            found.edge, found.history, found.edge_history
        ));
    }
    let (zones, count) = (found.zones, found.differences.len());
    lines.push_str(&format!(
        "{}: {zones} zones at revision {}, {count} differ\n",
        found.edge, found.revision
    ));
    lines
}

/// Milliseconds before zones that differ are asked for again: they may have changed meanwhile.
const WAITS_MS: [u64; 6] = [50, 200, 400, 800, 1_500, 3_000];
/// Zones that are asked for one by one. If more differ, all are asked for again.
const SINGLE_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a listing of "apex revision digest".
    fn listing(zones: &[&str]) -> Listing {
        let zone = |text: &&str| {
            let mut words = text.split(' ').map(str::to_owned);
            let mut word = || words.next().unwrap();
            let (apex, revision, digest) = (word(), word().parse().unwrap(), word());
            (apex, State { revision, digest })
        };
        Listing { zones: zones.iter().map(zone).collect(), ..Listing::default() }
    }

    #[test]
    fn zones_differ_by_revision_digest_and_absence() {
        let authority = listing(&["a. 1 aa/1", "b. 2 bb/1", "c. 3 cc/1", "d. 4 dd/1"]);
        let edge = listing(&["a. 1 aa/1", "b. 1 bb/1", "c. 3 ca/1", "e. 5 ee/1"]);
        let apexes = |is_partial| {
            let differences = compare(&authority, &edge, is_partial);
            differences.into_iter().map(|found| found.apex).collect::<Vec<_>>()
        };
        assert_eq!(apexes(false), ["b.", "c.", "d.", "e."]);
        assert_eq!(apexes(true), ["b.", "c.", "e."]);
        assert_eq!(compare(&authority, &authority, false), []);
    }
}
