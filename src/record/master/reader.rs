//! Reads entries one after the other and makes records of them.

use std::borrow::Cow;
use std::ops::Range;

use crate::limits::{GENERATE_RECORDS_MAX, INCLUDE_DEPTH_MAX, INCLUDE_FILES_MAX, TTL_S_MAX};
use crate::name::{Name, NameError};
use crate::record::master::directive::{self, Directive};
use crate::record::master::generate::Generator;
use crate::record::master::{Fault, MasterError, MasterOptions, MasterRecord, MasterRule};
use crate::record::rdata::{self, Words};
use crate::record::token::{Entry, Place, Span, split_entry};
use crate::record::{RdataError, RecordType};

/// The records of a master file, in their order. It ends at the first error.
#[derive(Debug)]
pub struct MasterReader<'a> {
    /// The file and those that it includes; the innermost last.
    pub(super) sources: Vec<Source<'a>>,
    /// The words of the entry at hand.
    pub(super) spans: Vec<Span>,
    /// The `$GENERATE` that is under way in the innermost file.
    pub(super) generator: Option<Generator>,
    /// Records that `$GENERATE` has made or will make.
    pub(super) generated: u64,
    /// Files included so far.
    pub(super) included: u32,
    /// TTLs that stand for missing ones.
    pub(super) ttl: DefaultTtl,
    /// What the caller chose.
    pub(super) options: MasterOptions<'a>,
    /// RDATA of the record read last.
    rdata: Vec<u8>,
}

/// A record without its owner and RDATA, which its reader lends.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordHead {
    /// The type.
    pub(super) rtype: RecordType,
    /// The TTL in seconds.
    pub(super) ttl_s: u32,
    /// The class.
    pub(super) class: u16,
    /// The line that the record begins on.
    pub(super) line: u32,
    /// The octet of that line, from one: the first that is not blank.
    pub(super) column: u32,
}

/// One file that is being read.
#[derive(Debug)]
pub(super) struct Source<'a> {
    /// Its name, as errors say it.
    pub(super) file: String,
    /// Its text.
    pub(super) text: Cow<'a, [u8]>,
    /// How far it is read.
    pub(super) place: Place,
    /// The origin and owner at this place.
    pub(super) names: CurrentNames,
}

/// The names that stand for parts that an entry leaves out.
#[derive(Clone, Debug)]
pub(super) struct CurrentNames {
    /// The origin of relative names in wire form, in the case that its author wrote: names in
    /// RDATA keep it.
    pub(super) origin: Box<[u8]>,
    /// The owner of the record before, in canonical wire form; empty before the first.
    pub(super) owner: Vec<u8>,
    /// Where the word stands that wrote this owner, under this origin, in the text that is being
    /// read; empty if none did.
    pub(super) owner_word: Range<usize>,
}

/// The TTLs in seconds that stand for missing ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct DefaultTtl {
    /// That of `$TTL` (RFC 2308 section 4).
    pub(super) directive_s: Option<u32>,
    /// The last that a record stated (RFC 1035 section 5.1).
    last_s: Option<u32>,
    /// That of the options.
    fallback_s: u32,
}

impl<'a> MasterReader<'a> {
    /// Begins at the start of `text`; relative names lie under `origin` until `$ORIGIN` says else.
    pub fn new(text: &'a [u8], origin: &Name, options: MasterOptions<'a>) -> Self {
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        let names = CurrentNames::new(origin.as_wire().into(), Vec::new());
        let file = options.file.clone();
        let ttl = DefaultTtl {
            directive_s: None,
            last_s: None,
            fallback_s: options.default_ttl_s.min(TTL_S_MAX),
        };
        Self {
            sources: vec![Source { file, text: Cow::Borrowed(text), place: Place::START, names }],
            spans: Vec::new(),
            generator: None,
            generated: 0,
            included: 0,
            ttl,
            options,
            rdata: Vec::new(),
        }
    }

    /// Returns the name of the file that is being read.
    pub fn file(&self) -> &str {
        self.sources.last().map_or(&self.options.file, |source| &source.file)
    }

    /// Returns how many octets of the first file are read, for a display of progress.
    pub(crate) fn octets_read(&self) -> usize {
        self.sources.first().map_or(0, |source| source.place.at)
    }

