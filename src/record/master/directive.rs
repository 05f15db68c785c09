//! `$ORIGIN`, `$TTL`, `$INCLUDE` and `$GENERATE`.

use crate::limits::TTL_S_MAX;
use crate::name::NameError;
use crate::record::RdataError;
use crate::record::master::generate::Range;
use crate::record::master::{Fault, MasterRule};
use crate::record::rdata::{self, Words};
use crate::record::token::Span;

/// A directive.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Directive {
    /// Relative names now lie under this name (RFC 1035 section 5.1).
    Origin(Box<[u8]>),
    /// Records without a TTL now have this one, in seconds (RFC 2308 section 4).
    Ttl(u32),
    /// Another file's records stand here (RFC 1035 section 5.1).
    Include {
        /// The path as written.
        path: String,
        /// The origin that the file begins with.
        origin: Box<[u8]>,
    },
    /// A template's records stand here (BIND's, taken over by PowerDNS and others).
    Generate {
        /// The numbers that the template is filled with.
        range: Range,
        /// The text of an entry with `$` in it.
        template: Vec<u8>,
    },
}

/// Reads the directive that an entry's words hold.
pub(super) fn parse(text: &[u8], spans: &[Span], origin: &[u8]) -> Result<Directive, Fault> {
    let mut words = Words::new(text, spans, origin);
    let Some(name) = words.take() else { return Err((0, MasterRule::NoType)) };
    let start = spans.first().map_or(0, |span| span.start);
    match name.octets.to_ascii_uppercase().as_slice() {
        b"$ORIGIN" => {
            let name = take_origin(&mut words, "$ORIGIN")?;
            end("$ORIGIN", &mut words, Directive::Origin(name))
        }
        b"$TTL" => {
            let word = need(&mut words, "$TTL", "number of seconds")?;
            let ttl_s = parse_ttl(word).ok_or_else(|| {
                let text = String::from_utf8_lossy(word).into_owned();
                (last_start(&words), MasterRule::BadTtl { text })
            })?;
            end("$TTL", &mut words, Directive::Ttl(ttl_s))
        }
        b"$INCLUDE" => {
            let path = std::str::from_utf8(need(&mut words, "$INCLUDE", "path")?)
                .map_err(|_| (last_start(&words), MasterRule::IncludePath))?
                .to_owned();
            let origin = match words.is_empty() {
                true => origin.into(),
                false => take_origin(&mut words, "$INCLUDE")?,
            };
            end("$INCLUDE", &mut words, Directive::Include { path, origin })
        }
        b"$GENERATE" => {
            let range = Range::parse(need(&mut words, "$GENERATE", "range")?)
                .ok_or_else(|| (last_start(&words), MasterRule::GenerateRange))?;
            need(&mut words, "$GENERATE", "owner name")?;
            let from = last_start(&words);
            let to = spans.last().map_or(from, |span| span.end + usize::from(span.is_quoted));
            Ok(Directive::Generate { range, template: text[from..to].to_vec() })
        }
        other => {
            let text = String::from_utf8_lossy(other).into_owned();
            Err((start, MasterRule::UnknownDirective { text }))
        }
    }
}

/// Reads a TTL in seconds, with or without units, that fits 31 bits.
pub(super) fn parse_ttl(text: &[u8]) -> Option<u32> {
    rdata::parse_seconds(text).filter(|&ttl_s| ttl_s <= TTL_S_MAX)
}

/// Takes a word that the directive needs.
fn need<'t>(
    words: &mut Words<'t>,
    directive: &'static str,
    what: &'static str,
) -> Result<&'t [u8], Fault> {
    let at = words.last_span().map_or(0, |span| span.end);
    let word = words.take().ok_or((at, MasterRule::DirectiveCutShort { directive, what }))?;
    Ok(word.octets)
}

/// Takes a name, relative to the origin that holds so far.
fn take_origin(words: &mut Words<'_>, directive: &'static str) -> Result<Box<[u8]>, Fault> {
    let end = words.last_span().map_or(0, |span| span.end);
    let missing = MasterRule::DirectiveCutShort { directive, what: "name" };
    let word = words.take().ok_or((end, missing))?;
    let mut wire = Vec::new();
    rdata::parse_name("origin", word, words.origin(), &mut wire)
        .map_err(|error| match error {
            RdataError::BadName { rule, .. } => rule,
            _ => NameError::BadEscape,
        })
        .map(|()| wire.into())
        .map_err(|rule| (last_start(words), MasterRule::Origin(rule)))
}

/// Makes sure that no word is left.
fn end(
    name: &'static str,
    words: &mut Words<'_>,
    directive: Directive,
) -> Result<Directive, Fault> {
    match words.take() {
        None => Ok(directive),
        Some(_) => Err((last_start(words), MasterRule::DirectiveTrailing { directive: name })),
    }
}

/// Returns where the word taken last begins.
fn last_start(words: &Words<'_>) -> usize {
    words.last_span().map_or(0, |span| span.start)
}
