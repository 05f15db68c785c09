//! Files that use each other in a circle: neither can be read, tested or moved without the other.
//!
//! What stands below something is a part of it: a file and those in its folder may use each other.
//! Between the files and folders of one folder the arrows point one way. An arrow from deep in one
//! to deep in another counts as one between the two.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Module, Source, modules, paths, product};

/// What stands in one folder, and what of it uses what else of it.
type Arrows = BTreeMap<String, BTreeSet<String>>;

/// Returns the arrows between what stands in one folder, for each folder.
fn arrows(files: &[Source]) -> BTreeMap<String, Arrows> {
    let modules = modules(files);
    let mut folders: BTreeMap<String, Arrows> = BTreeMap::new();
    for (from, file) in &modules {
        for path in paths(&file.code, from) {
            // What is named is in the deepest module on the way to it.
            let Some(to) = (1..=path.len()).rev().find(|len| modules.contains_key(&path[..*len]))
            else {
                continue;
            };
            let to: &Module = &path[..to].to_vec();
            let shared = from.iter().zip(to).take_while(|(a, b)| a == b).count();
            // The rooms themselves stand on floors, which have an order already.
            if let (Some(a), Some(b)) = (from.get(shared), to.get(shared))
                && shared > 0
            {
                let folder = folders.entry(from[..shared].join("::")).or_default();
                folder.entry(a.clone()).or_default().insert(b.clone());
            }
        }
    }
    folders
}

/// Returns all that can be reached from a file along the arrows.
fn reach<'a>(arrows: &'a Arrows, from: &'a str) -> BTreeSet<&'a str> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(at) = open.pop() {
        for next in arrows.get(at).into_iter().flatten() {
            if reached.insert(next.as_str()) {
                open.push(next);
            }
        }
    }
    reached
}

/// Returns the circles, each with its folder.
fn circles(files: &[Source]) -> BTreeSet<(String, Vec<String>)> {
    let mut circles = BTreeSet::new();
    for (folder, arrows) in arrows(files) {
        for file in arrows.keys() {
            let ahead = reach(&arrows, file);
            let back = |other: &&&str| reach(&arrows, other).contains(&**file);
            let circle: Vec<String> =
                ahead.iter().filter(back).map(|&name| name.to_owned()).collect();
            if circle.len() > 1 {
                circles.insert((folder.clone(), circle));
            }
        }
    }
    circles
}

#[test]
fn files_of_one_folder_do_not_use_each_other_in_a_circle() {
    let found: String = circles(&product())
        .iter()
        .map(|(folder, names)| format!("\n  {folder}: {}", names.join(", ")))
        .collect();
    assert!(found.is_empty(), "circles:{found}");
}

#[test]
fn a_circle_is_seen_however_deep_its_arrows_begin() {
    let found = |files: &[(&str, &str)]| -> Vec<String> {
        let files: Vec<Source> = files.iter().map(|(path, code)| Source::new(path, code)).collect();
        let circles = circles(&files).into_iter();
        circles.map(|(folder, names)| format!("{folder}: {}", names.join(" "))).collect()
    };
    let two = [("src/r/a.rs", "use super::b::B;"), ("src/r/b.rs", "fn f(a: crate::r::a::A) {}")];
    assert_eq!(found(&two), ["r: a b"]);
    let three = [
        ("src/r/mod.rs", "mod a;"),
        ("src/r/a/x.rs", "use crate::r::{b::{B, C}, d};"),
        ("src/r/a/mod.rs", "use super::Own;"),
        ("src/r/b.rs", "use super::c::C;"),
        ("src/r/c.rs", "use crate::{limits, r::a::x::X};"),
        ("src/r/d.rs", "//! crate::r::a"),
    ];
    assert_eq!(found(&three), ["r: a b c"]);
    let family = [
        ("src/r/mod.rs", "use a::A; use crate::r::a::x::X;"),
        ("src/r/a.rs", "use super::R; use crate::r::a::x::X;"),
        ("src/r/a/x.rs", "use super::A;"),
    ];
    assert_eq!(found(&family), [""; 0], "what stands below is a part");
    let binary = [("src/bin/p/a.rs", "use crate::b::B;"), ("src/bin/p/b.rs", "use crate::a::A;")];
    assert_eq!(found(&binary), ["bin::p: a b"]);
}
