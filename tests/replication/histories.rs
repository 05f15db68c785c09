//! Data directories that are not what they were: older copies, files that are missing or damaged.

use std::path::Path;
use std::time::Instant;

use tempfile::TempDir;

use crate::asker::{NOERROR, REFUSED, SERVFAIL, SOA, ask};
use crate::node::{Node, Start, assert_equal, wait, wait_synced};

const ZONES: [&str; 2] = ["one.example", "big.example"];
/// Names of the zone that is imported: more than go into a log.
const IMPORTED: u32 = 3_000;

/// An authority and an edge with the same zones.
struct Pair {
    dirs: TempDir,
    authority: Node,
    edge: Node,
    ticket: String,
}

impl Pair {
    fn start() -> Self {
        let dirs = tempfile::tempdir().unwrap();
        let authority = Start::authority(&dirs.path().join("authority")).run();
        ZONES.iter().for_each(|zone| authority.create_zone(zone));
        authority.import("big.example", IMPORTED, 1);
        (0..10).for_each(|at| authority.set(&format!("n{at}.one.example"), 1));
        let ticket = authority.ticket();
        let edge = Start::edge(&dirs.path().join("edge"), &ticket).run();
        wait_synced(&authority, &edge);
        Self { dirs, authority, edge, ticket }
    }

    /// Sees that a change arrives, and that both nodes and one that is new have the same.
    fn assert_well(&self, value: u32) {
        self.authority.set("change.one.example", value);
        self.authority.import("big.example", IMPORTED, value);
        self.edge.wait_value("change.one.example", Some(value));
        wait_synced(&self.authority, &self.edge);
        assert_equal(&self.authority, &self.edge, &ZONES);
        let new = Start::edge(&self.dirs.path().join(format!("new{value}")), &self.ticket).run();
        wait_synced(&self.authority, &new);
        assert_equal(&self.authority, &new, &ZONES);
    }

    /// Kills the authority, does something to its directory, and starts it again; returns what it
    /// has warned of since.
    fn meddle_with_authority(&mut self, meddle: impl FnOnce(&Path)) -> Vec<String> {
        let dir = self.dirs.path().join("authority");
        meddle_with(&mut self.authority, &dir, &Start::authority(&dir), meddle)
    }

    /// The same with the edge.
    fn meddle_with_edge(&mut self, meddle: impl FnOnce(&Path)) -> Vec<String> {
        let dir = self.dirs.path().join("edge");
        meddle_with(&mut self.edge, &dir, &Start::edge(&dir, &self.ticket), meddle)
    }
}

fn meddle_with(
    node: &mut Node,
    dir: &Path,
    start: &Start,
    meddle: impl FnOnce(&Path),
) -> Vec<String> {
    node.kill();
    let logged = node.log().len();
    meddle(dir);
    *node = start.run();
    node.log()[logged..].lines().map(str::to_owned).collect()
}

/// Copies a directory.
fn copy(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.expect("cp runs").success());
}

/// Cuts a file in half.
fn cut(path: &Path) {
    let octets = std::fs::read(path).unwrap();
    std::fs::write(path, &octets[..octets.len() / 2]).unwrap();
}

