//! Weights from files to networks.
//!
//! A [`TensorFile`] is one checked safetensors file. [`Weights`] gives the tensors of one network under the names that
//! the network uses (those of diffusers), whatever they are called in the files; networks read them through a
//! `VarBuilder`. Nothing here knows what a network computes.

mod folder;
mod mapped;
mod names;
mod tensor_file;
mod watch;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::{Init, VarBuilder, var_builder::SimpleBackend};
use sha2::Sha256;

pub(crate) use folder::{Folder, Network};
pub(crate) use tensor_file::{TensorFile, refuse_pickle};
pub use watch::{LoadProgress, LoadWatch};

use crate::{Error, error::carried};

/// How a stored tensor becomes the one that a network asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// As it is.
    Whole,
    /// Of several matrices stored on top of each other, the one with this index out of `count`.
    Slice {
        /// Which.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// With rows and columns exchanged.
    Transposed,
}

/// Where a weight is found.
#[derive(Clone, Debug)]
struct Entry {
    file: Arc<TensorFile>,
    stored_name: String,
    part: Part,
}

impl Entry {
    fn shape(&self) -> Vec<usize> {
        let mut shape = self.file.shape(&self.stored_name).unwrap_or_default().to_vec();
        match self.part {
            Part::Whole => {}
            Part::Slice { count, .. } => {
                if let Some(rows) = shape.first_mut() {
                    *rows /= count;
                }
            }
            Part::Transposed => shape.reverse(),
        }
        shape
    }

    fn read(&self, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        let stored = self
            .file
            .read(&self.stored_name, dtype, device)
            .map_err(carried)?;
        match self.part {
            Part::Whole => Ok(stored),
            Part::Slice { index, count } => {
                let rows = stored.dim(0)? / count;
                stored.narrow(0, index * rows, rows)?.copy()
            }
            Part::Transposed => stored.t()?.contiguous(),
        }
    }

    fn stored_bytes(&self) -> u64 {
        let bytes = self.file.stored_bytes(&self.stored_name);
        match self.part {
            Part::Slice { count, .. } => bytes / count as u64,
            _ => bytes,
        }
    }
}

/// The weights of one network, by the network's own names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Weights {
    entries: BTreeMap<String, Entry>,
}

impl Weights {
    /// Everything that some files hold, under the names that `rename` gives.
    pub(crate) fn from_files(
        files: impl IntoIterator<Item = Arc<TensorFile>>,
        rename: impl Fn(&str) -> String,
    ) -> Self {
        let mut weights = Self::default();
        for file in files {
            for (name, _) in file.shapes() {
                weights.insert(rename(name), &file, name, Part::Whole);
            }
        }
        weights
    }

    /// Adds a weight.
    pub(crate) fn insert(&mut self, name: String, file: &Arc<TensorFile>, stored_name: &str, part: Part) {
        let entry = Entry {
            file: Arc::clone(file),
            stored_name: stored_name.to_owned(),
            part,
        };
        self.entries.insert(name, entry);
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a weight is there.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// The shape of a weight.
    pub(crate) fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.entries.get(name).map(Entry::shape)
    }

    /// All names, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Number of values in all weights.
    pub(crate) fn parameters(&self) -> u64 {
        let count = |entry: &Entry| entry.shape().iter().product::<usize>() as u64;
        self.entries.values().map(count).sum()
    }

    /// Bytes that the weights take in their files.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.entries.values().map(Entry::stored_bytes).sum()
    }

    /// Adds what tells these files from others to a digest.
    pub(crate) fn digest_headers(&self, digest: &mut Sha256) {
        let mut seen: Vec<&Path> = Vec::new();
        for entry in self.entries.values() {
            if !seen.contains(&entry.file.path()) {
                seen.push(entry.file.path());
                entry.file.digest_header(digest);
            }
        }
    }

    /// Reads one weight as it is stored.
    ///
    /// # Errors
    /// [`Error::Weight`] (inside candle's error, see `error::carried`) if it is missing or damaged.
    pub(crate) fn read(&self, name: &str, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        self.entry(name)?.read(dtype, device)
    }

    fn entry(&self, name: &str) -> candle_core::Result<&Entry> {
        self.entries.get(name).ok_or_else(|| {
            carried(Error::Weight {
                name: name.to_owned(),
                reason: "the model's files do not have it; a part of the download may be missing".to_owned(),
            })
        })
    }

    /// Gives the weights to a network, counting what is read.
    pub(crate) fn builder<'a>(
        &'a self,
        what: &'a str,
        dtype: DType,
        device: &Device,
        watch: &'a LoadWatch<'a>,
    ) -> VarBuilder<'a> {
        let source = Source {
            weights: self,
            what,
            watch,
        };
        VarBuilder::from_backend(Box::new(source), dtype, device.clone())
    }
}

/// [`Weights`] as candle's networks ask for them.
struct Source<'a> {
    weights: &'a Weights,
    what: &'a str,
    watch: &'a LoadWatch<'a>,
}

impl SimpleBackend for Source<'_> {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _hint: Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let tensor = self.get_unchecked(name, dtype, device)?;
        fitted(tensor, &shape, name)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        let entry = self.weights.entry(name)?;
        self.watch
            .advance(self.what, entry.stored_bytes())
            .map_err(carried)?;
        entry.read(dtype, device)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.weights.contains(name)
    }
}

/// `tensor` in `shape` if it differs only by sides of length 1 at the end: some checkpoints store a matrix as a 1x1
/// convolution.
fn fitted(tensor: Tensor, shape: &Shape, name: &str) -> candle_core::Result<Tensor> {
    let trimmed = |dims: &[usize]| {
        let end = dims
            .iter()
            .rposition(|&side| side != 1)
            .map_or(0, |last| last + 1);
        dims[..end].to_vec()
    };
    if tensor.shape() == shape {
        Ok(tensor)
    } else if trimmed(tensor.dims()) == trimmed(shape.dims()) {
        tensor.reshape(shape)
    } else {
        Err(carried(Error::Weight {
            name: name.to_owned(),
            reason: format!(
                "its shape is {:?} where the configuration needs {:?}; weights and configuration are not of the same model",
                tensor.dims(),
                shape.dims()
            ),
        }))
    }
}