    /// Returns the owner of the record read last, in canonical wire form.
    pub(super) fn owner(&self) -> &[u8] {
        self.sources.last().map_or(&[], |source| &source.names.owner)
    }

    /// Returns the RDATA of the record read last.
    pub(super) fn rdata(&self) -> &[u8] {
        &self.rdata
    }

    /// Reads the next record; returns `None` behind the last.
    pub(super) fn read(&mut self) -> Result<Option<RecordHead>, MasterError> {
        loop {
            if let Some(record) = self.poll_generated()? {
                return Ok(Some(record));
            }
            let Some(source) = self.sources.last_mut() else { return Ok(None) };
            if source.place.at >= source.text.len() {
                // The first stays, so that a warning can still name it.
                if self.sources.len() == 1 {
                    return Ok(None);
                }
                self.sources.pop();
                continue;
            }
            let Place { at: start, line } = source.place;
            let entry = split_entry(&source.text, &mut source.place, &mut self.spans)
                .map_err(|failure| source.error(failure.at, failure.rule.into()))?;
            let Some(first) = self.spans.first() else { continue };
            let is_directive =
                !entry.has_leading_blank && !first.is_quoted && source.text[first.start] == b'$';
            if is_directive {
                self.handle_directive(line)?;
                continue;
            }
            // An entry begins where its line does.
            let is_word = |octet: &u8| !matches!(octet, b' ' | b'\t');
            let blanks = source.text[start..].iter().position(is_word).unwrap_or(0);
            let spot = (line, from_one(blanks));
            return read_record(
                &source.text,
                &self.spans,
                entry,
                &mut source.names,
                &mut self.ttl,
                spot,
                &mut self.rdata,
            )
            .map(Some)
            .map_err(|(at, rule)| source.error(at, rule));
        }
    }

    /// Carries out the directive that `spans` hold.
    fn handle_directive(&mut self, line: u32) -> Result<(), MasterError> {
        let Some(source) = self.sources.last_mut() else { return Ok(()) };
        let directive = directive::parse(&source.text, &self.spans, &source.names.origin)
            .map_err(|(at, rule)| source.error(at, rule))?;
        let at = self.spans.first().map_or(0, |span| span.start);
        match directive {
            Directive::Origin(origin) => {
                source.names.origin = origin;
                source.names.owner_word = 0..0;
            }
            Directive::Ttl(ttl_s) => self.ttl.directive_s = Some(ttl_s),
            Directive::Include { path, origin } => {
                self.include(&path, origin).map_err(|rule| self.error(at, rule))?;
            }
            Directive::Generate { range, template } => {
                self.generated = self.generated.saturating_add(range.count());
                if self.generated > GENERATE_RECORDS_MAX {
                    return Err(self.error(at, MasterRule::GenerateTooMany));
                }
                self.generator = Some(Generator::new(range, template, line, at));
            }
        }
        Ok(())
    }

    /// Goes on with the file at `path`, its relative names under `origin`. Origin and owner of
    /// the file that includes it are what they were when it ends; its `$TTL` stays.
    fn include(&mut self, path: &str, origin: Box<[u8]>) -> Result<(), MasterRule> {
        if self.sources.len() > INCLUDE_DEPTH_MAX {
            return Err(MasterRule::IncludeTooDeep);
        }
        if self.included >= INCLUDE_FILES_MAX {
            return Err(MasterRule::IncludeTooMany);
        }
        self.included += 1;
        let opener = self.options.opener.as_mut().ok_or(MasterRule::IncludeNotAllowed)?;
        let text = Cow::Owned(opener(path)?);
        let owner = self.owner().to_vec();
        self.sources.push(Source {
            file: path.to_owned(),
            text,
            place: Place::START,
            names: CurrentNames::new(origin, owner),
        });
        Ok(())
    }

