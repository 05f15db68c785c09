//! DNS messages on the wire: query, EDNS, encoding, TCP frames.
