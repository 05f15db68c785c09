//! What kind of reply a message is, as limits and counters tell them apart.

/// What kind of reply it is, whatever its RCODE's upper bits say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReplyKind {
    /// Data of the name that was asked for, or of the last one that its aliases led to; or the aliases alone,
    /// where they leave what is ours, go round, or are more than are followed.
    Answer,
    /// The name exists, but not with this type (RFC 2308 section 2.2).
    NoData,
    /// The name does not exist (RFC 2308 section 2.1).
    NxDomain,
    /// Another zone's name servers are to be asked (RFC 1034 section 4.3.2 step 3b).
    Referral,
    /// The query was refused, or the server failed.
    Error,
}

impl ReplyKind {
    /// All of them, in their order.
    pub const ALL: [Self; 5] =
        [Self::Answer, Self::NoData, Self::NxDomain, Self::Referral, Self::Error];

    /// Returns what metrics call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::NoData => "nodata",
            Self::NxDomain => "nxdomain",
            Self::Referral => "referral",
            Self::Error => "error",
        }
    }
}
