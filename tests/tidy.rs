//! What the compiler does not check of the house: who may use whom, and how files read.

use std::fs;
use std::path::{Path, PathBuf};

/// The modules of the crate from the lowest floor up. A module uses only those above its own line,
/// and of its own floor only those to its left.
const FLOORS: &[(&str, &[&str])] = &[
    ("words", &["limits", "clock", "durable", "name", "record", "octets", "ticket"]),
    ("data", &["message", "zone", "catalog", "feed", "dnssec"]),
    ("protocol", &["wire", "answer", "responder", "lookup"]),
    ("publish", &["publish", "sync"]),
    ("shells", &["files", "serve", "store", "mesh", "export", "replica"]),
    ("whole", &["node"]),
];

/// Lines of a file. A longer one is two subjects.
const FILE_LINES_MAX: usize = 500;

/// Returns all Rust files below a folder of the repository.
fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// Returns the top module that a file under src belongs to, `None` for lib.rs and the binaries.
fn module_of(file: &Path) -> Option<String> {
    let below = file.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).ok()?;
    let first = below.components().next()?.as_os_str().to_str()?;
    let module = first.strip_suffix(".rs").unwrap_or(first);
    (module != "lib" && module != "bin").then(|| module.to_owned())
}

/// Returns the modules that a text names behind `crate::`.
fn used_modules(text: &str) -> Vec<&str> {
    text.split("crate::")
        .skip(1)
        .filter_map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
            Some(&rest[..end])
        })
        .collect()
}

#[test]
fn modules_use_only_what_stands_below_them() {
    let order: Vec<&str> = FLOORS.iter().flat_map(|floor| floor.1.iter().copied()).collect();
    let rank = |module: &str| order.iter().position(|known| *known == module);
    let mut breaches = Vec::new();
    for file in rust_files("src") {
        let Some(module) = module_of(&file) else { continue };
        let Some(own) = rank(&module) else {
            breaches.push(format!("{module} stands on no floor: add it to the table"));
            continue;
        };
        let text = fs::read_to_string(&file).expect("source files are UTF-8");
        // Tests stand at the end of a file and may look anywhere.
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let is_test = file.components().any(|part| part.as_os_str() == "tests.rs");
        for used in used_modules(code) {
            if !is_test && rank(used).is_some_and(|used| used > own) {
                breaches.push(format!("{}: {module} uses {used}", file.display()));
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn files_are_short_and_begin_with_what_they_are() {
    let mut breaches = Vec::new();
    for folder in ["src", "tests", "benches", "examples", "fuzz/fuzz_targets"] {
        for file in rust_files(folder) {
            let text = fs::read_to_string(&file).expect("source files are UTF-8");
            let lines = text.lines().count();
            if lines > FILE_LINES_MAX {
                breaches.push(format!("{}: {lines} lines", file.display()));
            }
            let first = text.lines().find(|line| !line.starts_with("#!["));
            if !first.is_some_and(|line| line.starts_with("//! ")) {
                breaches.push(format!("{}: no module documentation", file.display()));
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn the_pure_floors_ask_no_clock_and_do_no_io() {
    let pure = FLOORS.iter().take(4).flat_map(|floor| floor.1.iter());
    let pure: Vec<&&str> = pure.collect();
    let mut breaches = Vec::new();
    for file in rust_files("src") {
        let Some(module) = module_of(&file) else { continue };
        // The one clock and the one writer of small files are words that the shells use.
        if ["clock", "durable"].contains(&module.as_str()) {
            continue;
        }
        if !pure.iter().any(|known| **known == module) {
            continue;
        }
        let text = fs::read_to_string(&file).expect("source files are UTF-8");
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let words = [
            "Instant::now",
            "SystemTime",
            "std::fs",
            "std::net::Udp",
            "tokio",
            "tracing::",
            "async fn",
        ];
        for word in words {
            let is_test = file.components().any(|part| part.as_os_str() == "tests.rs");
            if !is_test && code.contains(word) {
                breaches.push(format!("{}: {word}", file.display()));
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn only_publish_names_the_atomic_pointer() {
    for file in rust_files("src") {
        let text = fs::read_to_string(&file).expect("source files are UTF-8");
        let is_publish = module_of(&file).is_some_and(|module| module == "publish");
        assert!(is_publish || !text.contains("arc_swap"), "{}", file.display());
    }
}

#[test]
fn unsafe_stands_in_one_file() {
    let allowing: Vec<PathBuf> = rust_files("src")
        .into_iter()
        .filter(|file| {
            fs::read_to_string(file).is_ok_and(|text| text.contains("allow(unsafe_code"))
        })
        .collect();
    assert!(allowing.len() <= 1, "{allowing:?}");
}
