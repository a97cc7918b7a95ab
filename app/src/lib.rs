//! Wordbrush, the app: a library, so that tests can build it, and a thin binary.

pub mod document;
pub mod paint;
