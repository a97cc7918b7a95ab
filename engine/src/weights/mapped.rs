//! Files in memory without reading them: the one place of the engine that maps files.

#![expect(
    unsafe_code,
    reason = "mapping a file is unsafe by nature; see the comment at the block"
)]

use std::{fs::File, path::Path};

use memmap2::Mmap;

use crate::{Error, Result};

/// The bytes of a file, read by the system when they are touched.
#[derive(Debug)]
pub(crate) struct MappedFile(Mmap);

impl MappedFile {
    /// Maps `path` for reading.
    ///
    /// # Errors
    /// [`Error::MissingFile`] or [`Error::Io`].
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::reading(path, error))?;
        // SAFETY: the map is read-only and private to this process. Should another program shorten or rewrite the
        // file meanwhile, its contents are undefined but never pointers or lengths: they are read as numbers only.
        let map = unsafe { Mmap::map(&file) }.map_err(|error| Error::reading(path, error))?;
        Ok(Self(map))
    }
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
