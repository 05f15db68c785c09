//! Splits master file text into entries, and entries into words.
//!
//! An entry ends at a line's end that stands in no parentheses. Escapes are left as they are:
//! only the field that a word belongs to knows whether a dot or a comma was escaped.
//! RFC 1035 section 5.1.
//!
//! **Invariant:** spans rise, do not overlap and lie inside the text; each call consumes at least
//! one octet unless the text is at its end.
//! **Not here:** what the words mean (`record::rdata`, `record::master`).

/// Where one word stands in the text, quotes not included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Span {
    /// Offset of the first octet.
    pub(crate) start: usize,
    /// Offset behind the last octet.
    pub(crate) end: usize,
    /// Whether quotes stood around it.
    pub(crate) is_quoted: bool,
}

/// What [`split_entry`] saw besides words.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Entry {
    /// Whether the entry's first line began with a blank: the owner is the one before.
    pub(crate) has_leading_blank: bool,
    /// Whether a comment stood in it.
    pub(crate) has_comment: bool,
}

/// Why text does not split into words.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SplitError {
    /// A quote is open where its line ends.
    #[error("a quoted string is not closed on its line")]
    QuoteNotClosed,
    /// The text ends inside parentheses.
    #[error("a parenthesis is not closed")]
    ParenthesisNotClosed,
    /// A closing parenthesis where none is open.
    #[error("a parenthesis is closed that was not opened")]
    ParenthesisNotOpened,
    /// A backslash is the last octet of its line.
    #[error("a line ends in a backslash (RFC 1035 section 5.1)")]
    EscapeOfNothing,
}

/// Where and why text does not split.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct SplitFailure {
    /// Offset of the octet that is at fault.
    pub(crate) at: usize,
    /// The rule.
    pub(crate) rule: SplitError,
}

/// A place in text: what was consumed, and the line that the next octet stands on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    /// Offset of the next octet.
    pub(crate) at: usize,
    /// Its line, from one.
    pub(crate) line: u32,
}

impl Place {
    /// The beginning of a text.
    pub(crate) const START: Self = Self { at: 0, line: 1 };
}

/// Reads one entry at `place`, which moves behind it; `spans` then holds its words.
///
/// # Errors
/// A [`SplitFailure`]; `place` is then somewhere inside the entry.
pub(crate) fn split_entry(
    text: &[u8],
    place: &mut Place,
    spans: &mut Vec<Span>,
) -> Result<Entry, SplitFailure> {
    spans.clear();
    let mut entry = Entry {
        has_leading_blank: matches!(text.get(place.at), Some(b' ' | b'\t')),
        has_comment: false,
    };
    let mut open: Vec<usize> = Vec::new();
    while let Some(&octet) = text.get(place.at) {
        match octet {
            b' ' | b'\t' | b'\r' => place.at += 1,
            b'\n' => {
                place.at += 1;
                place.line = place.line.saturating_add(1);
                if open.is_empty() {
                    return Ok(entry);
                }
            }
            b';' => {
                entry.has_comment = true;
                place.at = line_end(text, place.at);
            }
            b'(' => {
                open.push(place.at);
                place.at += 1;
            }
            b')' => {
                let rule = SplitError::ParenthesisNotOpened;
                open.pop().ok_or(SplitFailure { at: place.at, rule })?;
                place.at += 1;
            }
            b'"' => {
                let start = place.at + 1;
                let end = quote_end(text, start)?;
                spans.push(Span { start, end, is_quoted: true });
                place.at = end + 1;
            }
            _ => {
                let (start, end) = (place.at, word_end(text, place.at)?);
                spans.push(Span { start, end, is_quoted: false });
                place.at = end;
            }
        }
    }
    match open.last() {
        None => Ok(entry),
        Some(&at) => Err(SplitFailure { at, rule: SplitError::ParenthesisNotClosed }),
    }
}

/// Returns the offset of the line feed that ends the line at `at`, or the text's length.
fn line_end(text: &[u8], at: usize) -> usize {
    text[at..].iter().position(|&octet| octet == b'\n').map_or(text.len(), |len| at + len)
}

/// Returns the offset of the quote that closes the one before `start`.
fn quote_end(text: &[u8], start: usize) -> Result<usize, SplitFailure> {
    let mut at = start;
    loop {
        match text.get(at) {
            Some(b'"') => return Ok(at),
            Some(b'\\') if !matches!(text.get(at + 1), None | Some(b'\n')) => at += 2,
            Some(octet) if *octet != b'\n' => at += 1,
            _ => return Err(SplitFailure { at: start - 1, rule: SplitError::QuoteNotClosed }),
        }
    }
}

/// Returns the offset behind the unquoted word that begins at `start`.
fn word_end(text: &[u8], start: usize) -> Result<usize, SplitFailure> {
    let mut at = start;
    loop {
        while text.get(at).is_some_and(|&octet| IS_PLAIN[usize::from(octet)]) {
            at += 1;
        }
        if text.get(at) != Some(&b'\\') {
            return Ok(at);
        }
        if matches!(text.get(at + 1), None | Some(b'\n' | b'\r')) {
            return Err(SplitFailure { at, rule: SplitError::EscapeOfNothing });
        }
        at += 2;
    }
}

/// Octets that neither end a word nor begin an escape.
const IS_PLAIN: [bool; 256] = {
    let mut plain = [true; 256];
    let special = b" \t\r\n;()\"\\";
    let mut index = 0;
    while index < special.len() {
        plain[special[index] as usize] = false;
        index += 1;
    }
    plain
};

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, entries: &[&[&str]]) {
        let (mut place, mut spans) = (Place::START, Vec::new());
        for words in entries {
            split_entry(text.as_bytes(), &mut place, &mut spans).expect(text);
            let found: Vec<&str> = spans.iter().map(|span| &text[span.start..span.end]).collect();
            assert_eq!(&found, words, "{text:?}");
        }
        assert_eq!(place.at, text.len(), "{text:?}");
    }

    #[test]
    fn entries_end_at_line_ends_outside_parentheses() {
        check("a b\nc", &[&["a", "b"], &["c"]]);
        check("a ( b ; x )\n c )\r\nd\r\n", &[&["a", "b", "c"], &["d"]]);
        check("a(b(c)d)e\n", &[&["a", "b", "c", "d", "e"]]);
        check("; only\n", &[&[]]);
    }

    #[test]
    fn quotes_and_escapes_keep_words_whole() {
        check("\"a ; ( \\\" b\" c\\ d\\;\\\\ e", &[&["a ; ( \\\" b", "c\\ d\\;\\\\", "e"]]);
        check("k=\"v w\"x \"\"", &[&["k=", "v w", "x", ""]]);
    }

    #[test]
    fn text_that_does_not_split_names_the_rule_and_the_place() {
        for (text, at, rule) in [
            ("a \"b\nc\"", 2, SplitError::QuoteNotClosed),
            ("a \"b", 2, SplitError::QuoteNotClosed),
            ("a \"b\\", 2, SplitError::QuoteNotClosed),
            ("a ( b\nc", 2, SplitError::ParenthesisNotClosed),
            ("a )", 2, SplitError::ParenthesisNotOpened),
            ("a b\\", 3, SplitError::EscapeOfNothing),
            ("a b\\\nc", 3, SplitError::EscapeOfNothing),
        ] {
            let (mut place, mut spans) = (Place::START, Vec::new());
            let found = split_entry(text.as_bytes(), &mut place, &mut spans);
            assert_eq!(found, Err(SplitFailure { at, rule }), "{text:?}");
        }
    }
}
