//! A file on its way: what has arrived, its hash so far, and its name when it is whole.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use super::{
    catalogue::ModelFile,
    download::Announced,
    pull_error::{PullError, io_error},
    store::{hash_path, hex, part_path},
};
use crate::{background_tasks::Progress, storage::atomic::sync_folder};

/// Room that is left for everything else on the disk.
const SPARE_BYTES: u64 = 64 << 20;

const BUFFER_BYTES: usize = 1 << 20;

/// A file that is being fetched. While this exists, no other instance fetches it.
pub(super) struct Part {
    path: PathBuf,
    file: File,
    pub(super) length: u64,
    /// Of what is here so far.
    hasher: Sha256,
    pub(super) version: Option<String>,
}

impl Part {
    /// Goes on with what is there; `None` if another instance has finished it a moment ago.
    pub(super) fn open(
        file: &ModelFile,
        target: &Path,
        progress: &Progress,
    ) -> Result<Option<Self>, PullError> {
        let path = part_path(target);
        let opened = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|error| io_error(&path, error))?;
        match opened.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(PullError::Busy {
                    file: file.path.clone(),
                });
            }
            Err(TryLockError::Error(error)) => {
                // Some network disks have no locks; the hash still tells if two have written to one file.
                tracing::warn!("cannot lock {}: {error}", path.display());
            }
        }
        if target.exists() {
            // Then what was opened may be this very file under its former name.
            return Ok(None);
        }
        let mut part = Self {
            version: std::fs::read_to_string(version_path(&path)).ok(),
            path,
            file: opened,
            length: 0,
            hasher: Sha256::new(),
        };
        if part.version.is_some() {
            part.take_in(progress)?;
        } else {
            // Nobody knows what it is a part of.
            part.restart()?;
        }
        Ok(Some(part))
    }

    /// Reads what is there already.
    fn take_in(&mut self, progress: &Progress) -> Result<(), PullError> {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            progress.check()?;
            let read = self.file.read(&mut buffer);
            match read.map_err(|error| io_error(&self.path, error))? {
                0 => return Ok(()),
                length => {
                    self.hasher.update(&buffer[..length]);
                    self.length += length as u64;
                }
            }
        }
    }

    /// Whether the hub speaks of the version that this is a part of; if it does not say, it is taken to.
    pub(super) fn is_of(&self, version: Option<&str>) -> bool {
        match (self.version.as_deref(), version) {
            (Some(known), Some(version)) => known == version,
            _ => true,
        }
    }

    /// Begins anew.
    pub(super) fn restart(&mut self) -> Result<(), PullError> {
        let begin = |file: &mut File| {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))
        };
        begin(&mut self.file).map_err(|error| io_error(&self.path, error))?;
        self.length = 0;
        self.hasher = Sha256::new();
        Ok(())
    }

    /// Remembers of which version of the file this is a part.
    pub(super) fn note_version(&mut self, version: Option<&str>) -> Result<(), PullError> {
        if let Some(version) = version.filter(|&version| self.version.as_deref() != Some(version)) {
            let path = version_path(&self.path);
            std::fs::write(&path, version).map_err(|error| io_error(&path, error))?;
            self.version = Some(version.to_owned());
        }
        Ok(())
    }

    /// Adds what has arrived.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), PullError> {
        self.file
            .write_all(bytes)
            .map_err(|error| io_error(&self.path, error))?;
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
        put_in_place().map_err(|error| io_error(target, error))?;
        if let Some(folder) = target.parent() {
            sync_folder(folder);
        }
        std::fs::remove_file(version_path(&self.path)).ok();
        Ok(())
    }
}

fn version_path(part: &Path) -> PathBuf {
    part.with_extension("version")
}

/// Whether there is room for `missing` bytes of `what` in or beside `path`, which need not be there yet.
pub(super) fn check_space(what: &str, path: &Path, missing: u64) -> Result<(), PullError> {
    let needed = missing.saturating_add(SPARE_BYTES);
    let existing = path.ancestors().find(|folder| folder.exists());
    // Where the system does not tell, the disk itself will.
    let Some(available) = existing.and_then(|path| fs4::available_space(path).ok()) else {
        return Ok(());
    };
    if needed <= available {
        return Ok(());
    }
    Err(PullError::NoSpace {
        file: what.to_owned(),
        needed: needed / 1_000_000,
        available: available / 1_000_000,
    })
}
