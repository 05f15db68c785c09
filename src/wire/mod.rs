//! Replies on the wire, made of RRsets that were prepared when their zone was built.
//!
//! **Not here:** messages of any other kind (`message`).

mod compress;
pub mod kind;
pub(crate) mod reply;
