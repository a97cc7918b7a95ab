//! Layers that several networks share.
//!
//! Plain and exact: every layer does what its counterpart in diffusers does, on any device. Where speed matters, a
//! faster executor of the same weights is measured against these, and on an NVIDIA card the layers are made of the kernels
//! of [`crate::ops::cuda`].

mod attention;
mod conv;
mod embeddings;
mod norm;
mod resnet;
mod trace;

use candle_core::{Module as _, Result, Tensor};
use candle_nn::{Linear, VarBuilder};

pub(crate) use attention::{AttentionMask, attend};
pub(crate) use conv::{After, Bias, Conv, ConvShape, conv};
pub(crate) use embeddings::{TimestepEmbedding, sinusoids};
pub(crate) use norm::{GroupNorm, LayerNorm, group_norm, layer_norm};
pub(crate) use resnet::{Downsample, ResnetBlock, ResnetConfig, Upsample};
pub use trace::Trace;

use crate::{
    models::config::Activation,
    ops::{self, cuda},
};

impl Activation {
    /// Applies it to every value.
    pub(crate) fn apply(self, x: &Tensor) -> Result<Tensor> {
        if x.rank() == 4 && cuda::are_used_on(x.device()) {
            // Channels-last in, channels-last out.
            return cuda::channels_first(&self.apply_plainly(&cuda::channels_last(x)?)?);
        }
        self.apply_plainly(x)
    }

    fn apply_plainly(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Silu => x.silu(),
            Self::Gelu => x.gelu_erf(),
            Self::QuickGelu => x * candle_nn::ops::sigmoid(&(x * 1.702)?)?,
            Self::Relu => x.relu(),
        }
    }
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

/// A matrix applied to tokens, with what the result is added to.
///
/// # Shapes
/// - `x`: `[b, n, c]`
/// - `residual`: `[b, n, c']`
/// - returns `[b, n, c']`
pub(crate) fn linear_onto(matrix: &Linear, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
    if cuda::are_used_on(x.device()) {
        cuda::add(&product(matrix, x)?, matrix.bias(), Some(residual))
    } else {
        residual + apply(matrix, x)?
    }
}

/// A matrix applied to tokens.
pub(crate) fn apply(matrix: &Linear, x: &Tensor) -> Result<Tensor> {
    let columns = matrix.weight().dim(0)?;
    ops::count(x.elem_count() * columns);
    matrix.forward(x)
}

/// A matrix applied to tokens, without its bias.
pub(crate) fn product(matrix: &Linear, x: &Tensor) -> Result<Tensor> {
    apply(&Linear::new(matrix.weight().clone(), None), x)
}

/// The cells of a picture as tokens.
///
/// # Shapes
/// `[b, c, h, w]` to `[b, h * w, c]`
pub(crate) fn cells_of_picture(x: &Tensor) -> Result<Tensor> {
    let (b, c, h, w) = x.dims4()?;
    cuda::channels_last(x)?.reshape((b, h * w, c))
}

/// Tokens as the cells of a picture again.
///
/// # Shapes
/// `[b, h * w, c]` to `[b, c, h, w]`
pub(crate) fn picture_of_cells(x: &Tensor, (h, w): (usize, usize)) -> Result<Tensor> {
    let (b, _, c) = x.dims3()?;
    let picture = cuda::channels_first(&x.reshape((b, h, w, c))?)?;
    if cuda::are_used_on(x.device()) {
        Ok(picture)
    } else {
        picture.contiguous()
    }
}

/// Two pictures as one, the channels of the first before those of the second.
pub(crate) fn join_channels(first: &Tensor, second: &Tensor) -> Result<Tensor> {
    if cuda::are_used_on(first.device()) {
        let joined = Tensor::cat(&[cuda::channels_last(first)?, cuda::channels_last(second)?], 3)?;
        cuda::channels_first(&joined)
    } else {
        Tensor::cat(&[first, second], 1)
    }
}
