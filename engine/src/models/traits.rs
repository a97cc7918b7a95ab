//! What the stream needs of a model; it never knows which family it runs.

use std::{any::Any, sync::Arc};

use candle_core::{DType, Device, Result, Tensor};

use crate::{
    api::LoraSource,
    tokenizer::PromptTokenizer,
    weights::{Adapters, Network, Retuned},
};

/// What a denoiser's output means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prediction {
    /// The noise.
    Epsilon,
    /// The velocity; the stream turns it into noise by the schedule's alphas.
    V,
}

/// Which sampler the weights were made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SamplerKind {
    /// Latent consistency model.
    Lcm,
    /// Euler with trailing spacing (Turbo and Lightning models).
    EulerTrailing,
}

/// The facts of a model that the stream computes with.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSpec {
    /// Channels of a latent (4).
    pub latent_channels: usize,
    /// Pixels per latent cell on each side (8).
    pub downscale: usize,
    /// Meaning of the denoiser's output.
    pub prediction: Prediction,
    /// Side in pixels the model was trained for.
    pub native_side: u32,
    /// Side in pixels of the largest square that it is shown; canvases with more pixels are computed smaller and enlarged.
    pub largest_side: u32,
    /// Sampler.
    pub sampler: SamplerKind,
    /// Whether rows carry pooled text embeddings and time ids (SDXL).
    pub has_added_conditioning: bool,
    /// First and last beta and the number of training steps of the noise schedule ("scaled linear").
    pub beta_start: f64,
    /// See `beta_start`.
    pub beta_end: f64,
    /// See `beta_start`.
    pub train_steps: usize,
}

/// An encoded prompt.
#[derive(Clone, Debug)]
pub struct Conditioning {
    /// Text embeddings, `[n, d]`.
    pub context: Tensor,
    /// Pooled embedding of the second encoder, `[e]` (SDXL).
    pub pooled: Option<Tensor>,
    /// Original height, width, crop top, crop left, target height, width (SDXL).
    pub time_ids: Option<[f32; 6]>,
}

/// A prompt as the denoiser wants it: cross-attention keys and values of every layer, computed once per prompt.
#[derive(Clone)]
pub struct PreparedPrompt(pub Arc<dyn Any + Send + Sync>);

/// One row of a denoiser's batch.
#[derive(Clone)]
pub struct Row<'a> {
    /// Timestep on the training schedule, 0 to 999; fractions are possible.
    pub timestep: f64,
    /// What this row shows.
    pub prompt: &'a PreparedPrompt,
}

/// Prompts to embeddings.
pub trait TextEncoder: Send + Sync {
    /// Encodes one prompt.
    ///
    /// # Errors
    /// If a tensor operation fails.
    fn encode(&self, prompt: &str) -> Result<Conditioning>;

    /// The tokenizer whose counts the user is shown.
    fn tokenizer(&self) -> Arc<PromptTokenizer>;
}

/// Predicts noise (or velocity), each row at its own timestep.
pub trait Denoiser: Send {
    /// Computes what depends on the prompt alone.
    ///
    /// # Errors
    /// If a tensor operation fails.
    fn prepare(&self, conditioning: &Conditioning) -> Result<PreparedPrompt>;

    /// Predicts a batch.
    ///
    /// # Shapes
    /// - `latents`: `[b, c, h, w]` with `rows.len() == b`
    /// - returns `[b, c, h, w]`
    ///
    /// # Errors
    /// If a tensor operation fails or a prompt was prepared by another denoiser.
    fn predict(&mut self, latents: &Tensor, rows: &[Row<'_>]) -> Result<Tensor>;
}

/// Pictures to latents and back.
///
/// Pictures are `[b, 3, H, W]` in -1..1, latents `[b, c, h, w]` as the denoiser sees them (scaling factor applied). Either
/// may come in any number format; the result has the same.
pub trait ImageCodec: Send {
    /// Encodes pictures. `noise` has the latent's shape and is used by codecs that sample (AutoencoderKL); `None`
    /// takes the mode.
    ///
    /// # Errors
    /// If a tensor operation fails.
    fn encode(&self, pictures: &Tensor, noise: Option<&Tensor>) -> Result<Tensor>;

    /// Decodes latents.
    ///
    /// # Errors
    /// If a tensor operation fails.
    fn decode(&mut self, latents: &Tensor) -> Result<Tensor>;

    /// Decodes in smaller pieces from now on, which takes less memory. `false` if they get no smaller.
    fn halve_pieces(&mut self) -> bool {
        false
    }
}

/// A loaded model.
pub struct ModelParts {
    /// Facts.
    pub spec: ModelSpec,
    /// Text encoder, shared with the thread that encodes off the stream's path.
    pub text_encoder: Arc<dyn TextEncoder>,
    /// Denoiser.
    pub denoiser: Box<dyn Denoiser>,
    /// Codec that decodes every frame.
    pub codec: Box<dyn ImageCodec>,
    /// Where tensors live.
    pub device: Device,
    /// Number format of latents.
    pub dtype: DType,
    /// What was added to the weights, to be changed without loading the model again.
    pub adapters: Adapters,
    /// Makes networks anew that hold copies of their weights.
    pub(crate) rebuild: Option<Rebuild>,
}

/// Makes networks with what adaptations say now.
pub(crate) struct Rebuild {
    /// The denoiser.
    pub(crate) denoiser: Maker<Box<dyn Denoiser>>,
    /// The text encoder; both of them where there are two.
    pub(crate) text_encoder: Maker<Arc<dyn TextEncoder>>,
}

/// Makes one network.
pub(crate) type Maker<T> = Box<dyn Fn(&Adapters) -> crate::Result<T> + Send>;

impl ModelParts {
    /// Changes how strongly the model's LoRAs act, without loading the model again.
    ///
    /// Returns `false`, with nothing changed, if `loras` names other files: then the model must be loaded again. After
    /// a change, prompts must be encoded and prepared anew.
    ///
    /// # Errors
    /// If a file cannot be read any more, or the device has no room; then all is as it was before.
    pub fn retune(&mut self, loras: &[LoraSource]) -> crate::Result<bool> {
        let before = self.adapters.sources().to_vec();
        let tuned = self.retuned(loras);
        if tuned.is_err() {
            self.adapters.restore(&before);
        }
        tuned
    }

    fn retuned(&mut self, loras: &[LoraSource]) -> crate::Result<bool> {
        let Retuned::Done { outdated } = self.adapters.retune(loras)? else {
            return Ok(false);
        };
        let Some(rebuild) = &self.rebuild else {
            return Ok(true);
        };
        let is_outdated = |networks: &[Network]| networks.iter().any(|network| outdated.contains(network));
        let denoiser = is_outdated(&[Network::Denoiser]).then(|| (rebuild.denoiser)(&self.adapters));
        let texts = [Network::TextEncoder, Network::TextEncoder2];
        let text_encoder = is_outdated(&texts).then(|| (rebuild.text_encoder)(&self.adapters));
        // Both or none.
        let (denoiser, text_encoder) = (denoiser.transpose()?, text_encoder.transpose()?);
        if let Some(denoiser) = denoiser {
            self.denoiser = denoiser;
        }
        if let Some(text_encoder) = text_encoder {
            self.text_encoder = text_encoder;
        }
        Ok(true)
    }
}
