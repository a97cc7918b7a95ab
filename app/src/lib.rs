//! Wordbrush, the app: a library, so that tests can build it, and a thin binary.

pub mod background_tasks;
pub mod canvas;
pub mod cli;
pub mod document;
pub mod paint;
pub mod storage;