    /// Makes the next record of the `$GENERATE` under way, if one is.
    fn poll_generated(&mut self) -> Result<Option<RecordHead>, MasterError> {
        let (Some(generator), Some(source)) = (&mut self.generator, self.sources.last_mut()) else {
            return Ok(None);
        };
        let (line, at) = (generator.line, generator.at);
        let Some(text) = generator.next_text() else {
            self.generator = None;
            return Ok(None);
        };
        // A fault in generated text is shown where the directive stands: the text is in no file.
        let text = text.map_err(|rule| source.error(at, rule))?;
        split_entry(text, &mut Place::START.clone(), &mut self.spans)
            .map_err(|failure| source.error(at, failure.rule.into()))?;
        let (names, entry) = (&mut source.names, Entry::default());
        names.owner_word = 0..0;
        // A directive stands at the beginning of its line.
        let read =
            read_record(text, &self.spans, entry, names, &mut self.ttl, (line, 1), &mut self.rdata);
        // What wrote the owner is in this text, which goes.
        names.owner_word = 0..0;
        read.map(Some).map_err(|(_, rule)| source.error(at, rule))
    }

    /// Makes an error at an offset of the file that is being read.
    fn error(&self, at: usize, rule: MasterRule) -> MasterError {
        match self.sources.last() {
            Some(source) => source.error(at, rule),
            None => MasterError { file: self.options.file.clone(), line: 1, column: 1, rule },
        }
    }
}

impl Iterator for MasterReader<'_> {
    type Item = Result<MasterRecord, MasterError>;

    fn next(&mut self) -> Option<Self::Item> {
        let head = match self.read() {
            Ok(head) => head?,
            Err(error) => {
                self.sources.clear();
                self.generator = None;
                return Some(Err(error));
            }
        };
        // What was read is a name, so this never ends the records early.
        let owner = Name::from_wire(self.owner()).ok()?;
        let RecordHead { rtype, ttl_s, class, line, column } = head;
        let rdata = self.rdata.clone();
        Some(Ok(MasterRecord { owner, rtype, ttl_s, class, rdata, line, column }))
    }
}

impl CurrentNames {
    /// Begins with an origin, and the owner of a record in another text.
    pub(super) fn new(origin: Box<[u8]>, owner: Vec<u8>) -> Self {
        Self { origin, owner, owner_word: 0..0 }
    }
}

impl Source<'_> {
    /// Makes an error at an offset of the text.
    pub(super) fn error(&self, at: usize, rule: MasterRule) -> MasterError {
        let before = &self.text[..at.min(self.text.len())];
        let line_start = before.iter().rposition(|&octet| octet == b'\n').map_or(0, |lf| lf + 1);
        let lines_before = before.iter().filter(|&&octet| octet == b'\n').count();
        MasterError {
            file: self.file.clone(),
            line: from_one(lines_before),
            column: from_one(before.len() - line_start),
            rule,
        }
    }
}

/// Returns a count as a number that begins at one.
fn from_one(count: usize) -> u32 {
    u32::try_from(count + 1).unwrap_or(u32::MAX)
}

impl DefaultTtl {
    /// Returns the TTL of a record that states none.
    fn current_s(&self) -> u32 {
        self.directive_s.or(self.last_s).unwrap_or(self.fallback_s)
    }
}

/// Makes a record of an entry's words: its owner in `names`, its RDATA in `rdata`; `spot` is its
/// line and column.
fn read_record(
    text: &[u8],
    spans: &[Span],
    entry: Entry,
    names: &mut CurrentNames,
    ttl: &mut DefaultTtl,
    spot: (u32, u32),
    rdata: &mut Vec<u8>,
) -> Result<RecordHead, Fault> {
    let mut words = Words::new(text, spans, &names.origin);
    if !entry.has_leading_blank {
        let first = spans.first().map_or(0..0, |span| span.start..span.end);
        let is_repeated =
            !first.is_empty() && text[first.clone()] == text[names.owner_word.clone()];
        if is_repeated && spans.first().is_some_and(|span| !span.is_quoted) {
            words.take(); // records of one owner mostly stand together
        } else {
            read_owner(&mut words, &mut names.owner)?;
            // In quotes, @ is no origin.
            let is_plain = spans.first().is_some_and(|span| !span.is_quoted);
            names.owner_word = if is_plain { first } else { 0..0 };
        }
    }
    if names.owner.is_empty() {
        let at_first = spans.first().map_or(0, |span| span.start);
        return Err((at_first, MasterRule::NoOwner));
    }
    let head = read_head(&mut words)?;
    let ttl_s = match head.ttl_s {
        Some(ttl_s) => *ttl.last_s.insert(ttl_s),
        None => ttl.current_s(),
    };
    rdata.clear();
    rdata::parse_words(head.rtype, &mut words, rdata).map_err(|rule| {
        let end = spans.last().map_or(0, |span| span.end);
        let at = match rule {
            RdataError::Missing { .. } => end,
            _ => words.last_span().map_or(end, |span| span.start),
        };
        (at, MasterRule::Rdata { rtype: head.rtype, rule })
    })?;
    let (line, column) = spot;
    Ok(RecordHead { rtype: head.rtype, ttl_s, class: head.class, line, column })
}

