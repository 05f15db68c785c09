//! Signed zones, made by others and judged by others: BIND, Knot and ldns sign, delv validates.

#![allow(clippy::unwrap_used)]

mod check;
mod delv;
mod signers;
mod touched;
mod validate;
