//! `$GENERATE`: one line of text for many records.
//!
//! In the template `$` is the number, `${offset,width,base}` the number plus offset, padded with
//! zeros, in base d, o, x, X or as reversed nibbles n, N; `$$` and `\$` are a dollar sign.

use crate::limits::GENERATE_WIDTH_MAX;
use crate::record::master::MasterRule;
use crate::record::rdata;

/// The numbers that a template is filled with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Range {
    /// The first.
    start: u32,
    /// The last, or above it.
    stop: u32,
    /// From one to the next; not zero.
    step: u32,
}

/// A `$GENERATE` that is under way.
#[derive(Clone, Debug)]
pub(super) struct Generator {
    /// The line that it stands on.
    pub(super) line: u32,
    /// Its offset in the file.
    pub(super) at: usize,
    /// The text with `$` in it.
    template: Vec<u8>,
    /// The numbers still to be filled in; `None` when all are.
    rest: Option<Range>,
    /// The text made last.
    text: Vec<u8>,
}

/// How a number is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Modifier {
    /// Added to the number.
    offset: i64,
    /// Characters at least.
    width: usize,
    /// The letter of the base.
    base: u8,
}

impl Range {
    /// Reads `start-stop` or `start-stop/step`, 31 bits each.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let number = |text: &[u8]| {
            rdata::parse_decimal(text)
                .and_then(|number| u32::try_from(number).ok())
                .filter(|&number| i32::try_from(number).is_ok())
        };
        let (bounds, step) = match text.iter().position(|&octet| octet == b'/') {
            Some(slash) => (&text[..slash], number(&text[slash + 1..])?),
            None => (text, 1),
        };
        let dash = bounds.iter().position(|&octet| octet == b'-')?;
        let (start, stop) = (number(&bounds[..dash])?, number(&bounds[dash + 1..])?);
        (start <= stop && step > 0).then_some(Self { start, stop, step })
    }

    /// Returns how many numbers there are.
    pub(super) fn count(&self) -> u64 {
        u64::from((self.stop - self.start) / self.step) + 1
    }
}

impl Generator {
    /// Begins with the first number.
    pub(super) fn new(range: Range, template: Vec<u8>, line: u32, at: usize) -> Self {
        Self { line, at, template, rest: Some(range), text: Vec::new() }
    }

    /// Returns the text for the next number, or `None` behind the last.
    pub(super) fn next_text(&mut self) -> Option<Result<&[u8], MasterRule>> {
        let range = self.rest?;
        let next = range.start.checked_add(range.step).filter(|&next| next <= range.stop);
        self.rest = next.map(|start| Range { start, ..range });
        self.text.clear();
        let filled = fill(&self.template, i64::from(range.start), &mut self.text);
        Some(filled.map(|()| self.text.as_slice()))
    }
}

/// Appends `template`, filled with `number`, to `out`.
fn fill(template: &[u8], number: i64, out: &mut Vec<u8>) -> Result<(), MasterRule> {
    let mut rest = template;
    while let [octet, tail @ ..] = rest {
        rest = match (octet, tail) {
            (b'\\', [escaped, tail @ ..]) => {
                out.extend_from_slice(&[b'\\', *escaped]);
                tail
            }
            (b'$', [b'$', tail @ ..]) => {
                out.extend_from_slice(b"\\$");
                tail
            }
            (b'$', [b'{', tail @ ..]) => {
                let end = tail.iter().position(|&octet| octet == b'}');
                let end = end.ok_or(MasterRule::GenerateModifier)?;
                let modifier = parse_modifier(&tail[..end]).ok_or(MasterRule::GenerateModifier)?;
                write_number(number, modifier, out)?;
                &tail[end + 1..]
            }
            (b'$', tail) => {
                write_number(number, Modifier { offset: 0, width: 0, base: b'd' }, out)?;
                tail
            }
            (octet, tail) => {
                out.push(*octet);
                tail
            }
        };
    }
    Ok(())
}

