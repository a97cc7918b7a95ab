//! A file on its way: what has arrived, its hash so far, and its name when it is whole.

use std::{
    fs::{File, OpenOptions},
    io::{Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use super::{
    catalogue::ModelFile,
    download::Announced,
    pull_error::{PullError, io_error},
    store::{hash_path, hex, part_path},
};

/// Room that is left for everything else on the disk.
const SPARE_BYTES: u64 = 64 << 20;

/// A file that is being fetched.
pub(super) struct Part {
    path: PathBuf,
    file: File,
    pub(super) length: u64,
    /// Of what is here so far.
    hasher: Sha256,
    pub(super) version: Option<String>,
}

impl Part {
    /// Goes on with what is there.
    pub(super) fn open(target: &Path) -> Result<Self, PullError> {
        let path = part_path(target);
        let open = || -> std::io::Result<(File, u64, Sha256)> {
            let mut file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(&path)?;
            let mut hasher = Sha256::new();
            let length = std::io::copy(&mut file, &mut HashWriter(&mut hasher))?;
            Ok((file, length, hasher))
        };
        let (file, length, hasher) = open().map_err(|source| io_error(&path, source))?;
        let version = std::fs::read_to_string(version_path(&path)).ok();
        let mut part = Self {
            path,
            file,
            length,
            hasher,
            version,
        };
        if part.length > 0 && part.version.is_none() {
            // Nobody knows what it is a part of.
            part.restart()?;
        }
        Ok(part)
    }

    /// Begins anew.
    pub(super) fn restart(&mut self) -> Result<(), PullError> {
        let begin = |file: &mut File| {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))
        };
        begin(&mut self.file).map_err(|source| io_error(&self.path, source))?;
        self.length = 0;
        self.hasher = Sha256::new();
        Ok(())
    }

    /// Remembers of which version of the file this is a part.
    pub(super) fn note_version(&mut self, version: Option<&str>) -> Result<(), PullError> {
        if let Some(version) = version.filter(|&version| self.version.as_deref() != Some(version)) {
            let path = version_path(&self.path);
            std::fs::write(&path, version).map_err(|source| io_error(&path, source))?;
            self.version = Some(version.to_owned());
        }
        Ok(())
    }

    /// Adds what has arrived.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), PullError> {
        self.file
            .write_all(bytes)
            .map_err(|source| io_error(&self.path, source))?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Checks length and hash and gives the file its name.
    pub(super) fn finish(
        self,
        file: &ModelFile,
        target: &Path,
        announced: &Announced,
    ) -> Result<(), PullError> {
        let discard = |error: PullError| {
            // If it stays, the next attempt begins anew all the same.
            std::fs::remove_file(&self.path).ok();
            std::fs::remove_file(version_path(&self.path)).ok();
            Err(error)
        };
        if let Some(expected) = announced.bytes.filter(|&bytes| bytes != self.length) {
            return discard(PullError::WrongSize {
                file: file.path.clone(),
                expected,
                found: self.length,
            });
        }
        let found = hex(&self.hasher.finalize());
        if announced
            .sha256
            .as_ref()
            .is_some_and(|expected| !expected.eq_ignore_ascii_case(&found))
        {
            return discard(PullError::WrongHash {
                file: file.path.clone(),
                found,
            });
        }
        let put_in_place = || -> std::io::Result<()> {
            self.file.sync_all()?;
            std::fs::write(hash_path(target), &found)?;
            std::fs::rename(&self.path, target)
        };
        put_in_place().map_err(|source| io_error(target, source))?;
        std::fs::remove_file(version_path(&self.path)).ok();
        Ok(())
    }
}

struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn version_path(part: &Path) -> PathBuf {
    part.with_extension("version")
}

/// Whether there is room for what is missing.
pub(super) fn check_space(file: &ModelFile, part: &Part, expected: Option<u64>) -> Result<(), PullError> {
    let missing = expected.unwrap_or(0).saturating_sub(part.length);
    // Where the system does not tell, the disk itself will.
    let Ok(available) = fs4::available_space(&part.path) else {
        return Ok(());
    };
    if missing + SPARE_BYTES <= available {
        return Ok(());
    }
    Err(PullError::NoSpace {
        file: file.path.clone(),
        needed: (missing + SPARE_BYTES) / 1_000_000,
        available: available / 1_000_000,
    })
}
