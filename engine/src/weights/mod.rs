//! Weights from files to networks.
//!
//! A [`TensorFile`] is one checked safetensors file. [`Weights`] gives the tensors of one network under the names that
//! the network uses (those of diffusers), whatever they are called in the files; networks read them through a
//! `VarBuilder`. Nothing here knows what a network computes.

mod folder;
mod layout;
mod lora;
mod mapped;
mod names;
mod random;
mod single_file;
mod tensor_file;
mod watch;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use candle_core::{DType, Device, Shape, Tensor, Var};
use candle_nn::{Init, VarBuilder, var_builder::SimpleBackend};
use sha2::Sha256;

pub(crate) use folder::{Folder, Network};
pub use lora::Adapters;
pub(crate) use lora::Retuned;
use lora::{Delta, LiveWeight};
pub(crate) use names::canonical;
pub(crate) use random::random_weights;
pub use single_file::{Checkpoint, Family};
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
    /// What adaptations add, by the name of the weight.
    deltas: BTreeMap<String, Vec<Delta>>,
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
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> + Clone {
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
    pub(crate) fn digest_samples(&self, digest: &mut Sha256) {
        let mut seen: Vec<&Path> = Vec::new();
        for entry in self.entries.values() {
            if !seen.contains(&entry.file.path()) {
                seen.push(entry.file.path());
                entry.file.digest_sample(digest);
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

    /// Reads one weight with everything added that adaptations say.
    fn read_adapted(
        &self,
        name: &str,
        scales: &[f32],
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let deltas = self.deltas.get(name).map_or(&[][..], Vec::as_slice);
        let base = self.entry(name)?.read(DType::F32, &Device::Cpu)?;
        lora::adapted(&base, deltas, scales)?
            .to_dtype(dtype)?
            .to_device(device)
    }

    fn entry(&self, name: &str) -> candle_core::Result<&Entry> {
        self.entries.get(name).ok_or_else(|| {
            carried(Error::Weight {
                name: name.to_owned(),
                reason: "the model's files do not have it; a part of the download may be missing".to_owned(),
            })
        })
    }

    /// Gives the weights to a network, counting what is read. Adapted weights stay known to `adapters`.
    pub(crate) fn builder<'a>(
        &'a self,
        network: Network,
        dtype: DType,
        device: &Device,
        adapters: &'a Adapters,
        watch: &'a LoadWatch<'a>,
    ) -> VarBuilder<'a> {
        let source = Source {
            weights: self,
            network,
            adapters,
            watch,
        };
        VarBuilder::from_backend(Box::new(source), dtype, device.clone())
    }
}

/// [`Weights`] as candle's networks ask for them.
struct Source<'a> {
    weights: &'a Weights,
    network: Network,
    adapters: &'a Adapters,
    watch: &'a LoadWatch<'a>,
}