#[test]
fn edges_follow_an_authority_that_was_put_back_to_an_older_copy() {
    for only in ["", "store.redb"] {
        let mut pair = Pair::start();
        let kept = pair.dirs.path().join("kept");
        pair.meddle_with_authority(|dir| copy(dir, &kept));
        (0..10).for_each(|at| pair.authority.set(&format!("n{at}.one.example"), 2));
        pair.authority.set("late.one.example", 2);
        pair.edge.wait_value("late.one.example", Some(2));
        let before = pair.authority.status()["feed"]["history"].clone();
        let warned = pair.meddle_with_authority(|dir| {
            if !only.is_empty() {
                std::fs::copy(kept.join(only), dir.join(only)).unwrap();
                return;
            }
            std::fs::remove_dir_all(dir).unwrap();
            copy(&kept, dir);
        });
        assert_eq!(pair.authority.value("n3.one.example"), Some(1));
        // What nobody has stored any more is gone everywhere.
        pair.edge.wait_value("late.one.example", None);
        wait_synced(&pair.authority, &pair.edge);
        assert_equal(&pair.authority, &pair.edge, &ZONES);
        let status = pair.authority.status();
        assert_ne!(status["feed"]["history"], before, "{status} {warned:?}");
        // What the edge keeps is the history that it was last in, with or without somebody to ask.
        pair.authority.kill();
        let warned = pair.meddle_with_edge(|_| ());
        assert_eq!(warned, [""; 0]);
        assert_eq!(pair.edge.value("n3.one.example"), Some(1));
        assert_eq!(ask(pair.edge.dns, "big.example", SOA).rcode, NOERROR);
        pair.authority = Start::authority(&pair.dirs.path().join("authority")).run();
        wait_synced(&pair.authority, &pair.edge);
        (5..10).for_each(|at| pair.authority.set(&format!("n{at}.one.example"), 3));
        pair.edge.wait_value("n9.one.example", Some(3));
        pair.assert_well(4);
    }
}

