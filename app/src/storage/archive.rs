//! Zip archives, read with bounds and written reproducibly.

use std::io::{Cursor, Read as _, Seek, Write};

use anyhow::{Context as _, bail, ensure};
use zip::{CompressionMethod, ZipArchive, ZipWriter, write::SimpleFileOptions};

/// More entries than any project has.
const MAX_ENTRIES: usize = 20_000;
/// What one entry may unpack to.
const MAX_ENTRY_BYTES: u64 = 512 << 20;
/// What an entry of words and numbers may unpack to.
const MAX_DESCRIPTION_BYTES: u64 = 64 << 20;
/// What all entries that are read may unpack to together.
const MAX_TOTAL_BYTES: u64 = 2 << 30;

/// An archive from untrusted bytes. Entries are looked up by name and never written to disk, so that their names
/// cannot lead anywhere.
pub(super) struct ArchiveReader<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    bytes_left: u64,
}

impl<'a> ArchiveReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> anyhow::Result<Self> {
        let zip = ZipArchive::new(Cursor::new(bytes)).context("the archive is damaged")?;
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
        self.try_read(name, limit.min(self.bytes_left))
            .with_context(|| format!("entry {name:?}"))
    }

    fn try_read(&mut self, name: &str, limit: u64) -> anyhow::Result<Vec<u8>> {
        let entry = self.zip.by_name(name)?;
        if entry.encrypted() {
            bail!("it is encrypted");
        }
        ensure!(entry.size() <= limit, "it unpacks to too much");
        let mut bytes = Vec::new();
        // The size in the header is only a claim.
        entry.take(limit + 1).read_to_end(&mut bytes)?;
        ensure!(bytes.len() as u64 <= limit, "it unpacks to too much");
        self.bytes_left -= bytes.len() as u64;
        Ok(bytes)
    }
}

/// Writes an archive; the same contents give the same bytes.
pub(super) struct ArchiveWriter<W: Write + Seek> {
    zip: ZipWriter<W>,
}

impl<W: Write + Seek> ArchiveWriter<W> {
    pub(super) fn new(writer: W) -> Self {
        Self {
            zip: ZipWriter::new(writer),
        }
    }

    /// An entry that is compressed already, or must not be.
    pub(super) fn store(&mut self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        self.add(name, bytes, CompressionMethod::Stored)
    }

    /// An entry that is worth compressing.
    pub(super) fn deflate(&mut self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        self.add(name, bytes, CompressionMethod::Deflated)
    }

    pub(super) fn finish(self) -> anyhow::Result<()> {
        self.zip.finish()?;
        Ok(())
    }

    fn add(&mut self, name: &str, bytes: &[u8], method: CompressionMethod) -> anyhow::Result<()> {
        let options = SimpleFileOptions::default()
            .compression_method(method)
            .last_modified_time(zip::DateTime::default())
            .large_file(bytes.len() as u64 >= u64::from(u32::MAX));
        self.zip.start_file(name, options)?;
        self.zip.write_all(bytes)?;
        Ok(())
    }
}
