//! The folder of downloaded models.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use sha2::{Digest as _, Sha256};
use wordbrush_engine::api::{LoraSource, ModelChoice, ModelSource};

use super::catalogue::{Catalogue, KnownModel, ModelFile};
use crate::{background_tasks::Progress, storage::folders::Folders};

/// Hashes of downloaded files lie beside them under this additional ending.
const HASH_ENDING: &str = "sha256";
const PART_ENDING: &str = "part";

/// Where models are kept, and which are known.
#[derive(Clone, Debug)]
pub struct ModelStore {
    folder: PathBuf,
    catalogue: Catalogue,
}

/// Whether a model is on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelState {
    /// Nothing of its own files.
    Missing,
    /// Some of it; a download goes on from here.
    Partial {
        /// Bytes of its own files that are here.
        bytes: u64,
    },
    /// All of it, and what it needs besides.
    Present,
}

/// What a check of a file found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// The hash is the one it was downloaded with.
    Good,
    /// The file is not what was downloaded.
    Damaged,
    /// The file is not there.
    Missing,
    /// No hash is known.
    Unknown,
}

impl ModelStore {
    /// The user's models and the list that comes with the program.
    pub fn of_user(folders: &Folders) -> Self {
        Self::new(folders.models(), Catalogue::built_in())
    }

    /// Another folder or list.
    pub fn new(folder: PathBuf, catalogue: Catalogue) -> Self {
        Self { folder, catalogue }
    }

    /// The known models.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Where all models are kept.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where a model's files are, or will be.
    pub fn model_folder(&self, model: &KnownModel) -> PathBuf {
        self.folder.join(&model.name)
    }

    /// Where a file is, or will be.
    pub fn file_path(&self, model: &KnownModel, file: &ModelFile) -> PathBuf {
        self.model_folder(model).join(file.local_path())
    }

    /// Whether a model is here, what it needs besides included.
    pub fn state(&self, model: &KnownModel) -> ModelState {
        let length = |path: &Path| std::fs::metadata(path).ok().map(|file| file.len());
        let mut files = self.catalogue.with_needed(model).flat_map(|needed| {
            let paths = needed.files.iter();
            paths.map(|file| self.file_path(needed, file))
        });
        let is_complete = files.all(|path| path.is_file());
        // What several models share was fetched for any of them and says nothing about this one.
        let own_files = model.files.iter().map(|file| self.file_path(model, file));
        let bytes = own_files
            .map(|path| length(&path).or_else(|| length(&part_path(&path))).unwrap_or(0))
            .sum();
        match (is_complete, bytes) {
            (true, _) => ModelState::Present,
            (false, 0) => ModelState::Missing,
            (false, bytes) => ModelState::Partial { bytes },
        }
    }

    /// How the engine is to load a model.
    pub fn choice(&self, model: &KnownModel) -> ModelChoice {
        let folder = self.model_folder(model);
        let tiny_autoencoder = model
            .tiny_autoencoder
            .as_deref()
            .and_then(|name| self.catalogue.find(name));
        ModelChoice {
            loras: model
                .loras
                .iter()
                .map(|lora| LoraSource {
                    path: folder.join(lora),
                    scale: 1.0,
                })
                .collect(),
            tiny_autoencoder: tiny_autoencoder.map(|model| self.checkpoint(model)),
            ..ModelChoice::plain(ModelSource::Path(self.checkpoint(model)))
        }
    }

    fn checkpoint(&self, model: &KnownModel) -> PathBuf {
        match model.checkpoint.as_str() {
            "." => self.model_folder(model),
            file => self.model_folder(model).join(file),
        }
    }

    /// A model by the name of an embedded or known one, or by its path; relative paths start at `folder`.
    ///
    /// # Errors
    /// If there is neither, or a known model is not downloaded; the message says what to do.
    pub fn resolve(&self, name: &str, folder: &Path) -> anyhow::Result<ModelChoice> {
        if let Some(source) = ModelSource::built_in(name) {
            return Ok(ModelChoice::plain(source));
        }
        if let Some(model) = self.catalogue.find(name) {
            ensure!(
                self.state(model) == ModelState::Present,
                "model {name:?} is not downloaded yet: run `wordbrush models pull {name}`"
            );
            return Ok(self.choice(model));
        }
        let path = folder.join(name);
        ensure!(
            !name.is_empty() && path.exists(),
            "there is no model {name:?}: give a name from `wordbrush models list`, a folder or a .safetensors file"
        );
        Ok(ModelChoice::plain(ModelSource::Path(path)))
    }

    /// Finds again what an exported picture names without its folder: a model whose file or folder has this name.
    pub fn locate(&self, choice: &ModelChoice) -> Option<ModelChoice> {
        let ModelSource::Path(path) = &choice.source else {
            return None;
        };
        self.catalogue
            .models()
            .iter()
            .filter(|model| self.state(model) == ModelState::Present)
            .find(|model| self.checkpoint(model).file_name() == path.file_name())
            .map(|model| self.choice(model))
    }

    /// Reads a file again and compares its hash with the one it was downloaded with.
    ///
    /// # Errors
    /// If the file cannot be read, or the check was cancelled.
    pub fn check(&self, model: &KnownModel, file: &ModelFile, progress: &Progress) -> anyhow::Result<Check> {
        let path = self.file_path(model, file);
        if !path.exists() {
            return Ok(Check::Missing);
        }
        let noted = std::fs::read_to_string(hash_path(&path))
            .ok()
            .map(|hash| hash.trim().to_owned());
        let Some(expected) = file.sha256.clone().or(noted) else {
            return Ok(Check::Unknown);
        };
        let found = hash_of(&path, progress).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(if found.eq_ignore_ascii_case(&expected) {
            Check::Good
        } else {
            Check::Damaged
        })
    }
}

/// A download that is not finished.
pub(super) fn part_path(path: &Path) -> PathBuf {
    with_ending(path, PART_ENDING)
}

/// The hash that a file was downloaded with.
pub(super) fn hash_path(path: &Path) -> PathBuf {
    with_ending(path, HASH_ENDING)
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

fn hash_of(path: &Path, progress: &Progress) -> anyhow::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let total = file.metadata()?.len();
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut done = 0;
    loop {
        progress.check()?;
        let length = file.read(&mut buffer)?;
        if length == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..length]);
        done += length as u64;
        progress.set(done, total);
    }
}

/// Bytes as lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}
