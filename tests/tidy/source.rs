//! The text of the repository's files, and what of it is code.
//!
//! **Invariant:** what stands in a comment, in a string or in a file's own tests is no code.
//! **Not here:** what may stand where (the rules beside).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// One file.
pub struct Source {
    /// Its path in the repository.
    pub path: String,
    /// All of it.
    pub text: String,
    /// What of it is compiled into the product.
    pub code: String,
}

impl Source {
    /// Takes a file's text.
    pub fn new(path: &str, text: &str) -> Self {
        let code = code_of(text);
        Self { path: path.to_owned(), text: text.to_owned(), code }
    }
}

/// Where a module stands: its names from the crate's root down; binaries begin with their folder.
pub type Module = Vec<String>;

/// Returns the repository's files below `folder` whose names end with `ending`, by path.
pub fn files(folder: &str, ending: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut files, mut folders) = (Vec::new(), vec![root.join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                let text = fs::read_to_string(&path).expect("source files are UTF-8");
                let path = path.strip_prefix(root).expect("it was found below").to_string_lossy();
                files.push(Source::new(&path, &text));
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!files.is_empty(), "nothing in {folder}");
    files
}

/// Returns the files below src that are compiled into the product, not into its tests alone.
pub fn product() -> Vec<Source> {
    let mut files = files("src", ".rs");
    let tests = test_modules(&files);
    files.retain(|file| {
        let module = module_of(&file.path);
        !module.is_some_and(|module| (1..=module.len()).any(|len| tests.contains(&module[..len])))
    });
    files
}

/// Returns the modules that are compiled for tests alone.
fn test_modules(files: &[Source]) -> BTreeSet<Module> {
    let mut tests = BTreeSet::new();
    for file in files {
        let Some(module) = module_of(&file.path) else { continue };
        for declared in file.code.split("#[cfg(test)]").skip(1) {
            let name = declared.trim_start().strip_prefix("mod ").and_then(|rest| {
                let end = rest.find(';')?;
                rest[..end].chars().all(is_word).then(|| rest[..end].to_owned())
            });
            tests.extend(name.map(|name| [&module[..], &[name]].concat()));
        }
    }
    tests
}

/// Returns the module that a file under src is, `None` for lib.rs and files elsewhere.
pub fn module_of(path: &str) -> Option<Module> {
    let below = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    let mut names: Module = below.split('/').map(str::to_owned).collect();
    match names.last()?.as_str() {
        "lib" if names.len() == 1 => return None,
        "mod" => drop(names.pop()),
        "main" if names[0] == "bin" => drop(names.pop()),
        _ => {}
    }
    Some(names)
}

/// Returns all modules, each with its file.
pub fn modules(files: &[Source]) -> BTreeMap<Module, &Source> {
    files.iter().filter_map(|file| Some((module_of(&file.path)?, file))).collect()
}

/// Returns every path in a module's code that begins with `crate` or `super`, from the root of all
/// modules down. What stands in braces is taken apart.
pub fn paths(code: &str, module: &[String]) -> Vec<Module> {
    let root = if module.first().is_some_and(|first| first == "bin") { 2 } else { 0 };
    let mut found = Vec::new();
    for (at, _) in code.match_indices("::") {
        let before = code[..at].trim_end();
        let start = before.rfind(|c| !is_word(c)).map_or(0, |at| at + 1);
        let (base, word) = (before[..start].trim_end(), &before[start..]);
        // A path begins where no other goes on.
        if base.ends_with("::") || !["crate", "super"].contains(&word) {
            continue;
        }
        let from = if word == "crate" { root.min(module.len()) } else { module.len() - 1 };
        let mut tails = Vec::new();
        read_tree(&code[at + 2..], Vec::new(), &mut tails);
        for tail in tails {
            let ups = tail.iter().take_while(|name| *name == "super").count();
            let base = &module[..from.saturating_sub(ups)];
            let rest = tail.into_iter().skip(ups).filter(|name| name != "self" && name != "*");
            found.push(base.iter().cloned().chain(rest).collect());
        }
    }
    found
}

/// Reads one path with what stands in its braces; returns what is behind it.
fn read_tree<'t>(text: &'t str, mut names: Module, found: &mut Vec<Module>) -> &'t str {
    let mut rest = text.trim_start();
    loop {
        if let Some(mut inner) = rest.strip_prefix('{') {
            loop {
                inner = read_tree(inner, names.clone(), found);
                // Behind a name may stand another for it.
                let end = inner.find([',', '}', ';']).unwrap_or(inner.len());
                let has_next = inner[end..].starts_with(',');
                inner = inner.get(end + 1..).unwrap_or_default().trim_start();
                match inner.strip_prefix('}') {
                    Some(behind) if has_next => return behind,
                    _ if !has_next => return inner,
                    _ => {}
                }
            }
        }
        let end = rest.find(|c| !is_word(c) && c != '*').unwrap_or(rest.len());
        names.extend((end > 0).then(|| rest[..end].to_owned()));
        rest = rest[end..].trim_start();
        match rest.strip_prefix("::") {
            Some(behind) if end > 0 => rest = behind.trim_start(),
            _ => {
                found.push(names);
                return rest;
            }
        }
    }
}

