//! The list of known models.

use std::path::{Component, Path};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

/// The known models.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    #[serde(rename = "model")]
    models: Vec<KnownModel>,
}

/// A model that can be downloaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownModel {
    /// What it is called on the command line and in scenes; also its folder.
    pub name: String,
    /// What the user sees.
    pub title: String,
    /// Family, such as "Stable Diffusion 1.5".
    pub family: String,
    /// Side in pixels it was trained for.
    pub native_side: u32,
    /// Licence in words.
    pub licence: String,
    /// Where the licence can be read.
    pub licence_url: String,
    /// The file or folder (`.`) to load, below the model's folder.
    pub checkpoint: String,
    /// Adaptations to be fused, below the model's folder.
    #[serde(default)]
    pub loras: Vec<String>,
    /// Another entry to decode with; it is downloaded along.
    #[serde(default)]
    pub tiny_autoencoder: Option<String>,
    /// What is downloaded.
    #[serde(rename = "file")]
    pub files: Vec<ModelFile>,
}

/// A file of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// `owner/name` on the hub.
    pub repository: String,
    /// Branch, tag or commit.
    #[serde(default = "main_branch")]
    pub revision: String,
    /// Path in the repository.
    pub path: String,
    /// Path below the model's folder, if it is another.
    #[serde(default)]
    pub save_as: Option<String>,
    /// Length; binding together with the hash.
    #[serde(default)]
    pub bytes: Option<u64>,
    /// Hash in hex, if it is known.
    #[serde(default)]
    pub sha256: Option<String>,
}

fn main_branch() -> String {
    "main".to_owned()
}

impl Catalogue {
    /// The list that comes with the program.
    pub fn built_in() -> Self {
        Self::from_toml(include_str!("../../../assets/models.toml")).expect("the list in assets is tested")
    }

    /// Reads a list.
    ///
    /// # Errors
    /// If it is no such list, or would write outside of its folder.
    pub fn from_toml(text: &str) -> anyhow::Result<Self> {
        let catalogue: Self = toml::from_str(text).context("the list of models is damaged")?;
        for model in &catalogue.models {
            ensure!(
                is_plain(&model.name),
                "{:?} is no possible name of a model",
                model.name
            );
            for file in &model.files {
                let hash_is_possible = file.sha256.as_ref().is_none_or(|hash| is_sha256(hash));
                ensure!(
                    is_plain(file.local_path()) && hash_is_possible,
                    "{}: {:?} is no possible file of a model",
                    model.name,
                    file.local_path()
                );
            }
            let decoder = model.tiny_autoencoder.as_deref();
            ensure!(
                decoder.is_none_or(|name| catalogue.find(name).is_some()),
                "{}: its tiny autoencoder {decoder:?} is not in the list",
                model.name
            );
        }
        Ok(catalogue)
    }

    /// All of them, in the list's order.
    pub fn models(&self) -> &[KnownModel] {
        &self.models
    }

    /// A model by its name.
    pub fn find(&self, name: &str) -> Option<&KnownModel> {
        self.models.iter().find(|model| model.name == name)
    }

    /// A model with what it needs besides, the model first.
    pub fn with_needed<'a>(&'a self, model: &'a KnownModel) -> impl Iterator<Item = &'a KnownModel> {
        let decoder = model.tiny_autoencoder.as_deref().and_then(|name| self.find(name));
        std::iter::once(model).chain(decoder)
    }
}

impl KnownModel {
    /// What is told about the size of all files; exact only where hashes are known.
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().filter_map(|file| file.bytes).sum()
    }
}

impl ModelFile {
    /// Path below the model's folder.
    pub fn local_path(&self) -> &str {
        self.save_as.as_deref().unwrap_or(&self.path)
    }
}

/// A relative path without any way up.
fn is_plain(path: &str) -> bool {
    !path.is_empty()
        && !path.contains(['\\', ':'])
        && Path::new(path)
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
}

/// Whether a text is a SHA-256 in hex.
pub(super) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_list_is_sound() {
        let catalogue = Catalogue::built_in();
        for name in [
            "sd15-lcm",
            "lcm-dreamshaper",
            "sd-turbo",
            "sdxl-turbo",
            "sdxl-lightning",
            "taesd",
            "taesdxl",
        ] {
            let model = catalogue.find(name).unwrap();
            assert!(!model.licence.is_empty() && !model.files.is_empty(), "{name}");
            let is_listed = |wanted: &str| model.files.iter().any(|file| file.local_path() == wanted);
            assert!(model.checkpoint == "." || is_listed(&model.checkpoint), "{name}");
            assert!(model.loras.iter().all(|lora| is_listed(lora)), "{name}");
        }
    }

    #[test]
    fn lists_that_lead_out_of_their_folder_are_refused() {
        let list = |path: &str| {
            Catalogue::from_toml(&format!(
                "[[model]]\nname='a'\ntitle=''\nfamily=''\nnative_side=1\nlicence=''\nlicence_url=''\ncheckpoint='.'\n\
                 [[model.file]]\nrepository='a/b'\npath='{path}'\n"
            ))
        };
        assert!(list("unet/a.safetensors").is_ok());
        for bad in ["../a", "/etc/passwd", "a/../../b", "", "c:/x", "a\\b"] {
            assert!(list(bad).is_err(), "{bad}");
        }
    }
}