/// Reads `offset`, `offset,width` or `offset,width,base`.
fn parse_modifier(text: &[u8]) -> Option<Modifier> {
    let mut parts = text.split(|&octet| octet == b',');
    let offset_text = parts.next()?;
    let (sign, digits) = match offset_text {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] => (1, digits),
        digits => (1, digits),
    };
    let magnitude = rdata::parse_decimal(digits).and_then(|n| i32::try_from(n).ok())?;
    let width = parts.next().map_or(Some(0), rdata::parse_decimal)?;
    let base = match parts.next() {
        None => b'd',
        Some([base @ (b'd' | b'o' | b'x' | b'X' | b'n' | b'N')]) => *base,
        Some(_) => return None,
    };
    let is_valid = parts.next().is_none() && width <= u64::from(GENERATE_WIDTH_MAX);
    let offset = sign * i64::from(magnitude);
    is_valid.then_some(Modifier { offset, width: usize::try_from(width).ok()?, base })
}

/// Appends a number as its modifier says.
fn write_number(number: i64, modifier: Modifier, out: &mut Vec<u8>) -> Result<(), MasterRule> {
    let (value, width) = (number + modifier.offset, modifier.width);
    let positive = u64::try_from(value).map_err(|_| MasterRule::GenerateModifier);
    let text = match modifier.base {
        b'd' => format!("{value:0width$}"),
        b'o' => format!("{:0width$o}", positive?),
        b'x' => format!("{:0width$x}", positive?),
        b'X' => format!("{:0width$X}", positive?),
        b'n' => nibbles(positive?, width),
        _ => nibbles(positive?, width).to_ascii_uppercase(),
    };
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// Writes hexadecimal digits, the lowest first, a dot between them; dots count for the width.
fn nibbles(value: u64, width: usize) -> String {
    let (mut value, mut text) = (value, String::new());
    loop {
        text.push_str(&format!("{:x}", value & 15));
        value >>= 4;
        if value == 0 && text.len() >= width {
            return text;
        }
        text.push('.');
        if value == 0 && text.len() >= width {
            return text;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(template: &str, number: i64, text: &str) {
        let mut out = Vec::new();
        assert_eq!(fill(template.as_bytes(), number, &mut out), Ok(()), "{template}");
        assert_eq!(String::from_utf8_lossy(&out), text, "{template}");
    }

    #[test]
    fn modifiers_give_offset_width_and_base() {
        check("h$.x", 7, "h7.x");
        check("h${0,3,x}-${1}-${-8}", 31, "h01f-32-23");
        check("${0,2,o} ${0,0,X} ${0,3}", 10, "12 A 010");
        check("${-8,3}", 1, "-07");
        check("$$ \\$ \\\\$", 1, "\\$ \\$ \\\\1");
        check("${0,7,n}.ip6.arpa", 0x1a2, "2.a.1.0.ip6.arpa");
        check("${0,0,N}", 0x1a, "A.1");
        check("${0,4,n}", 1, "1.0.");
    }

    #[test]
    fn modifiers_that_break_a_rule_are_refused() {
        for template in ["${", "${}", "${a}", "${0,128}", "${0,1,z}", "${0,1,d,1}", "${-9,0,x}"] {
            let found = fill(template.as_bytes(), 1, &mut Vec::new());
            assert_eq!(found, Err(MasterRule::GenerateModifier), "{template}");
        }
    }

    #[test]
    fn ranges_have_a_step() {
        let count = |text: &str| Range::parse(text.as_bytes()).map(|range| range.count());
        assert_eq!(count("0-255"), Some(256));
        assert_eq!(count("1-10/3"), Some(4));
        assert_eq!(count("5-5/100"), Some(1));
        assert_eq!(count("0-2147483647"), Some(1 << 31));
        for text in ["", "1", "2-1", "1-2/0", "-1-2", "1-2/", "0-2147483648", "1-2-3"] {
            assert_eq!(count(text), None, "{text}");
        }
    }
}
