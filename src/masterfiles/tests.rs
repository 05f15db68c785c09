//! Zone files on disk: what is read, what is kept, what a change of them does.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::catalog::AtApex;
use crate::limits;
use crate::publish::stage::{Rank, Stage};

/// A zone whose names are all relative.
const ZONE: &str = "@ 60 SOA ns hostmaster 1 2 3 4 5\n@ 60 NS ns\nns 60 A 192.0.2.1\n";
const SEED: HashSeed = HashSeed(1);

/// A directory of zone files, and one of compiled zones.
struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let made = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(made.zones()).unwrap();
        files.iter().for_each(|(name, text)| made.write(name, text));
        made
    }

    fn zones(&self) -> PathBuf {
        self.dir.path().join("zones")
    }

    fn compiled(&self) -> PathBuf {
        self.dir.path().join("compiled")
    }

    /// Writes a file and makes it look as old as its name's first letter says: all have rested.
    fn write(&self, name: &str, text: &str) {
        fs::write(self.zones().join(name), text).unwrap();
    }

    /// Waits until everything that was written has rested; a change's time cannot be set.
    fn rest(&self) {
        let newest = || {
            let files = fs::read_dir(self.zones()).unwrap();
            let keys = files.map(|file| source::SourceKey::at(&file.unwrap().path()).unwrap());
            keys.map(|key| key.rest_left(crate::clock::now_ms())).max().unwrap_or_default()
        };
        while newest() > Duration::ZERO {
            std::thread::sleep(newest());
        }
    }

    fn open(&self) -> ZoneFiles {
        ZoneFiles::new(Some(self.zones()), Vec::new(), Some(self.compiled()), SEED)
    }
}

/// Reads the files as at a start.
fn load_all(files: &[(&str, &str)]) -> Refreshed {
    Files::new(files).open().refresh().unwrap()
}

/// Shows the apexes and serials of zones.
fn show(zones: &[Arc<Zone>]) -> String {
    let shown: Vec<String> =
        zones.iter().map(|zone| format!("{} {}", zone.apex().to_fqdn(), zone.serial())).collect();
    shown.join(", ")
}

#[test]
fn the_files_name_is_the_origin_and_root_is_the_root() {
    let loaded = load_all(&[
        ("a.example.zone", ZONE),
        ("root.zone", ZONE),
        ("notes.txt", "not a zone"),
        (".hidden.zone", "not a zone"),
    ]);
    assert_eq!(show(&loaded.changed), "a.example. 1, . 1");
    assert!(loaded.errors.is_empty(), "{:?}", loaded.errors);
}

#[test]
fn a_broken_file_does_not_keep_the_others_back() {
    let loaded = load_all(&[("a.zone", ZONE), ("b.zone", "@ 60 SOA ns\n"), ("c.zone", ZONE)]);
    assert_eq!(loaded.changed.len(), 2);
    let [error] = loaded.errors.as_slice() else { panic!("{:?}", loaded.errors) };
    let line = error.error.to_string();
    assert!(line.contains("b.zone:1:") && !line.contains('\n'), "{line}");
}

#[test]
fn the_second_file_of_an_apex_is_an_error() {
    let other = format!("$ORIGIN a.example.\n{ZONE}");
    let loaded = load_all(&[("a.example.zone", ZONE), ("b.zone", &other)]);
    assert_eq!(loaded.changed.len(), 1);
    assert!(matches!(loaded.errors[0].error, ZoneFileError::ApexTwice { .. }));
}

