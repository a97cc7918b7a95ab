//! Which model runs, where, and what became of it.

use std::{path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::tokenizer::PromptTokenizer;

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelSource {
    /// The small model embedded in the binary.
    Pocket,
    /// A diffusers folder or a single `.safetensors` checkpoint.
    Path(PathBuf),
    /// A full-size Stable Diffusion 1.5 with random weights: for measuring, not for painting.
    RandomSd15,
    /// A tiny deterministic stand-in without weights: for tests of everything around a model.
    Toy,
}

impl ModelSource {
    /// One that needs no files, by its name.
    pub fn built_in(name: &str) -> Option<Self> {
        [Self::Pocket, Self::RandomSd15, Self::Toy]
            .into_iter()
            .find(|source| source.built_in_name() == Some(name))
    }

    /// What one that needs no files is called in files and on the command line; `None` for a path.
    pub fn built_in_name(&self) -> Option<&'static str> {
        match self {
            Self::Pocket => Some("pocket"),
            Self::RandomSd15 => Some("random-sd15"),
            Self::Toy => Some("toy"),
            Self::Path(_) => None,
        }
    }
}

/// A low-rank adaptation to be fused into a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoraSource {
    /// A `.safetensors` file with kohya or diffusers/PEFT names.
    pub path: PathBuf,
    /// How strongly it acts; 1 is what it was trained for.
    pub scale: f32,
}

/// A model with what is added to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelChoice {
    /// The model itself.
    pub source: ModelSource,
    /// Adaptations, applied in order.
    #[serde(default)]
    pub loras: Vec<LoraSource>,
    /// A tiny autoencoder to decode with instead of the model's own.
    #[serde(default)]
    pub tiny_autoencoder: Option<PathBuf>,
}

impl ModelChoice {
    /// The model as it comes.
    pub fn plain(source: ModelSource) -> Self {
        Self {
            source,
            loras: Vec::new(),
            tiny_autoencoder: None,
        }
    }
}

/// Where the engine computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceChoice {
    /// The first graphics card that works, else the CPU.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// An NVIDIA card by number.
    Cuda(usize),
    /// An Apple GPU.
    Metal,
}

/// Number format of weights and activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// 16-bit IEEE floats.
    F16,
    /// 16-bit brain floats.
    Bf16,
}

/// What was loaded.
#[derive(Clone, Debug)]
pub struct ModelSummary {
    /// What was asked for.
    pub choice: ModelChoice,
    /// Name to show.
    pub name: String,
    /// Family, such as "Stable Diffusion 1.5".
    pub family: String,
    /// First ten hex digits of the SHA-256 of the denoiser's header, length and the beginning of every weight, to tell
    /// files apart.
    pub fingerprint: String,
    /// Side in pixels the model was trained for.
    pub native_side: u32,
    /// Side in pixels of the largest square that it computes; a canvas of a larger area is computed smaller and enlarged.
    pub largest_side: u32,
    /// Device it runs on, as shown to the user.
    pub device: String,
    /// Number format it runs in.
    pub precision: Precision,
    /// Parameters of the denoiser.
    pub parameters: u64,
    /// Counts the tokens of a prompt; cheap to call from any thread.
    pub tokenizer: Arc<PromptTokenizer>,
}
