//! Model families behind three traits.
//!
//! [`load()`] finds out what a file or folder is and gives back its parts as [`traits::ModelParts`]; the rest of the
//! engine knows only the traits.

mod blueprint;
pub mod config;
pub mod cpu;
pub mod folder;
mod infer;
mod load;
mod pocket;
pub mod sd;
pub mod taesd;
pub mod toy;
pub mod traits;
pub mod vae;

pub use load::{LoadedModel, load};
