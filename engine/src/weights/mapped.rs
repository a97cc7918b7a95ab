//! Files in memory without reading them: the one place of the engine that maps files.
//!
//! Maps of checkpoints stay open as long as the model, and another program may write into the file meanwhile. Whoever
//! reads one again asks [`MappedFile::is_unchanged`] first.

#![expect(
    unsafe_code,
    reason = "mapping a file is unsafe by nature; see the comment at the block"
)]

use std::{
    fs::{File, Metadata},
    path::Path,
    time::SystemTime,
};

use memmap2::Mmap;

use crate::{Error, Result};

/// The bytes of a file, read by the system when they are touched.
#[derive(Debug)]
pub(crate) struct MappedFile {
    map: Mmap,
    file: File,
    /// What it had when it was mapped.
    stamp: Stamp,
}

/// Length and time of the last change, where the system knows it.
#[derive(Debug, PartialEq, Eq)]
struct Stamp(u64, Option<SystemTime>);

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self(metadata.len(), metadata.modified().ok())
    }
}

impl MappedFile {
    /// Maps `path` for reading.
    ///
    /// # Errors
    /// [`Error::MissingFile`] or [`Error::Io`].
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::reading(path, error))?;
        let stamp = file.metadata().map(|metadata| Stamp::of(&metadata));
        let stamp = stamp.map_err(|error| Error::reading(path, error))?;
        // SAFETY: the map is read-only and private to this process. Another program may still change the file: bytes that
        // it rewrites are read as numbers only, never as pointers or lengths, but a page behind the end of a file that
        // it shortens cannot be touched. `is_unchanged` is asked before each read, which leaves the moment in between.
        let map = unsafe { Mmap::map(&file) }.map_err(|error| Error::reading(path, error))?;
        Ok(Self { map, file, stamp })
    }

    /// Whether the file still is as it was mapped. One that was replaced under its name is: the map keeps the old one.
    pub(crate) fn is_unchanged(&self) -> bool {
        self.file
            .metadata()
            .is_ok_and(|metadata| Stamp::of(&metadata) == self.stamp)
    }
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}
