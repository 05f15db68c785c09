//! The answer algorithm (RFC 1034 section 4.3.2).
