//! Everything that outlives the window: projects, OpenRaster, exports, palettes, the journal, settings, logs.
//!
//! This module knows the [`Document`](crate::document::Document) and files; it knows no window, no thread and no
//! engine thread. Every function here may take long and is meant for the thread "file-io"
//! ([`crate::background_tasks`]); documents are cheap to clone, so a job gets its own snapshot.
//!
//! ```text
//!  Document ── bundle (manifest + PNG blobs) ──┬── project_file  .wordbrush  (zip)
//!                                              ├── ora           .ora        (zip, layers for other programs)
//!                                              └── export        .png .jpg .webp (state in an own chunk)
//!  Document ── journal (what changed, checksummed) ── autosave   crash recovery
//!  Document + Picture ── frames  old entries of the history strip
//!  scene_file, palette, masks: the formats that people write by hand or bring from elsewhere; palette_library
//!  open: recognises what a file is, whatever its name
//! ```
//!
//! Whatever is read is untrusted: sizes are checked before memory is taken, names in archives are never used as
//! paths, and every reader answers with an error, never with a panic.

mod archive;
pub mod atomic;
pub mod autosave;
mod blobs;
mod bounded_json;
pub mod canvas_format;
pub mod clipboard;
mod exif;
pub mod export;
pub mod folders;
pub mod frames;
pub mod journal;
pub mod logs;
mod manifest;
pub mod masks;
mod migrate;
pub mod open;
pub mod ora;
pub mod palette;
pub mod palette_library;
pub mod parameters;
pub mod pictures;
pub mod project;
pub mod project_file;
mod records;
pub mod safetensors_header;
pub mod scene_file;
mod segments;
pub mod sessions;
pub mod settings;

pub use manifest::FORMAT_VERSION;
pub(crate) use manifest::{hex_from_colour, program_name};

/// What lies in a folder, by name.
#[cfg(test)]
pub(crate) fn names_in(folder: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