/// Reads the owner name into `owner`, in canonical wire form.
fn read_owner(words: &mut Words<'_>, owner: &mut Vec<u8>) -> Result<(), Fault> {
    let Some(word) = words.take() else { return Err((0, MasterRule::NoOwner)) };
    owner.clear();
    let parsed = rdata::parse_name("owner", word, words.origin(), owner);
    owner.make_ascii_lowercase();
    parsed.map_err(|error| {
        let at = words.last_span().map_or(0, |span| span.start);
        let rule = match error {
            RdataError::BadName { rule, .. } => rule,
            _ => NameError::BadEscape,
        };
        (at, MasterRule::Owner(rule))
    })
}

/// What stands between owner and RDATA.
struct Head {
    /// The TTL in seconds, if it is stated.
    ttl_s: Option<u32>,
    /// The class; IN if none is stated.
    class: u16,
    /// The type.
    rtype: RecordType,
}

/// Reads TTL and class, either, both or none, in any order, and the type.
fn read_head(words: &mut Words<'_>) -> Result<Head, Fault> {
    let (mut ttl_s, mut class) = (None, None);
    while let Some(word) = words.take() {
        let at = words.last_span().map_or(0, |span| span.start);
        let octets = word.octets;
        let text = || String::from_utf8_lossy(octets).into_owned();
        if octets.first().is_some_and(u8::is_ascii_digit) && ttl_s.is_none() {
            let seconds = directive::parse_ttl(octets);
            ttl_s = Some(seconds.ok_or_else(|| (at, MasterRule::BadTtl { text: text() }))?);
        } else if class.is_none() && parse_class(octets).is_some() {
            class = parse_class(octets);
        } else {
            let rtype =
                parse_type(octets).ok_or_else(|| (at, MasterRule::UnknownType { text: text() }))?;
            return Ok(Head { ttl_s, class: class.unwrap_or(CLASS_IN), rtype });
        }
    }
    Err((words.last_span().map_or(0, |span| span.end), MasterRule::NoType))
}

/// Reads a class: its mnemonic, or `CLASS` and its number (RFC 3597 section 5).
fn parse_class(text: &[u8]) -> Option<u16> {
    if text.len() == 2 {
        let letters = [text[0].to_ascii_uppercase(), text[1].to_ascii_uppercase()];
        return match &letters {
            b"IN" => Some(CLASS_IN),
            b"CS" => Some(2),
            b"CH" => Some(3),
            b"HS" => Some(4),
            _ => None,
        };
    }
    let (prefix, digits) = text.split_at_checked(5)?;
    let number = rdata::parse_decimal(digits)?;
    u16::try_from(number).ok().filter(|_| prefix.eq_ignore_ascii_case(b"CLASS"))
}

/// Reads a type; the commonest first, since most records of most zones are of these.
fn parse_type(text: &[u8]) -> Option<RecordType> {
    match text {
        b"A" => Some(RecordType::A),
        b"AAAA" => Some(RecordType::AAAA),
        b"NS" => Some(RecordType::NS),
        b"RRSIG" => Some(RecordType::RRSIG),
        b"NSEC3" => Some(RecordType::NSEC3),
        b"DS" => Some(RecordType::DS),
        _ => std::str::from_utf8(text).ok()?.parse().ok(),
    }
}

/// The Internet, the only class that we serve.
pub(super) const CLASS_IN: u16 = 1;

/// What some editors put before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
