//! Model families behind three traits.

pub mod traits;
