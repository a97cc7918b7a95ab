//! Layers that several networks share.
//!
//! Plain and exact: every layer does what its counterpart in diffusers does, on any device. Where speed matters, a
//! faster executor of the same weights is measured against these.

mod attention;
mod embeddings;
mod norm;
mod resnet;
mod trace;

use candle_core::{Result, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, Linear, VarBuilder};

pub(crate) use attention::{AttentionMask, attend};
pub(crate) use embeddings::{TimestepEmbedding, sinusoids};
pub(crate) use norm::{GroupNorm, LayerNorm, group_norm, layer_norm};
pub(crate) use resnet::{Downsample, ResnetBlock, ResnetConfig, Upsample};
pub use trace::Trace;

use crate::models::config::Activation;

impl Activation {
    /// Applies it to every value.
    pub(crate) fn apply(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Silu => x.silu(),
            Self::Gelu => x.gelu_erf(),
            Self::QuickGelu => x * candle_nn::ops::sigmoid(&(x * 1.702)?)?,
            Self::Relu => x.relu(),
        }
    }
}

/// A square convolution that keeps the size.
pub(crate) fn conv(
    in_channels: usize,
    out_channels: usize,
    kernel: usize,
    vb: VarBuilder<'_>,
) -> Result<Conv2d> {
    let config = Conv2dConfig {
        padding: kernel / 2,
        ..Default::default()
    };
    candle_nn::conv2d(in_channels, out_channels, kernel, config, vb)
}

/// A matrix with or without bias.
pub(crate) fn linear(
    in_width: usize,
    out_width: usize,
    has_bias: bool,
    vb: VarBuilder<'_>,
) -> Result<Linear> {
    if has_bias {
        candle_nn::linear(in_width, out_width, vb)
    } else {
        candle_nn::linear_no_bias(in_width, out_width, vb)
    }
}
