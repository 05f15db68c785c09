//! The number under which one version of a zone's rows stands, and how they stand there.
//!
//! **Invariant:** a version of this program that knows no packs does not take a packed generation for an empty
//! one: it cannot read the number.
//! **Not here:** the keys (`store::keys`), what a pack is (`store::packs`).

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A generation. 64 random bits: two of the at most millions of them never meet.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash, Ord, PartialOrd)]
pub(super) struct Generation {
    /// The number.
    pub(super) number: u64,
    /// Whether most of the rows stand in packs.
    pub(super) is_packed: bool,
}

impl Generation {
    /// A new one.
    pub(super) fn new(is_packed: bool) -> Self {
        Self { number: rand::random(), is_packed }
    }

    /// One whose rows stand each alone.
    #[cfg(test)]
    pub(super) fn loose(number: u64) -> Self {
        Self { number, is_packed: false }
    }
}

impl Serialize for Generation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.is_packed {
            true => serializer.serialize_str(&format!("{PACKED}{}", self.number)),
            false => serializer.serialize_u64(self.number),
        }
    }
}

impl<'de> Deserialize<'de> for Generation {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match Form::deserialize(from)? {
            Form::Loose(number) => Ok(Self { number, is_packed: false }),
            Form::Packed(text) => {
                let number = text.strip_prefix(PACKED).and_then(|digits| digits.parse().ok());
                let number = number.ok_or_else(|| serde::de::Error::custom("not a generation"))?;
                Ok(Self { number, is_packed: true })
            }
        }
    }
}

/// A generation as JSON.
#[derive(Deserialize)]
#[serde(untagged)]
enum Form {
    /// A number.
    Loose(u64),
    /// A word and a number.
    Packed(String),
}

/// What the text of a packed generation begins with.
const PACKED: &str = "packs-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_reads_back_and_one_with_packs_is_no_number() {
        for is_packed in [false, true] {
            let generation = Generation { number: u64::MAX, is_packed };
            let text = serde_json::to_string(&generation).unwrap();
            assert_eq!(serde_json::from_str::<Generation>(&text).unwrap(), generation);
            assert_eq!(serde_json::from_str::<u64>(&text).is_err(), is_packed);
        }
        for rubbish in ["\"7\"", "\"packs-\"", "\"packs-x\"", "-1", "null"] {
            assert!(serde_json::from_str::<Generation>(rubbish).is_err(), "{rubbish}");
        }
    }
}
