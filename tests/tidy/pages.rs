//! How files read: short, with a page at the start, and naming only what is there.

use std::path::Path;

use crate::source::{Source, files, is_word, module_of, modules};

/// Lines of a file. A longer one is two subjects.
const FILE_LINES_MAX: usize = 500;
/// Folders with Rust of ours.
const FOLDERS: &[&str] = &["src", "tests", "benches", "examples", "fuzz/fuzz_targets"];
/// What a path of the repository begins with.
const ROOTS: &[&str] = &["src/", "tests/", "benches/", "examples/", "fuzz/", "docs/", ".ci/"];

/// Returns what is wrong with a file's length and beginning.
fn misshapen(file: &Source) -> Vec<String> {
    let mut breaches = Vec::new();
    let lines = file.text.lines().count();
    if lines > FILE_LINES_MAX {
        breaches.push(format!("{}: {lines} lines", file.path));
    }
    let first = file.text.lines().find(|line| !line.starts_with("#!["));
    if !first.is_some_and(|line| line.starts_with("//! ")) {
        breaches.push(format!("{}: no module documentation", file.path));
    }
    breaches
}

/// Returns what stands between backticks in a file's prose, with the line.
fn quoted(file: &Source) -> Vec<(usize, &str)> {
    let is_rust = file.path.ends_with(".rs");
    let mut quoted = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        if is_rust && !line.trim_start().starts_with("//") {
            continue;
        }
        let parts = line.split('`');
        quoted.extend(parts.skip(1).step_by(2).map(|part| (index + 1, part)));
    }
    quoted
}

/// Returns the names in a file's prose of files that `exists` does not know.
fn missing_files(file: &Source, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let is_path = |text: &str| {
        ROOTS.iter().any(|root| text.starts_with(root))
            && text.chars().all(|c| is_word(c) || "/.-".contains(c))
    };
    let paths = quoted(file).into_iter().filter(|(_, text)| is_path(text) && !exists(text));
    paths.map(|(line, text)| format!("{}:{line}: there is no {text}", file.path)).collect()
}

/// Returns the names in a file's prose of modules, and of what is in them, that are not there.
fn missing_items(file: &Source, product: &[Source]) -> Vec<String> {
    let modules = modules(product);
    let own = module_of(&file.path).unwrap_or_default();
    let is_path = |text: &str| text.contains("::") && text.chars().all(|c| is_word(c) || c == ':');
    let is_missing = |text: &str| {
        let names: Vec<String> = text.split("::").map(str::to_owned).collect();
        let names = names.strip_prefix(&["crate".to_owned()][..]).unwrap_or(&names);
        // From here or from somewhere above, as far as the first name is a module there.
        let places = (0..=own.len()).rev().map(|len| [&own[..len], names].concat());
        let full: Vec<_> = places
            .filter_map(|full| {
                let first = full.len() - names.len() + 1;
                let len =
                    (first..=full.len()).rev().find(|len| modules.contains_key(&full[..*len]))?;
                Some((full, len))
            })
            .collect();
        let is_there = |(full, len): &(Vec<String>, usize)| {
            let within = |module: &[String]| module.starts_with(&full[..*len]);
            full[*len..].iter().all(|name| {
                let mut files = modules.iter().filter(|(module, _)| within(module));
                files.any(|(_, file)| has_word(&file.text, name))
            })
        };
        !full.is_empty() && !full.iter().any(is_there)
    };
    let paths = quoted(file).into_iter().filter(|(_, text)| is_path(text) && is_missing(text));
    paths.map(|(line, text)| format!("{}:{line}: there is no {text}", file.path)).collect()
}

/// Whether a word stands in a text by itself.
fn has_word(text: &str, word: &str) -> bool {
    text.split(|c| !is_word(c)).any(|found| found == word)
}

#[test]
fn files_are_short_and_begin_with_what_they_are() {
    let files = FOLDERS.iter().flat_map(|folder| files(folder, ".rs"));
    let breaches: Vec<String> = files.flat_map(|file| misshapen(&file)).collect();
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn a_long_file_and_one_without_a_page_are_seen() {
    let long = format!("//! A page.\n{}", "\n".repeat(FILE_LINES_MAX));
    assert_eq!(misshapen(&Source::new("a.rs", &long)), ["a.rs: 501 lines"]);
    assert_eq!(misshapen(&Source::new("a.rs", &long[..long.len() - 1])), [""; 0]);
    let bare = Source::new("a.rs", "#![no_main]\nuse b;\n");
    assert_eq!(misshapen(&bare), ["a.rs: no module documentation"]);
}

#[test]
fn prose_names_only_what_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let product = files("src", ".rs");
    let mut breaches = Vec::new();
    let rust = FOLDERS.iter().flat_map(|folder| files(folder, ".rs"));
    let prose = files("docs", ".md").into_iter().chain(files("", "README.md"));
    for file in rust.chain(prose) {
        breaches.extend(missing_files(&file, |path| root.join(path).exists()));
        breaches.extend(missing_items(&file, &product));
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn names_of_what_is_gone_are_seen() {
    let text =
        "//! See `src/a.rs`, `src/b.rs`.\n/// `tests/gone` x `tests/t`\nlet s = \"`src/c.rs`\";";
    let missing = missing_files(&Source::new("src/x.rs", text), |path| {
        ["src/a.rs", "tests/t"].contains(&path)
    });
    assert_eq!(missing, ["src/x.rs:1: there is no src/b.rs", "src/x.rs:2: there is no tests/gone"]);
    let product = [
        Source::new("src/r/mod.rs", "pub mod a;"),
        Source::new("src/r/a.rs", "pub struct There; fn is_there() {}"),
        Source::new("src/s.rs", ""),
    ];
    let text = "//! `r::a`, `a::There`, `r::a::There::is_there`, `std::fs`, `There::gone`, `s`\n\
        //! `r::b`, `a::Gone`, `crate::r::a::is_gone`, `s::t`";
    let missing = missing_items(&Source::new("src/r/a.rs", text), &product);
    let gone = ["r::b", "a::Gone", "crate::r::a::is_gone", "s::t"];
    assert_eq!(missing, gone.map(|name| format!("src/r/a.rs:2: there is no {name}")));
}
