//! Zip archives, read with bounds and written reproducibly.

use std::io::{Cursor, Read as _, Seek, Write};

use super::blobs::{OverBudget, TOO_LARGE};
use anyhow::{Context as _, anyhow, bail, ensure};
use zip::{CompressionMethod, ZipArchive, ZipWriter, write::SimpleFileOptions};

/// More entries than any project has.
const MAX_ENTRIES: usize = 20_000;
/// What one entry may unpack to.
const MAX_ENTRY_BYTES: u64 = 512 << 20;
/// What an entry of words and numbers may unpack to.
const MAX_DESCRIPTION_BYTES: u64 = 64 << 20;
/// What all entries that are read may unpack to together.
const MAX_TOTAL_BYTES: u64 = 2 << 30;
/// What of that is kept free when an archive is written, for the names of its entries.
const NAMES_BYTES: u64 = 16 << 20;

/// An archive from untrusted bytes. Entries are looked up by name and never written to disk, so that their names
/// cannot lead anywhere.
pub(super) struct ArchiveReader<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    bytes_left: u64,
}

impl<'a> ArchiveReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> anyhow::Result<Self> {
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(|error| {
            // Words of the format's inside are for the log.
            tracing::warn!("{error}");
            anyhow!("the archive is damaged")
        })?;
        ensure!(
            zip.len() <= MAX_ENTRIES,
            "the archive has {} entries, {MAX_ENTRIES} are possible",
            zip.len()
        );
        Ok(Self {
            zip,
            bytes_left: MAX_TOTAL_BYTES,
        })
    }

    /// Whether there is an entry of this name.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.zip.index_for_name(name).is_some()
    }

    /// Unpacks an entry.
    pub(super) fn read(&mut self, name: &str) -> anyhow::Result<Vec<u8>> {
        self.read_up_to(name, MAX_ENTRY_BYTES)
    }

    /// Unpacks an entry that holds words and numbers only.
    pub(super) fn read_description(&mut self, name: &str) -> anyhow::Result<Vec<u8>> {
        self.read_up_to(name, MAX_DESCRIPTION_BYTES)
    }

    fn read_up_to(&mut self, name: &str, limit: u64) -> anyhow::Result<Vec<u8>> {
        self.try_read(name, limit)
            .with_context(|| format!("entry {name:?}"))
    }

    fn try_read(&mut self, name: &str, limit: u64) -> anyhow::Result<Vec<u8>> {
        let entry = self.zip.by_name(name)?;
        if entry.encrypted() {
            bail!("it is encrypted");
        }
        // Told apart from a single entry that is too large: there are only too many.
        ensure!(entry.size() <= self.bytes_left, OverBudget);
        let limit = limit.min(self.bytes_left);
        ensure!(entry.size() <= limit, "it unpacks to too much");
        let mut bytes = Vec::new();
        // The size in the header is only a claim.
        entry.take(limit + 1).read_to_end(&mut bytes)?;
        ensure!(bytes.len() as u64 <= limit, "it unpacks to too much");
        self.bytes_left -= bytes.len() as u64;
        Ok(bytes)
    }
}

/// Writes an archive that [`ArchiveReader`] takes; the same contents give the same bytes.
pub(super) struct ArchiveWriter<W: Write + Seek> {
    zip: ZipWriter<W>,
    entries_left: usize,
    bytes_left: u64,
}

impl<W: Write + Seek> ArchiveWriter<W> {
    pub(super) fn new(writer: W) -> Self {
        Self {
            zip: ZipWriter::new(writer),
            entries_left: MAX_ENTRIES,
            bytes_left: MAX_TOTAL_BYTES - NAMES_BYTES,
        }
    }

    /// An entry that is compressed already, or must not be.
    pub(super) fn store(&mut self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        self.add(name, bytes, CompressionMethod::Stored)
    }

    /// An entry of words and numbers.
    pub(super) fn deflate(&mut self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        ensure!(bytes.len() as u64 <= MAX_DESCRIPTION_BYTES, TOO_LARGE);
        self.add(name, bytes, CompressionMethod::Deflated)
    }

    pub(super) fn finish(self) -> anyhow::Result<()> {
        self.zip.finish()?;
        Ok(())
    }

    fn add(&mut self, name: &str, bytes: &[u8], method: CompressionMethod) -> anyhow::Result<()> {
        let length = bytes.len() as u64;
        ensure!(length <= MAX_ENTRY_BYTES, TOO_LARGE);
        self.entries_left = self.entries_left.checked_sub(1).context(TOO_LARGE)?;
        self.bytes_left = self.bytes_left.checked_sub(length).context(TOO_LARGE)?;
        let options = SimpleFileOptions::default()
            .compression_method(method)
            .last_modified_time(zip::DateTime::default())
            .large_file(length >= u64::from(u32::MAX));
        self.zip.start_file(name, options)?;
        self.zip.write_all(bytes)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_that_could_not_be_read_is_not_written() {
        let written = |entries_left, bytes_left| {
            let mut bytes = Cursor::new(Vec::new());
            let mut archive = ArchiveWriter {
                entries_left,
                bytes_left,
                ..ArchiveWriter::new(&mut bytes)
            };
            archive.store("a", &[1; 100])?;
            archive.deflate("b", &[2; 50])?;
            archive.finish()?;
            anyhow::Ok(bytes.into_inner())
        };
        assert!(written(2, 150).is_ok());
        for error in [written(1, 150).unwrap_err(), written(2, 149).unwrap_err()] {
            assert_eq!(error.to_string(), TOO_LARGE);
        }
    }

    #[test]
    fn a_damaged_archive_is_told_in_plain_words() {
        let error = ArchiveReader::new(b"PK, and no more").err().unwrap();
        assert_eq!(format!("{error:#}"), "the archive is damaged");
    }

    #[test]
    fn what_an_archive_holds_too_much_of_is_told_from_what_is_too_large() {
        let mut bytes = Cursor::new(Vec::new());
        let mut archive = ArchiveWriter::new(&mut bytes);
        archive.store("a", &[1; 100]).unwrap();
        archive.finish().unwrap();
        let bytes = bytes.into_inner();
        let read = |bytes_left, limit| {
            let mut archive = ArchiveReader::new(&bytes).unwrap();
            archive.bytes_left = bytes_left;
            archive.read_up_to("a", limit)
        };
        assert!(read(100, 100).is_ok());
        assert!(read(99, 100).unwrap_err().is::<OverBudget>());
        assert!(!read(100, 99).unwrap_err().is::<OverBudget>());
    }
}
