//! Words that stand in one place alone, or in none.

use crate::source::{Source, is_word, product};

/// A word, where alone it may stand, and why.
struct Word {
    /// The word.
    word: &'static str,
    /// The files and folders that may name it, each because of something.
    places: &'static [(&'static str, &'static str)],
}

/// Every such word.
const WORDS: &[Word] = &[
    Word {
        word: "arc_swap",
        places: &[("src/publish", "what is served is exchanged there alone")],
    },
    Word { word: "unsafe", places: UNSAFE },
    Word { word: "unsafe_code", places: UNSAFE },
    Word { word: "SystemTime", places: &[("src/clock.rs", "the one clock")] },
    Word {
        word: "fs::rename",
        places: &[
            ("src/durable.rs", "the one way to replace a small file"),
            (
                "src/masterfiles/store.rs",
                "compiled forms: thousands of files, their directory made durable once; what is \
                 lost is compiled again",
            ),
        ],
    },
    // A channel that has no end has one: the memory.
    Word { word: "unbounded_channel", places: &[] },
    Word { word: "async_channel::unbounded", places: &[] },
    Word { word: "flume::unbounded", places: &[] },
    Word { word: "mpsc::channel()", places: &[] },
    Word { word: "mpsc::channel::<", places: &[] },
];

/// Where code may be unsafe.
const UNSAFE: &[(&str, &str)] =
    &[("src/serve/udp/mmsg/mod.rs", "the system calls that move many datagrams")];

/// Returns every word that stands where it may not, and every place that has no need to be named.
fn misplaced(files: &[Source], words: &[Word]) -> Vec<String> {
    let mut breaches = Vec::new();
    for Word { word, places } in words {
        let holders = files.iter().filter(|file| stands_in(&file.code, word));
        let (mut used, mut strays) = (vec![false; places.len()], Vec::new());
        for file in holders {
            match places.iter().position(|(place, _)| is_at(&file.path, place)) {
                Some(place) => used[place] = true,
                None => strays.push(format!("{}: {word}", file.path)),
            }
        }
        breaches.extend(strays);
        let idle = places.iter().zip(used).filter(|(_, is_used)| !is_used);
        breaches.extend(idle.map(|((place, _), _)| format!("{place} has no {word} any more")));
    }
    breaches
}

/// Whether a file is a place, or in it.
fn is_at(path: &str, place: &str) -> bool {
    let rest = path.strip_prefix(place);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '.']))
}

/// Whether some words stand in a code, and not as a part of longer ones.
pub fn stands_in(code: &str, words: &str) -> bool {
    code.match_indices(words).any(|(at, _)| {
        let (before, behind) = (&code[..at], &code[at + words.len()..]);
        let begins = !(before.ends_with(is_word) && words.starts_with(is_word));
        let ends = !(words.ends_with(is_word) && behind.starts_with(is_word));
        begins && ends
    })
}

#[test]
fn words_stand_only_where_they_may() {
    let breaches = misplaced(&product(), WORDS);
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn every_word_is_seen_where_it_may_not_stand() {
    let breaking = [
        ("use arc_swap::ArcSwap;", "arc_swap"),
        ("unsafe { f() }", "unsafe"),
        ("#![allow(unsafe_code, reason = \"x\")]", "unsafe_code"),
        ("let now = SystemTime::now();", "SystemTime"),
        ("std::fs::rename(a, b)?;", "fs::rename"),
        ("tokio::fs::rename(a, b).await?;", "fs::rename"),
        ("let (a, b) = mpsc::unbounded_channel();", "unbounded_channel"),
        ("let (a, b) = async_channel::unbounded();", "async_channel::unbounded"),
        ("let (a, b) = flume::unbounded::<u8>();", "flume::unbounded"),
        ("let (a, b) = std::sync::mpsc::channel();", "mpsc::channel()"),
        ("let (a, b) = mpsc::channel::<()>();", "mpsc::channel::<"),
    ];
    assert_eq!(breaking.len(), WORDS.len() + 1, "each word breaks its rule here");
    for (code, word) in breaking {
        // The rule of this word alone; where it may stand it does.
        let rule = WORDS.iter().find(|rule| rule.word == word).expect("a rule");
        let places = rule.places.iter().map(|(place, _)| Source::new(place, code));
        let mut files: Vec<Source> = places.collect();
        assert_eq!(misplaced(&files, std::slice::from_ref(rule)), [""; 0], "{code}");
        files.push(Source::new("src/node/run.rs", code));
        let breach = format!("src/node/run.rs: {word}");
        assert_eq!(misplaced(&files, std::slice::from_ref(rule)), [breach], "{code}");
    }
    for code in
        ["mpsc::channel(8)", "// SystemTime", "\"fs::rename\"", "MySystemTime", "arc_swapped"]
    {
        let code = Source::new("", code).code;
        assert!(WORDS.iter().all(|rule| !stands_in(&code, rule.word)), "{code}");
    }
}

#[test]
fn a_place_that_does_not_need_its_word_is_named_no_more() {
    let breaches = misplaced(
        &[Source::new("src/clock.rs", "")],
        &[Word { word: "SystemTime", places: &[("src/clock.rs", "")] }],
    );
    assert_eq!(breaches, ["src/clock.rs has no SystemTime any more"]);
}