#[test]
fn a_start_after_the_first_reads_what_was_compiled_and_sees_every_change() {
    let large: String = (0..60_000).map(|i| format!("host{i} 60 A 192.0.2.1\n")).collect();
    let files = Files::new(&[
        ("a.zone", ZONE),
        ("b.zone", &format!("{ZONE}$INCLUDE part\n")),
        ("c.zone", &format!("{ZONE}{large}x.y.other. A 192.0.2.1\n")),
        ("part", "www 60 A 192.0.2.2\n"),
    ]);
    files.rest();
    let mut first = files.open();
    let loaded = first.refresh().unwrap();
    assert_eq!((show(&loaded.changed), loaded.compiled_count), ("a. 1, b. 1, c. 1".into(), 0));
    first.wait_written();
    let mut second = files.open();
    let again = second.refresh().unwrap();
    assert_eq!((show(&again.changed), again.compiled_count), ("a. 1, b. 1, c. 1".into(), 3));
    for (zone, other) in loaded.changed.iter().zip(&again.changed) {
        let sorted = |zone: &Zone| {
            let mut rrsets: Vec<_> = zone.rrsets().collect();
            rrsets.sort_by(|a, b| (&a.owner, a.rtype).cmp(&(&b.owner, b.rtype)));
            rrsets
        };
        assert_eq!(sorted(zone), sorted(other));
        assert_eq!(zone.totals(), other.totals());
    }
    second.wait_written();
    files.write("part", "www 60 A 192.0.2.3\n");
    files.write("a.zone", &ZONE.replace(" 1 2 3", " 2 2 3"));
    let third = files.open().refresh().unwrap();
    assert_eq!((show(&third.changed), third.compiled_count), ("a. 2, b. 1, c. 1".into(), 1));
    let www = Name::from_text("www.b").unwrap();
    let rrset = third.changed[1].rrset(&www, crate::record::RecordType::A).unwrap();
    assert_eq!(rrset.rdata.first(), [192, 0, 2, 3]);
}

#[test]
fn a_reading_tells_its_warnings_of_compiled_files_too() {
    let odd = format!("{ZONE}www.elsewhere. 60 A 192.0.2.1\n");
    let files = Files::new(&[("a.zone", ZONE), ("b.zone", &odd)]);
    files.rest();
    let check = |read: Refreshed, compiled_count| {
        let [warning] = read.warnings.as_slice() else { panic!("{:?}", read.warnings) };
        assert!(warning.contains("b.zone:4:1: A at www.elsewhere is outside"), "{warning}");
        assert_eq!(read.compiled_count, compiled_count);
    };
    let mut opened = files.open();
    check(opened.refresh().unwrap(), 0);
    assert_eq!(opened.refresh().unwrap().warnings, [""; 0], "nothing has changed");
    opened.wait_written();
    check(files.open().refresh().unwrap(), 2);
}

#[test]
fn warnings_that_are_told_are_bounded() {
    let odd: String =
        (0..limits::MASTER_WARNINGS_MAX).map(|i| format!("x{i}.y. A 192.0.2.1\n")).collect();
    let text = format!("{ZONE}{odd}");
    let names: Vec<String> = (0..=10).map(|i| format!("{i}.zone")).collect();
    let zones: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), &*text)).collect();
    let told = |count: usize| load_all(&zones[..count]).warnings.len();
    assert_eq!((told(9), told(10), told(11)), (900, limits::REFRESH_WARNINGS_MAX, 1_000));
}

#[test]
fn a_file_that_has_not_rested_is_read_again_unless_it_rests_meanwhile() {
    let files = Files::new(&[("a.zone", ZONE)]);
    let mut first = files.open();
    first.refresh().unwrap();
    // Of the same length, and within the grain of many a file system's clock.
    files.write("a.zone", &ZONE.replace(" 1 2 3", " 7 2 3"));
    first.wait_written();
    let loaded = files.open().refresh().unwrap();
    assert_eq!((show(&loaded.changed), loaded.compiled_count), ("a. 7".into(), 0));
}

#[test]
fn a_stop_waits_for_what_has_rested_alone() {
    let files = Files::new(&[("a.zone", ZONE)]);
    files.rest();
    files.write("b.zone", ZONE);
    let mut first = files.open();
    first.refresh().unwrap();
    first.stop();
    assert_eq!(files.open().refresh().unwrap().compiled_count, 1);
}

