//! The book of the feeds of an authority, in a file; where several share their feeds, a copy of the store's.
//!
//! **Invariant:** a book that was written reads back; a list of an older version reads as a book.
//! **Not here:** what stands in a book (`feed_book`), books that authorities share (`sharing`).

use std::path::{Path, PathBuf};

use super::feed_book::FeedBook;
use crate::durable;
use crate::name::{Name, NameError};

/// Why a book of feeds is of no use.
#[derive(Debug, thiserror::Error)]
pub enum FeedListError {
    /// The book cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The book is something else.
    #[error("{}: not a list of feeds: {source}", path.display())]
    List {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: BookTextError,
    },
}

/// Why a text is no book.
#[derive(Debug, thiserror::Error)]
pub enum BookTextError {
    /// It is no JSON of such a form.
    #[error(transparent)]
    Form(#[from] serde_json::Error),
    /// A name of an older list does not read.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// Reads the book of a file; it is empty at first.
pub(super) fn read_book(path: &Path) -> Result<FeedBook, FeedListError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(FeedBook::default());
        }
        Err(source) => return Err(FeedListError::File { path: path.into(), source }),
    };
    book_of(&text).map_err(|source| FeedListError::List { path: path.into(), source })
}

/// Writes the book into a file.
pub(super) fn write_book(path: &Path, book: &FeedBook) -> Result<(), FeedListError> {
    let written = durable::write(path, &book_text(book));
    written.map_err(|source| FeedListError::File { path: path.into(), source })
}

/// Reads a book, or what an older version wrote in its place: a list of sets of zones.
pub(super) fn book_of(text: &[u8]) -> Result<FeedBook, BookTextError> {
    if text.trim_ascii_start().first() != Some(&b'[') {
        return Ok(serde_json::from_slice(text)?);
    }
    let lists: Vec<Vec<String>> = serde_json::from_slice(text)?;
    let mut read: Vec<Vec<Name>> = Vec::with_capacity(lists.len());
    for names in &lists {
        read.push(names.iter().map(|text| text.parse()).collect::<Result<_, _>>()?);
    }
    Ok(FeedBook::of_lists(read))
}

/// Writes a book.
pub(super) fn book_text(book: &FeedBook) -> Vec<u8> {
    serde_json::to_vec_pretty(book).expect("a book has string keys and no failing field")
}

/// The file of the book, and the note of one that is shared.
pub(super) const BOOK_FILE: &str = "feeds.json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_book_reads_back_and_so_does_what_an_older_version_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("feeds.json");
        assert_eq!(read_book(&path).unwrap(), FeedBook::default());
        std::fs::write(&path, r#"[["a.example.","b\\.c.example."]]"#).unwrap();
        let book = read_book(&path).unwrap().with_main();
        let zones: Vec<Name> = vec!["a.example".parse().unwrap(), "b\\.c.example".parse().unwrap()];
        assert_eq!(book.feeds[1].zones.as_ref(), Some(&zones));
        assert_eq!(book.feeds[1].key, "zones-be3f430e682f9f39ab28e0b64240d37937c88df3".to_owned());
        write_book(&path, &book).unwrap();
        assert_eq!(read_book(&path).unwrap(), book);
        for bad in ["", "[[1]]", "[[\"a..b\"]]", "{\"feeds\": 1}"] {
            std::fs::write(&path, bad).unwrap();
            assert!(read_book(&path).is_err(), "{bad}");
        }
    }
}
