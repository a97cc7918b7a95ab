//! A model folder in diffusers' layout, on disk or inside the program.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, de::DeserializeOwned};

use super::{TensorFile, Weights, names::canonical, refuse_pickle};
use crate::{Error, Result, error::json_reason};

/// The networks of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Network {
    /// The first (or only) text encoder.
    TextEncoder,
    /// The second text encoder of SDXL.
    TextEncoder2,
    /// The UNet.
    Denoiser,
    /// The autoencoder.
    Codec,
}

impl Network {
    /// Its subfolder in diffusers' layout.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::TextEncoder => "text_encoder",
            Self::TextEncoder2 => "text_encoder_2",
            Self::Denoiser => "unet",
            Self::Codec => "vae",
        }
    }

    /// What the user is told is being read.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::TextEncoder => "text encoder",
            Self::TextEncoder2 => "second text encoder",
            Self::Denoiser => "denoiser",
            Self::Codec => "image codec",
        }
    }

    /// File names without extension that weights may have.
    fn stems(self) -> [&'static str; 2] {
        match self {
            Self::TextEncoder | Self::TextEncoder2 => ["model", "diffusion_pytorch_model"],
            Self::Denoiser | Self::Codec => ["diffusion_pytorch_model", "model"],
        }
    }
}

/// Files of a model by their path inside its folder.
#[derive(Clone, Debug)]
pub(crate) enum Folder {
    /// On disk.
    Disk(PathBuf),
    /// Part of the program: paths and contents.
    Embedded(&'static [(&'static str, &'static [u8])]),
}

impl Folder {
    /// Name of the folder, for messages.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        match self {
            Self::Disk(root) => root.join(inside),
            Self::Embedded(_) => Path::new("embedded model").join(inside),
        }
    }

    /// Whether a file or folder is there.
    pub(crate) fn contains(&self, inside: &str) -> bool {
        match self {
            Self::Disk(root) => root.join(inside).exists(),
            Self::Embedded(files) => files.iter().any(|(path, _)| Path::new(path).starts_with(inside)),
        }
    }

    /// The contents of a small file, or `None` if it is not there.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub(crate) fn read(&self, inside: &str) -> Result<Option<Cow<'static, [u8]>>> {
        match self {
            Self::Disk(root) => {
                let path = root.join(inside);
                match std::fs::read(&path) {
                    Ok(bytes) => Ok(Some(Cow::Owned(bytes))),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(Error::reading(&path, error)),
                }
            }
            Self::Embedded(files) => Ok(files
                .iter()
                .find(|(path, _)| *path == inside)
                .map(|(_, bytes)| Cow::Borrowed(*bytes))),
        }
    }

    /// A JSON file, or `None` if it is not there.
    ///
    /// # Errors
    /// If it is there and is not what it should be.
    pub(crate) fn read_json<T: DeserializeOwned>(&self, inside: &str) -> Result<Option<T>> {
        let Some(bytes) = self.read(inside)? else {
            return Ok(None);
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| Error::InvalidFile {
                path: self.path(inside),
                reason: json_reason(&error),
            })
    }

    /// The weights of one network: full or fp16, in one file or several.
    ///
    /// # Errors
    /// If there are none, or a file is damaged.
    pub(crate) fn weights(&self, network: Network) -> Result<Weights> {
        self.weights_in(network, network.folder())
    }

    /// As [`Self::weights`], from another subfolder.
    pub(crate) fn weights_in(&self, network: Network, subfolder: &str) -> Result<Weights> {
        let files = self.weight_files(network, subfolder)?;
        Ok(Weights::from_files(files, |name| canonical(network, name)))
    }

    fn weight_files(&self, network: Network, subfolder: &str) -> Result<Vec<Arc<TensorFile>>> {
        for stem in network.stems() {
            for variant in ["", ".fp16"] {
                let whole = format!("{subfolder}/{stem}{variant}.safetensors");
                if self.contains(&whole) {
                    return Ok(vec![self.open(&whole)?]);
                }
                let indexes = [
                    format!("{subfolder}/{stem}{variant}.safetensors.index.json"),
                    format!("{subfolder}/{stem}.safetensors.index{variant}.json"),
                ];
                for index in indexes {
                    if let Some(shards) = self.read_json::<ShardIndex>(&index)? {
                        return self.open_shards(subfolder, &shards, &index);
                    }
                }
            }
        }
        self.other_weight_file(network, subfolder)
    }

    fn open(&self, inside: &str) -> Result<Arc<TensorFile>> {
        let file = match self {
            Self::Disk(root) => TensorFile::open(&root.join(inside))?,
            Self::Embedded(files) => {
                let bytes = files.iter().find(|(path, _)| *path == inside);
                let (_, bytes) = bytes.ok_or_else(|| Error::MissingFile {
                    what: "a file of weights".to_owned(),
                    path: self.path(inside),
                })?;
                TensorFile::embedded(inside, bytes)?
            }
        };
        Ok(Arc::new(file))
    }

    fn open_shards(
        &self,
        subfolder: &str,
        index: &ShardIndex,
        index_path: &str,
    ) -> Result<Vec<Arc<TensorFile>>> {
        let names: BTreeSet<&String> = index.weight_map.values().collect();
        names
            .into_iter()
            .map(|name| {
                // A shard lies beside its index; anything else could reach out of the folder.
                if name.contains(['/', '\\']) {
                    return Err(Error::InvalidFile {
                        path: self.path(index_path),
                        reason: format!("{name:?} is not the name of a file beside it"),
                    });
                }
                self.open(&format!("{subfolder}/{name}"))
            })
            .collect()
    }

    /// The only safetensors file of a folder, whatever its name, or the reason why there are no weights.
    fn other_weight_file(&self, network: Network, subfolder: &str) -> Result<Vec<Arc<TensorFile>>> {
        let missing = Error::MissingFile {
            what: format!("the file with the {}'s weights", network.label()),
            path: self.path(&format!("{subfolder}/{}.safetensors", network.stems()[0])),
        };
        let Self::Disk(root) = self else {
            return Err(missing);
        };
        let Ok(listing) = std::fs::read_dir(root.join(subfolder)) else {
            return Err(missing);
        };
        let mut paths: Vec<PathBuf> = listing.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        let (safe, other): (Vec<&PathBuf>, Vec<&PathBuf>) = paths.iter().partition(|path| {
            path.extension()
                .is_some_and(|extension| extension == "safetensors")
        });
        match safe[..] {
            [only] => Ok(vec![Arc::new(TensorFile::open(only)?)]),
            [] => {
                for path in other {
                    refuse_pickle(path)?;
                }
                Err(missing)
            }
            _ => Err(missing),
        }
    }
}

/// Which file holds which weight.
#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}