#[test]
fn a_reading_that_comes_before_files_have_rested_loses_no_compiled_form() {
    let large: String = (0..60_000).map(|i| format!("host{i} 60 A 192.0.2.1\n")).collect();
    let files = Files::new(&[("a.zone", ZONE), ("b.zone", &format!("{ZONE}{large}"))]);
    let mut opened = files.open();
    opened.refresh().unwrap();
    files.write("c.zone", ZONE);
    // Neither waits: what the one before it was to write is carried on.
    assert_eq!(show(&opened.refresh().unwrap().changed), "c. 1");
    files.write("c.zone", &ZONE.replace(" 1 2 3", " 2 2 3"));
    assert_eq!(show(&opened.refresh().unwrap().changed), "c. 2");
    opened.wait_written();
    let loaded = files.open().refresh().unwrap();
    assert_eq!((show(&loaded.changed), loaded.compiled_count), ("a. 1, b. 1, c. 2".into(), 3));
}

#[test]
fn a_damaged_compiled_file_is_as_good_as_none() {
    let files = Files::new(&[("a.zone", ZONE), ("b.zone", ZONE)]);
    files.rest();
    let mut first = files.open();
    first.refresh().unwrap();
    first.wait_written();
    let shared = files.compiled().join("shared");
    let whole = fs::read(&shared).unwrap();
    let read = |octets: &[u8]| {
        fs::write(&shared, octets).unwrap();
        let mut opened = files.open();
        let loaded = opened.refresh().unwrap();
        opened.wait_written();
        assert_eq!(show(&loaded.changed), "a. 1, b. 1");
        loaded.compiled_count
    };
    assert_eq!(read(&whole), 2);
    assert_eq!(read(&whole[..whole.len() - 1]), 1);
    assert_eq!(fs::read(&shared).unwrap(), whole, "it was mended");
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(read(&damaged), 1);
    assert_eq!(read(b""), 0);
    assert_eq!(read(&[0xff; 100]), 0);
}

#[test]
fn a_refresh_reads_what_changed_and_keeps_the_zone_of_a_broken_file() {
    let files = Files::new(&[("a.zone", ZONE), ("b.zone", ZONE), ("c.zone", ZONE)]);
    let mut opened = files.open();
    assert_eq!(show(&opened.refresh().unwrap().changed), "a. 1, b. 1, c. 1");
    let none = opened.refresh().unwrap();
    assert!(none.changed.is_empty() && none.gone.is_empty() && none.errors.is_empty());
    files.write("a.zone", &ZONE.replace(" 1 2 3", " 2 2 3"));
    files.write("b.zone", "nonsense");
    fs::remove_file(files.zones().join("c.zone")).unwrap();
    files.write("d.zone", ZONE);
    let next = opened.refresh().unwrap();
    assert_eq!(show(&next.changed), "a. 2, d. 1");
    assert_eq!(show(&next.gone), "c. 1");
    assert_eq!((next.errors.len(), next.zone_count), (1, 3));
    let again = opened.refresh().unwrap();
    assert_eq!((again.changed.len(), again.errors.len()), (0, 1), "it is still broken");
    files.write("b.zone", &ZONE.replace(" 1 2 3", " 3 2 3"));
    assert_eq!(show(&opened.refresh().unwrap().changed), "b. 3");
}

#[test]
fn a_file_that_is_broken_at_the_start_is_served_as_it_was_when_it_was_good() {
    let large: String = (0..60_000).map(|i| format!("host{i} 60 A 192.0.2.1\n")).collect();
    let files =
        Files::new(&[("a.zone", ZONE), ("b.zone", &format!("{ZONE}{large}")), ("c.zone", ZONE)]);
    files.rest();
    let mut first = files.open();
    first.refresh().unwrap();
    first.wait_written();
    files.write("a.zone", "nonsense");
    files.write("b.zone", "nonsense");
    files.write("d.zone", "nonsense");
    // It stays so however often it starts: the compiled form of what is broken is kept.
    for _ in 0..2 {
        let mut opened = files.open();
        let loaded = opened.refresh().unwrap();
        assert_eq!(show(&loaded.changed), "a. 1, b. 1, c. 1");
        assert_eq!(loaded.held, [Name::from_text("d").unwrap()]);
        let instead: Vec<String> = loaded.errors.iter().map(|f| show_instead(&f.instead)).collect();
        assert_eq!(instead, ["a. 1", "b. 1", "nothing d"]);
        opened.wait_written();
    }
    // It is read again as soon as it is mended, of which nobody may have been told.
    let mut opened = files.open();
    opened.refresh().unwrap();
    files.write("a.zone", &ZONE.replace(" 1 2 3", " 2 2 3"));
    assert_eq!(show(&opened.refresh().unwrap().changed), "a. 2");
}

