//! Networks of the Stable Diffusion kind on the processor, on the kernels of `crate::ops`.
//!
//! The same files and configurations as the plain networks, computed another way: pictures stay channels-last from the
//! first layer to the last, weights are packed when a model is loaded, and a prompt's keys and values when it is
//! prepared. Once a size has been computed, a prediction or a decoding asks for no memory but that of the tensor it gives
//! back (`engine/tests/allocations.rs` counts). Rows of a batch are computed by different threads where there are enough
//! of them, and by all threads together where there are not.
//!
//! ```text
//! CpuUnet ─────────────▶ unet ──┐
//! CpuTinyAutoencoder ──▶ tiny ──┼──▶ layers ──▶ ops
//! CpuTextEncoder ──────▶ clip ──┘       └──▶ load: weights from a VarBuilder, packed
//! ```
mod clip;
mod layers;
mod load;
#[cfg(test)]
mod parity;
mod tiny;
mod unet;
mod values;

pub(crate) use clip::{CpuClip, CpuTextEncoder};
pub(crate) use tiny::CpuTinyAutoencoder;
pub(crate) use unet::CpuUnet;

use std::sync::Arc;

use candle_core::{Error, Result};
use candle_nn::VarBuilder;

use super::{
    config::{ClipConfig, CodecConfig, UNetConfig},
    traits::{Denoiser, ImageCodec, TextEncoder},
};
use crate::{api::Precision, ops::Workers, tokenizer::PromptTokenizer};

/// Number format of matrix products on the processor; everything between them is `f32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuPrecision {
    /// Exact to rounding.
    F32,
    /// Inputs of products rounded to eight bits of mantissa: several times faster where the processor has
    /// instructions for it.
    Bf16,
}

impl From<Precision> for CpuPrecision {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::F16 | Precision::Bf16 => Self::Bf16,
        }
    }
}

/// A UNet on the processor, from the text of its `config.json` and its weights.
///
/// # Errors
/// If the configuration or the weights cannot be used.
pub fn cpu_denoiser(
    config: &[u8],
    weights: VarBuilder<'_>,
    precision: CpuPrecision,
    workers: Arc<Workers>,
) -> Result<Box<dyn Denoiser>> {
    let config = UNetConfig::from_json(config).map_err(Error::msg)?;
    Ok(Box::new(CpuUnet::load(&config, weights, precision, workers)?))
}

/// An `AutoencoderTiny` on the processor, from the text of its `config.json` and its weights.
///
/// # Errors
/// If the configuration or the weights cannot be used, or belong to another kind of autoencoder.
pub fn cpu_tiny_autoencoder(
    config: &[u8],
    weights: VarBuilder<'_>,
    precision: CpuPrecision,
    workers: Arc<Workers>,
) -> Result<Box<dyn ImageCodec>> {
    let CodecConfig::Tiny(config) = CodecConfig::from_json(config).map_err(Error::msg)? else {
        return Err(Error::msg("this is no tiny autoencoder"));
    };
    Ok(Box::new(CpuTinyAutoencoder::load(
        &config, weights, precision, workers,
    )?))
}

/// A CLIP text encoder on the processor, from the text of its `config.json`, its tokenizer and its weights.
///
/// # Errors
/// If the configuration or the weights cannot be used.
pub fn cpu_text_encoder(
    config: &[u8],
    tokenizer: Arc<PromptTokenizer>,
    weights: VarBuilder<'_>,
    precision: CpuPrecision,
    workers: Arc<Workers>,
) -> Result<Box<dyn TextEncoder>> {
    let config = ClipConfig::from_json(config).map_err(Error::msg)?;
    Ok(Box::new(CpuTextEncoder {
        first: CpuClip::load(&config, tokenizer, weights, precision, workers)?,
        second: None,
    }))
}