impl Source<'_> {
    /// A weight that adaptations change: its storage is shared with [`Adapters`], which can write it anew.
    fn adapted(
        &self,
        name: &str,
        shape: Option<&Shape>,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let scales = self.adapters.scales();
        let mut tensor = self.weights.read_adapted(name, &scales, dtype, device)?;
        if let Some(shape) = shape {
            tensor = fitted(tensor, shape, name)?;
        }
        if !self.adapters.is_shared(self.network) {
            return Ok(tensor);
        }
        let value = Var::from_tensor(&tensor)?;
        let shared = value.as_detached_tensor();
        self.adapters.add_live(LiveWeight {
            network: self.network,
            name: name.to_owned(),
            value,
        });
        Ok(shared)
    }

    fn read(
        &self,
        name: &str,
        shape: Option<&Shape>,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let entry = self.weights.entry(name)?;
        self.watch
            .advance(self.network.label(), entry.stored_bytes())
            .map_err(carried)?;
        if self.weights.deltas.contains_key(name) {
            return self.adapted(name, shape, dtype, device);
        }
        let tensor = entry.read(dtype, device)?;
        match shape {
            Some(shape) => fitted(tensor, shape, name),
            None => Ok(tensor),
        }
    }
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
        self.read(name, Some(&shape), dtype, device)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        self.read(name, None, dtype, device)
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use safetensors::Dtype;

    use super::{
        tensor_file::tests::{f32_bytes, file_bytes, parsed},
        *,
    };
    use crate::{Result, api::LoraSource, error::Doing as _};

    fn quietly<T>(run: impl FnOnce(&LoadWatch<'_>) -> T) -> T {
        let ignore = |_: LoadProgress<'_>| {};
        let cancel = false.into();
        run(&LoadWatch::new(&ignore, &cancel))
    }

    fn weights() -> Weights {
        let stacked: Vec<f32> = (0..12).map(|value| value as f32).collect();
        let file = Arc::new(
            parsed(file_bytes(&[
                ("stacked", &[6, 2], Dtype::F32, f32_bytes(&stacked)),
                (
                    "conv",
                    &[2, 2, 1, 1],
                    Dtype::F32,
                    f32_bytes(&[1.0, 2.0, 3.0, 4.0]),
                ),
            ]))
            .unwrap(),
        );
        let mut weights = Weights::default();
        weights.insert(
            "third.weight".to_owned(),
            &file,
            "stacked",
            Part::Slice { index: 2, count: 3 },
        );
        weights.insert("turned.weight".to_owned(), &file, "stacked", Part::Transposed);
        weights.insert("matrix.weight".to_owned(), &file, "conv", Part::Whole);
        weights
    }

    fn get(weights: &Weights, shape: &[usize], name: &str) -> Result<Vec<f32>> {
        quietly(|watch| {
            let adapters = Adapters::default();
            let vb = weights.builder(Network::Denoiser, DType::F32, &Device::Cpu, &adapters, watch);
            let tensor = vb.get(shape, name).doing("reading")?;
            Ok(tensor.flatten_all().unwrap().to_vec1().unwrap())
        })
    }

    #[test]
    fn parts_of_stored_tensors_are_cut_turned_and_reshaped() {
        let weights = weights();
        assert_eq!(
            get(&weights, &[2, 2], "third.weight").unwrap(),
            [8.0, 9.0, 10.0, 11.0]
        );
        assert_eq!(weights.shape("third.weight").unwrap(), [2, 2]);
        let turned = get(&weights, &[2, 6], "turned.weight").unwrap();
        assert_eq!(turned[..7], [0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 1.0]);
        assert_eq!(
            get(&weights, &[2, 2], "matrix.weight").unwrap(),
            [1.0, 2.0, 3.0, 4.0]
        );
    }

    #[test]
    fn missing_and_misshapen_weights_are_named() {
        let weights = weights();
        for (shape, name) in [(&[4, 2][..], "third.weight"), (&[2, 2], "absent.weight")] {
            match get(&weights, shape, name).unwrap_err() {
                Error::Weight { name: named, .. } => assert_eq!(named, name),
                other => panic!("{other}"),
            }
        }
    }

    #[test]
    fn loading_stops_when_it_is_cancelled() {
        let weights = weights();
        let ignore = |_: LoadProgress<'_>| {};
        let cancel = true.into();
        let watch = LoadWatch::new(&ignore, &cancel);
        let adapters = Adapters::default();
        let vb = weights.builder(Network::Denoiser, DType::F32, &Device::Cpu, &adapters, &watch);
        let error = vb.get((2, 2), "matrix.weight").doing("reading").unwrap_err();
        assert!(matches!(error, Error::Cancelled), "{error}");
    }

    /// A LoRA of rank 1 for `matrix.weight`: it adds `alpha / rank * up down`.
    fn lora(folder: &Path, name: &str, alpha: f32) -> LoraSource {
        let bytes = file_bytes(&[
            (
                "lora_unet_matrix.lora_down.weight",
                &[1, 2],
                Dtype::F32,
                f32_bytes(&[1.0, 10.0]),
            ),
            (
                "lora_unet_matrix.lora_up.weight",
                &[2, 1],
                Dtype::F32,
                f32_bytes(&[1.0, -1.0]),
            ),
            ("lora_unet_matrix.alpha", &[], Dtype::F32, f32_bytes(&[alpha])),
        ]);
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        LoraSource { path, scale: 1.0 }
    }

    #[test]
    fn loras_are_fused_and_can_be_retuned_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let mut sources = vec![
            lora(folder.path(), "one.safetensors", 2.0),
            lora(folder.path(), "two.safetensors", 1.0),
        ];
        sources[1].scale = 0.5;
        let mut networks = BTreeMap::from([(Network::Denoiser, Arc::new(weights()))]);
        let mut adapters = Adapters::attach(&sources, &mut networks).unwrap();
        let held = quietly(|watch| {
            let weights = &networks[&Network::Denoiser];
            let vb = weights.builder(Network::Denoiser, DType::F32, &Device::Cpu, &adapters, watch);
            vb.get((2, 2), "matrix.weight").unwrap()
        });
        let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values(&held), [1.0 + 2.5, 2.0 + 25.0, 3.0 - 2.5, 4.0 - 25.0]);

        // Trainers write over their files while they are tried.
        for source in &sources {
            std::fs::write(&source.path, "").unwrap();
        }
        sources[0].scale = 0.0;
        let done = Retuned::Done {
            outdated: BTreeSet::new(),
        };
        assert_eq!(adapters.retune(&sources).unwrap(), done);
        assert_eq!(values(&held), [1.0 + 0.5, 2.0 + 5.0, 3.0 - 0.5, 4.0 - 5.0]);
        sources[1].scale = 0.0;
        assert_eq!(adapters.retune(&sources).unwrap(), done);
        assert_eq!(values(&held), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(adapters.retune(&sources[..1]).unwrap(), Retuned::OtherFiles);
    }

    #[test]
    fn loras_that_do_not_fit_say_so() {
        let folder = tempfile::tempdir().unwrap();
        let attach = |tensors: &[(&str, &[usize], Dtype, Vec<u8>)]| {
            let path = folder.path().join("lora.safetensors");
            std::fs::write(&path, file_bytes(tensors)).unwrap();
            let mut networks = BTreeMap::from([(Network::Denoiser, Arc::new(weights()))]);
            Adapters::attach(&[LoraSource { path, scale: 1.0 }], &mut networks)
                .unwrap_err()
                .to_string()
        };
        let ones = |count: usize| f32_bytes(&vec![1.0; count]);
        let down = "lora_unet_matrix.lora_down.weight";
        let up = "lora_unet_matrix.lora_up.weight";
        let misshapen = attach(&[
            (down, &[1, 3], Dtype::F32, ones(3)),
            (up, &[2, 1], Dtype::F32, ones(2)),
        ]);
        assert!(misshapen.contains("matrix.weight"), "{misshapen}");
        let half = attach(&[(down, &[1, 2], Dtype::F32, ones(2))]);
        assert!(half.contains("only one"), "{half}");
        let foreign = attach(&[
            ("lora_unet_other.lora_down.weight", &[1, 2], Dtype::F32, ones(2)),
            ("lora_unet_other.lora_up.weight", &[2, 1], Dtype::F32, ones(2)),
        ]);
        assert!(foreign.contains("another family"), "{foreign}");
        let kind = attach(&[("lora_unet_matrix.hada_w1_a", &[1, 2], Dtype::F32, ones(2))]);
        assert!(kind.contains("LoHa"), "{kind}");
        let none = attach(&[("something", &[1], Dtype::F32, ones(1))]);
        assert!(none.contains("no LoRA"), "{none}");
    }
}