/// Whether a character may stand in a name.
pub fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Returns a text without comments, without what stands in strings, and without its own tests.
fn code_of(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let (mut code, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(c) = rest.chars().next() {
        let is_new_word = !code.ends_with(is_word);
        let len = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(end) = string_len(rest).filter(|_| is_new_word || c == '"') {
            code.push_str("\"\"");
            end
        } else if let Some(end) = char_len(rest) {
            code.push_str("' '");
            end
        } else {
            code.push(c);
            c.len_utf8()
        };
        rest = &rest[len..];
    }
    code
}

/// Returns how long the string is that a text begins with, if it does with one.
fn string_len(text: &str) -> Option<usize> {
    let prefix = text.len() - text.trim_start_matches(['b', 'r', 'c']).len();
    let is_raw = text[..prefix].contains('r');
    let hashes = if is_raw { text[prefix..].chars().take_while(|c| *c == '#').count() } else { 0 };
    let start = prefix + hashes;
    if prefix > 2 || !text[start..].starts_with('"') {
        return None;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let mut at = start + 1;
    while at < text.len() {
        match text.as_bytes()[at] {
            b'\\' if !is_raw => at += 2,
            b'"' if text[at..].starts_with(&end) => return Some(at + end.len()),
            _ => at += 1,
        }
    }
    Some(text.len())
}

/// Returns how long the character is, with its quotes, that a text begins with; a lifetime is none.
fn char_len(text: &str) -> Option<usize> {
    let mut inner = text.strip_prefix('\'')?.chars();
    let first = inner.next()?;
    if first == '\\' {
        return text.get(3..).and_then(|rest| rest.find('\'')).map(|end| end + 4);
    }
    (inner.next() == Some('\'')).then(|| first.len_utf8() + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str, module: &[&str]) -> Vec<String> {
        let module: Module = module.iter().map(|name| (*name).to_owned()).collect();
        paths(&code_of(text), &module).iter().map(|path| path.join("::")).collect()
    }

    #[test]
    fn paths_are_seen_in_every_form() {
        assert_eq!(names("use crate::zone::Zone;", &["wire"]), ["zone::Zone"]);
        assert_eq!(
            names("use crate::{a, b::{c::{self, D as E}, *}, f::g};\nuse crate::h;", &["wire"]),
            ["a", "b::c", "b::c::D", "b", "f::g", "h"]
        );
        assert_eq!(
            names("fn f() -> crate::a::B { super::c::d() }", &["w", "x"]),
            ["a::B", "w::c::d"]
        );
        assert_eq!(names("use super::super::{a, b};", &["x", "y", "z"]), ["x::a", "x::b"]);
        assert_eq!(names("use crate::flags::F;", &["bin", "p", "q"]), ["bin::p::flags::F"]);
        assert_eq!(names("use std::{a, b}; let x = y::crate_z::w();", &["x"]), [""; 0]);
    }

    #[test]
    fn comments_strings_and_tests_are_no_code() {
        let text = "//! crate::a\nlet s = \"crate::b \\\" crate::c\"; /* crate::d */\n\
            let r = br#\"crate::e \" \"#; let c = ['\"', '\\'', 'x']; f::<'a>();\nuse crate::f;\n\
            #[cfg(test)]\nmod tests {\n    use crate::g;\n}\n";
        assert_eq!(names(text, &["x"]), ["f"]);
        assert!(names("#[cfg(test)]\nmod tests;\nuse crate::a;", &["x"]).contains(&"a".to_owned()));
    }

    #[test]
    fn modules_are_named_by_their_files() {
        let of = |path| module_of(path).map(|module| module.join("::"));
        assert_eq!(of("src/zone/table/mod.rs").as_deref(), Some("zone::table"));
        assert_eq!(of("src/name.rs").as_deref(), Some("name"));
        assert_eq!(of("src/bin/p/main.rs").as_deref(), Some("bin::p"));
        assert_eq!((of("src/lib.rs"), of("tests/tidy/main.rs")), (None, None));
    }

    #[test]
    fn modules_for_tests_alone_are_known() {
        let files = [Source::new("src/a.rs", "#[cfg(test)]\nmod simulation;\nmod b;\n")];
        let tests = test_modules(&files);
        assert_eq!(
            tests.into_iter().collect::<Vec<_>>(),
            [["a".to_owned(), "simulation".to_owned()]]
        );
    }
}