#[test]
fn all_feeds_of_a_store_go_to_the_history_that_one_of_them_begins() {
    let mut pair = Pair::start();
    let made =
        pair.authority.request("POST", "/api/v1/aspen/tickets", r#"{"zones": ["one.example"]}"#);
    let small_start =
        Start::edge(&pair.dirs.path().join("small"), made["ticket"].as_str().expect("a ticket"));
    let small = small_start.run();
    small.wait_value("n3.one.example", Some(1));
    let kept = pair.dirs.path().join("kept");
    pair.meddle_with_authority(|dir| copy(&dir.join("mesh/feeds"), &kept));
    pair.authority.set("n3.one.example", 2);
    small.wait_value("n3.one.example", Some(2));
    wait_synced(&pair.authority, &pair.edge);
    // Its terms go on without a commit: of the two edges the one that stays can show that.
    pair.meddle_with_authority(|_| ());
    let restarted = Instant::now();
    wait("the small feed's edge has heard the author", || {
        let beat_age_ms = small.status()["sync"]["beat_age_ms"].as_u64();
        beat_age_ms.is_some_and(|age_ms| u128::from(age_ms) < restarted.elapsed().as_millis())
    });
    pair.edge.kill();
    pair.meddle_with_authority(|dir| {
        std::fs::remove_dir_all(dir.join("mesh/feeds")).unwrap();
        copy(&kept, &dir.join("mesh/feeds"));
    });
    let history = |node: &Node| node.status()["sync"]["history"].clone();
    wait("the small feed has another history", || {
        history(&small).as_str().is_some_and(|history| history.starts_with("2-"))
    });
    pair.edge = Start::edge(&pair.dirs.path().join("edge"), &pair.ticket).run();
    wait_synced(&pair.authority, &pair.edge);
    wait("both feeds have one history", || history(&small) == history(&pair.edge));
    pair.assert_well(3);
}

#[test]
fn a_store_that_is_gone_is_missed_and_a_new_one_is_followed_in_one_step() {
    let mut pair = Pair::start();
    let start = Start::authority(&pair.dirs.path().join("authority"));
    pair.authority.kill();
    std::fs::remove_file(pair.dirs.path().join("authority/store.redb")).unwrap();
    let said = start.refusal();
    assert!(said.contains("store.redb") && said.contains("--new-store"), "{said}");
    assert_eq!(pair.edge.value("n3.one.example"), Some(1));
    pair.authority = start.with(&["--new-store"]).run();
    wait("the edge has left the old zones", || {
        let first = ask(pair.edge.dns, "one.example", SOA).rcode;
        let second = ask(pair.edge.dns, "big.example", SOA).rcode;
        assert!(first != REFUSED || second == REFUSED, "one zone is gone before the other");
        second == REFUSED
    });
    assert_eq!(ask(pair.edge.dns, "one.example", SOA).rcode, REFUSED);
    pair.authority.create_zone("new.example");
    pair.authority.set("n.new.example", 5);
    pair.edge.wait_value("n.new.example", Some(5));
    wait_synced(&pair.authority, &pair.edge);
    assert_equal(&pair.authority, &pair.edge, &["new.example"]);
}

#[test]
fn an_authority_whose_last_root_is_gone_or_damaged_writes_all_anew() {
    let mut pair = Pair::start();
    let root = "mesh/feeds/main.root";
    let warned = pair.meddle_with_authority(|dir| std::fs::remove_file(dir.join(root)).unwrap());
    assert_eq!(warned, [""; 0]);
    pair.assert_well(2);
    let warned = pair.meddle_with_authority(|dir| cut(&dir.join(root)));
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(warned[0].contains("the last root does not read"), "{warned:?}");
    pair.assert_well(3);
    let warned = pair.meddle_with_authority(|dir| std::fs::write(dir.join(root), "").unwrap());
    assert_eq!(warned.len(), 1, "{warned:?}");
    pair.assert_well(4);
}

#[test]
fn keys_that_are_gone_are_missed_and_nothing_takes_their_place() {
    let mut pair = Pair::start();
    let mesh = pair.dirs.path().join("authority/mesh");
    let start = Start::authority(&pair.dirs.path().join("authority"));
    pair.authority.kill();
    for name in ["secret-key", "feeds/main.json", "feeds", ""] {
        let (path, aside) = (mesh.join(name), pair.dirs.path().join("aside"));
        std::fs::rename(&path, &aside).unwrap();
        let said = start.refusal();
        assert!(said.contains(name) && said.contains("put it back"), "{said}");
        // What was made on the way to the refusal holds no key.
        let _ = std::fs::remove_dir(&path);
        assert!(!path.exists(), "{name}");
        std::fs::rename(&aside, &path).unwrap();
    }
    pair.authority = start.run();
    pair.assert_well(2);
}

#[test]
fn an_edge_that_missed_that_its_authority_was_put_back_comes_to_what_it_says_now() {
    let mut pair = Pair::start();
    let kept = pair.dirs.path().join("kept");
    pair.meddle_with_authority(|dir| copy(dir, &kept));
    // The future that is lost: names, zones, and the place of later commits.
    for at in 0..10 {
        pair.authority.set(&format!("lost{at}.one.example"), 9);
    }
    pair.authority.create_zone("lost.example");
    pair.authority.set("n.lost.example", 9);
    pair.edge.wait_value("n.lost.example", Some(9));
    wait_synced(&pair.authority, &pair.edge);
    pair.edge.kill();
    pair.meddle_with_authority(|dir| {
        std::fs::remove_dir_all(dir).unwrap();
        copy(&kept, dir);
    });
    for at in 0..30 {
        pair.authority.set(&format!("new{at}.one.example"), 3);
    }
    // Its log begins anew behind what the edge was told before.
    wait("the document has it", || {
        let feed = &pair.authority.status()["feed"];
        feed["document_revision"] == feed["exported_revision"]
    });
    pair.meddle_with_authority(|_| {});
    pair.edge = Start::edge(&pair.dirs.path().join("edge"), &pair.ticket).run();
    wait_synced(&pair.authority, &pair.edge);
    assert_equal(&pair.authority, &pair.edge, &ZONES);
    assert_eq!(pair.edge.value("lost0.one.example"), None);
    assert_eq!(ask(pair.edge.dns, "n.lost.example", SOA).rcode, REFUSED);
    // What the edge shows of the lost future may have its authority begin another history only now.
    wait("both are in one history", || {
        pair.edge.status()["sync"]["history"] == pair.authority.status()["feed"]["history"]
    });
    pair.assert_well(4);
}

#[test]
fn an_edge_whose_log_is_damaged_is_not_ready_until_somebody_is_heard() {
    let mut pair = Pair::start();
    for value in 2..40 {
        pair.authority.set("n1.one.example", value);
    }
    pair.edge.wait_value("n1.one.example", Some(39));
    let start = Start::authority(&pair.dirs.path().join("authority"));
    pair.authority.kill();
    let warned = pair.meddle_with_edge(|dir| {
        let replica = std::fs::read_dir(dir.join("mesh/replica")).unwrap().next().unwrap();
        for log in ["log.0", "log.1"] {
            let log = replica.as_ref().unwrap().path().join(log);
            let octets = std::fs::read(&log).unwrap_or_default();
            std::fs::write(&log, &octets[..octets.len().saturating_sub(7)]).unwrap();
        }
    });
    assert!(warned.iter().any(|line| line.contains("torn or damaged")), "{warned:?}");
    let ready = || pair.edge.send("GET", "/readyz", "").unwrap();
    wait("it says why", || ready().1.contains("what was kept is damaged"));
    assert_eq!(ready().0, 503);
    pair.authority = start.run();
    wait_synced(&pair.authority, &pair.edge);
    wait("it is ready", || ready().0 == 200);
    assert_eq!(pair.edge.value("n1.one.example"), Some(39));
}

#[test]
fn a_document_that_cannot_be_written_is_a_fault_and_changes_go_on() {
    let mut pair = Pair::start();
    let root = pair.dirs.path().join("authority/mesh/feeds/main.root");
    let block = || {
        std::fs::remove_file(&root).unwrap();
        std::fs::create_dir(&root).unwrap();
    };
    block();
    let tells = |authority: &Node| authority.status()["faults"].to_string().contains("document");
    pair.authority.set("n1.one.example", 2);
    pair.edge.wait_value("n1.one.example", Some(2));
    wait("the fault is told", || tells(&pair.authority));
    let (status, text) = pair.authority.send("GET", "/healthz", "").unwrap();
    assert!(status == 503 && text.contains("document of the feed main"), "{status} {text}");
    pair.authority.set("n1.one.example", 3);
    pair.edge.wait_value("n1.one.example", Some(3));
    std::fs::remove_dir(&root).unwrap();
    wait("the fault is over", || !tells(&pair.authority));
    pair.assert_well(4);
    // Nor does a root that cannot be read keep an exporter from beginning.
    pair.meddle_with_authority(|_| block());
    pair.authority.set("n1.one.example", 5);
    pair.edge.wait_value("n1.one.example", Some(5));
    std::fs::remove_dir(&root).unwrap();
    wait_synced(&pair.authority, &pair.edge);
}

#[test]
fn contents_that_are_gone_or_damaged_are_written_and_fetched_anew() {
    let mut pair = Pair::start();
    let (blobs, database) = ("mesh/blobs", "mesh/blobs/blobs.db");
    let remove = |dir: &Path| std::fs::remove_dir_all(dir.join(blobs)).unwrap();
    let damage = |dir: &Path| cut(&dir.join(database));
    let warned = pair.meddle_with_authority(remove);
    assert_eq!(warned.len(), 1, "{warned:?}");
    pair.assert_well(2);
    let warned = pair.meddle_with_authority(damage);
    assert_put_aside(&warned);
    pair.assert_well(3);
    let warned = pair.meddle_with_edge(remove);
    assert_eq!(warned.len(), 1, "{warned:?}");
    pair.assert_well(4);
    let warned = pair.meddle_with_edge(damage);
    assert_put_aside(&warned);
    pair.assert_well(5);
}

#[test]
fn one_content_that_is_damaged_costs_nobody_all_the_others() {
    let mut pair = Pair::start();
    // At the authority: whoever joins is answered all the same.
    pair.meddle_with_authority(|dir| assert!(cut_contents(dir) > 0));
    pair.assert_well(2);
    assert!(pair.authority.log().contains("contents of the feed are damaged"));
    // At an edge without anybody to ask: what is whole is answered, the rest held.
    pair.authority.create_zone("other.example");
    pair.authority.set("n.other.example", 2);
    pair.edge.wait_value("n.other.example", Some(2));
    pair.authority.kill();
    let warned = pair.meddle_with_edge(|dir| assert!(cut_contents(dir) > 0));
    assert!(warned.iter().any(|line| line.contains("not what its hash says")), "{warned:?}");
    assert_eq!(pair.edge.value("n.other.example"), Some(2), "{warned:?}");
    assert_eq!(ask(pair.edge.dns, "big.example", SOA).rcode, SERVFAIL);
    pair.authority = Start::authority(&pair.dirs.path().join("authority")).run();
    wait_synced(&pair.authority, &pair.edge);
    assert_equal(&pair.authority, &pair.edge, &ZONES);
    pair.assert_well(3);
}

/// Cuts the files of all contents that lie in files of their own; returns how many.
fn cut_contents(dir: &Path) -> usize {
    let files = std::fs::read_dir(dir.join("mesh/blobs/data")).unwrap().map(|file| file.unwrap());
    let contents: Vec<_> = files
        .map(|file| file.path())
        .filter(|path| path.extension() == Some("data".as_ref()))
        .collect();
    contents.iter().for_each(|path| cut(path));
    contents.len()
}

/// A damaged store is told once; what follows from that may be told, too.
fn assert_put_aside(warned: &[String]) {
    let told = warned.iter().filter(|line| line.contains("was put aside")).count();
    assert!(told == 1 && warned.len() <= 2, "{warned:?}");
}

/// Writes over the rows of a zone's owner in a store that nobody has open; returns what was there.
fn write_rows(dir: &Path, owner: &[u8], with: impl Fn(&[u8]) -> Vec<u8>) {
    use aspen_dns::store::kv::{KeyRange, KeyValueStore as _, KvCommit};
    use aspen_dns::store::redb::RedbStore;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = RedbStore::open(&dir.join("store.redb")).unwrap();
        let rows = store.range(&KeyRange::prefix(b"r"), None, 10_000).await.unwrap().entries;
        let is_meant = |key: &[u8]| key.windows(owner.len()).any(|found| found == owner);
        let rows = rows.into_iter().filter(|(key, _)| is_meant(key));
        let puts: Vec<_> = rows.map(|(key, row)| (key, with(&row.value))).collect();
        assert_eq!(puts.len(), 1);
        store.commit(KvCommit { puts, ..KvCommit::default() }).await.unwrap();
    });
}