#[test]
fn the_form_of_before_is_kept_until_the_next_one_has_come_to_rest() {
    let large: String = (0..60_000).map(|i| format!("host{i} 60 A 192.0.2.1\n")).collect();
    let large = format!("{ZONE}{large}");
    let files = Files::new(&[("a.zone", ZONE), ("b.zone", &large)]);
    files.rest();
    let mut first = files.open();
    first.refresh().unwrap();
    first.wait_written();
    let second = |text: &str| text.replace(" 1 2 3", " 2 2 3");
    files.write("a.zone", &second(ZONE));
    files.write("b.zone", &second(&large));
    let mut opened = files.open();
    assert_eq!(show(&opened.refresh().unwrap().changed), "a. 2, b. 2");
    opened.stop();
    files.write("a.zone", "nonsense");
    files.write("b.zone", "nonsense");
    let errors = files.open().refresh().unwrap().errors;
    let instead: Vec<String> = errors.iter().map(|failed| show_instead(&failed.instead)).collect();
    assert_eq!(instead, ["a. 1", "b. 1"]);
}

/// Shows what is answered in the place of a file.
fn show_instead(instead: &Instead) -> String {
    match instead {
        Instead::LastGood(zone) => show(std::slice::from_ref(zone)),
        Instead::Nothing(apex) => format!("nothing {apex}"),
        Instead::Others => "others".to_owned(),
    }
}

#[test]
fn the_apex_of_a_broken_file_is_held_unless_another_file_has_its_zone() {
    let of_a = "$ORIGIN a.\n@ 60 SOA ns hostmaster 1 2 3 4 5\nnonsense\n";
    let files = Files::new(&[("a.zone", ZONE), ("b.zone", of_a), ("c.zone", "@ 60 SOA ns\n")]);
    let mut opened = files.open();
    let loaded = opened.refresh().unwrap();
    assert_eq!((show(&loaded.changed).as_str(), loaded.errors.len()), ("a. 1", 2));
    assert_eq!(loaded.held, [Name::from_text("c").unwrap()]);
    fs::remove_file(files.zones().join("a.zone")).unwrap();
    fs::remove_file(files.zones().join("c.zone")).unwrap();
    let next = opened.refresh().unwrap();
    assert_eq!(next.held, [Name::from_text("a").unwrap()]);
    assert_eq!(next.released, [Name::from_text("c").unwrap()]);
    assert_eq!(show(&next.gone), "a. 1");
}

#[test]
fn a_zone_without_a_compiled_form_stays_when_others_are_read_again() {
    let files = Files::new(&[("a.zone", ZONE), ("b.zone", ZONE), ("c.zone", ZONE)]);
    // Nothing can be compiled in what is no directory.
    fs::write(files.compiled(), "").unwrap();
    for compiled in [None, Some(files.compiled())] {
        let mut opened = ZoneFiles::new(Some(files.zones()), Vec::new(), compiled, SEED);
        assert_eq!(opened.refresh().unwrap().zone_count, 3);
        files.write("b.zone", &format!("{ZONE}; read again\n"));
        for changed in ["b. 1", ""] {
            let next = opened.refresh().unwrap();
            assert_eq!((show(&next.changed).as_str(), show(&next.gone)), (changed, String::new()));
            assert_eq!(next.zone_count, 3);
        }
        files.write("b.zone", ZONE);
    }
}

/// Shows what stands at an apex of what is served.
fn show_at(stage: &Stage, apex: &str) -> String {
    match stage.catalog().at(&Name::from_text(apex).unwrap()) {
        Some(AtApex::Zone(zone)) => zone.serial().to_string(),
        Some(AtApex::Held(hold)) => format!("{:?}", hold.reason),
        None => "none".to_owned(),
    }
}

