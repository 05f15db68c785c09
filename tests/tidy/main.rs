//! What the compiler does not check of the house: who may use whom, and how files read.
//!
//! Each rule is a function from files to breaches, and is tried on text that breaks it.

mod circles;
mod floors;
mod pages;
mod source;
mod words;