#[test]
fn a_zone_that_cannot_be_read_is_told_and_all_others_go_on() {
    let mut pair = Pair::start();
    pair.authority.create_zone("bad.example");
    pair.authority.set("damaged.bad.example", 1);
    pair.edge.wait_value("damaged.bad.example", Some(1));
    wait_synced(&pair.authority, &pair.edge);
    pair.meddle_with_authority(|dir| write_rows(dir, b"damaged", |_| b"nonsense".to_vec()));
    let faults = |node: &Node| node.status()["faults"].to_string();
    wait("the fault is told", || faults(&pair.authority).contains("cannot be read"));
    assert_eq!(pair.authority.send("GET", "/healthz", "").unwrap().0, 503);
    for turn in 2..4 {
        // Who has the zone goes on answering it; who is new has all others, and knows.
        pair.authority.set("n1.one.example", turn);
        pair.edge.wait_value("n1.one.example", Some(turn));
        assert_eq!(pair.edge.value("damaged.bad.example"), Some(1));
        let new = Start::edge(&pair.dirs.path().join(format!("other{turn}")), &pair.ticket).run();
        new.wait_value("n1.one.example", Some(turn));
        assert_equal(&pair.edge, &new, &ZONES);
        pair.meddle_with_authority(|_| {});
    }
    pair.authority.import("bad.example", 5, 7);
    pair.edge.wait_value("i1.bad.example", Some(7));
    wait_synced(&pair.authority, &pair.edge);
    wait("the faults are over", || faults(&pair.authority) == "[]");
    pair.assert_well(9);
}