#[test]
fn what_a_directory_holds_is_served_and_goes_with_its_file() {
    let files = Files::new(&[("a.zone", ZONE), ("b.zone", "nonsense")]);
    let (mut opened, stage) =
        (ZoneFiles::in_dir(files.zones(), SEED), Stage::new(SEED, Rank::File));
    let check = |read: Refreshed, zone_count, expected: [&str; 3]| {
        assert_eq!(read.zone_count, zone_count);
        assert_eq!(["a", "b", "c"].map(|apex| show_at(&stage, apex)), expected);
    };
    check(opened.publish(&stage).unwrap(), 1, ["1", "Broken", "none"]);
    files.write("a.zone", "nonsense");
    files.write("b.zone", &ZONE.replace(" 1 2 3", " 2 2 3"));
    files.write("c.zone", "nonsense");
    check(opened.publish(&stage).unwrap(), 2, ["1", "2", "Broken"]);
    fs::remove_file(files.zones().join("a.zone")).unwrap();
    fs::remove_file(files.zones().join("c.zone")).unwrap();
    check(opened.publish(&stage).unwrap(), 1, ["none", "2", "none"]);
    fs::rename(files.zones(), files.compiled()).unwrap();
    opened.publish(&stage).unwrap_err();
    assert_eq!(show_at(&stage, "b"), "2", "as it was");
}

#[test]
fn one_file_is_served_as_it_was_until_it_makes_a_zone_again() {
    let files = Files::new(&[("a.zone", ZONE)]);
    let (path, stage) = (files.zones().join("a.zone"), Stage::new(SEED, Rank::Feed));
    let published = publish_file(&path, &stage).unwrap();
    assert_eq!((published.zone.serial(), show_at(&stage, "a").as_str()), (1, "1"));
    assert!(stage.zone(Rank::File, published.zone.apex()).is_some(), "it is a file's");
    files.write("a.zone", "@ SOA ns\n");
    let error = publish_file(&path, &stage).unwrap_err();
    assert!(
        matches!(&error, ZoneFileError::Master(at) if (at.line, at.column) == (1, 9)),
        "{error}"
    );
    assert_eq!(show_at(&stage, "a"), "1");
    files.write("a.zone", &ZONE.replace(" 1 2 3", " 2 2 3"));
    publish_file(&path, &stage).unwrap();
    assert_eq!(show_at(&stage, "a"), "2");
}

#[test]
fn a_zone_that_moves_to_another_file_stays() {
    let files = Files::new(&[("a.zone", ZONE)]);
    let mut opened = files.open();
    opened.refresh().unwrap();
    fs::remove_file(files.zones().join("a.zone")).unwrap();
    files.write("b.zone", &format!("$ORIGIN a.\n{}", ZONE.replace(" 1 2 3", " 2 2 3")));
    let next = opened.refresh().unwrap();
    assert_eq!((show(&next.changed), next.gone.len()), ("a. 2".into(), 0));
}

#[test]
fn compiled_zones_are_their_owners_alone_and_go_with_their_files() {
    use std::os::unix::fs::PermissionsExt as _;
    let large: String = (0..60_000).map(|i| format!("host{i} 60 A 192.0.2.1\n")).collect();
    let files = Files::new(&[("a.zone", ZONE), ("b.zone", &format!("{ZONE}{large}"))]);
    files.rest();
    let mut opened = files.open();
    opened.refresh().unwrap();
    opened.wait_written();
    let names = |dir: &Path| {
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(dir), 0o700);
        let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        paths.inspect(|path| assert_eq!(mode(path), 0o600)).count()
    };
    assert_eq!(names(&files.compiled()), 2);
    fs::remove_file(files.zones().join("b.zone")).unwrap();
    opened.refresh().unwrap();
    opened.wait_written();
    assert_eq!(names(&files.compiled()), 1);
}

#[test]
fn a_pipe_among_zone_files_keeps_nobody_waiting() {
    let files = Files::new(&[("a.example.zone", ZONE)]);
    let pipe = files.zones().join("b.example.zone");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let loaded = files.open().refresh().unwrap();
    assert_eq!(show(&loaded.changed), "a.example. 1");
    assert!(matches!(&loaded.errors[0].error, ZoneFileError::NoFile { path } if *path == pipe));
    let refused = publish_file(&pipe, &Stage::new(SEED, Rank::File)).unwrap_err();
    assert!(matches!(refused, ZoneFileError::NoFile { path } if path == pipe));
}
