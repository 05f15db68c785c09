//! The words of one record's presentation form, taken one after the other.

use crate::record::RdataError;
use crate::record::token::Span;

/// One word: its octets with escapes as written, and whether quotes stood around it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Word<'t> {
    /// The octets between blanks or quotes.
    pub(crate) octets: &'t [u8],
    /// Whether quotes stood around it.
    pub(crate) is_quoted: bool,
}

/// The words that are left, and the origin that relative names lie under.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words<'t> {
    /// The text that the spans point into.
    text: &'t [u8],
    /// Where each word stands.
    spans: &'t [Span],
    /// How many words are taken.
    taken: usize,
    /// The origin in wire form.
    origin: &'t [u8],
}

impl<'t> Words<'t> {
    /// Begins at the first of `spans`; `origin` is a name in wire form, in any case.
    pub(crate) fn new(text: &'t [u8], spans: &'t [Span], origin: &'t [u8]) -> Self {
        Self { text, spans, taken: 0, origin }
    }

    /// Whether no word is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.taken == self.spans.len()
    }

    /// Returns the origin in wire form.
    pub(crate) fn origin(&self) -> &'t [u8] {
        self.origin
    }

    /// Returns the next word and leaves it.
    pub(crate) fn peek(&self) -> Option<Word<'t>> {
        let span = self.spans.get(self.taken)?;
        Some(Word { octets: &self.text[span.start..span.end], is_quoted: span.is_quoted })
    }

    /// Takes the next word.
    pub(crate) fn take(&mut self) -> Option<Word<'t>> {
        let word = self.peek()?;
        self.taken += 1;
        Some(word)
    }

    /// Takes the next word, which `field` needs.
    ///
    /// # Errors
    /// [`RdataError::Missing`].
    pub(crate) fn need(&mut self, field: &'static str) -> Result<Word<'t>, RdataError> {
        self.take().ok_or(RdataError::Missing { field })
    }

    /// Takes the quoted word that follows the last one without a blank between them, if there
    /// is one: the value in `key="value"`.
    pub(crate) fn take_glued(&mut self) -> Option<Word<'t>> {
        let last = self.spans.get(self.taken.checked_sub(1)?)?;
        let next = self.spans.get(self.taken)?;
        (next.is_quoted && next.start == last.end + 1).then(|| self.take())?
    }

    /// Whether the words are the form for unknown types: `\#`, unquoted, is the first.
    pub(crate) fn is_generic(&self) -> bool {
        self.peek().is_some_and(|word| !word.is_quoted && word.octets == b"\\#")
    }

    /// Returns where the word taken last stands, if one was taken.
    pub(crate) fn last_span(&self) -> Option<Span> {
        self.spans.get(self.taken.checked_sub(1)?).copied()
    }
}
