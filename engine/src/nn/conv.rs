//! Convolution, with what follows it.

use candle_core::{DType, Module as _, Result, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, VarBuilder};

use crate::{
    models::config::Activation,
    ops::{
        self,
        cuda::{self, Convolution, End},
    },
};

/// How a square kernel goes over a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConvShape {
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    /// Zeros above and to the left.
    pub(crate) padding_before: usize,
    /// Zeros below and to the right.
    pub(crate) padding_after: usize,
}

impl ConvShape {
    /// Keeps the size.
    pub(crate) fn same(kernel: usize) -> Self {
        Self {
            kernel,
            stride: 1,
            padding_before: kernel / 2,
            padding_after: kernel / 2,
        }
    }
}

/// What a convolution is told besides its picture.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct After<'a> {
    /// Height and width that the picture is seen at, its pixels repeated.
    pub(crate) size: Option<(usize, usize)>,
    /// Added to each picture, `[b, out_channels]`.
    pub(crate) row_bias: Option<&'a Tensor>,
    /// Added to the result, of its shape.
    pub(crate) residual: Option<&'a Tensor>,
    /// Applied at the end.
    pub(crate) activation: Option<Activation>,
}

/// A convolution with a square kernel.
#[derive(Debug)]
pub(crate) struct Conv {
    shape: ConvShape,
    weights: Weights,
}

#[derive(Debug)]
enum Weights {
    Plain(Conv2d),
    /// As the kernels of a card want them.
    Packed {
        weight: Tensor,
        bias: Option<Tensor>,
    },
}

/// A square convolution that keeps the size.
pub(crate) fn conv(
    in_channels: usize,
    out_channels: usize,
    kernel: usize,
    vb: &VarBuilder<'_>,
) -> Result<Conv> {
    Conv::new(in_channels, out_channels, ConvShape::same(kernel), Bias::Some, vb)
}

/// Whether a convolution has a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bias {
    Some,
    None,
}

impl Conv {
    /// Reads the weights.
    pub(crate) fn new(
        in_channels: usize,
        out_channels: usize,
        shape: ConvShape,
        bias: Bias,
        vb: &VarBuilder<'_>,
    ) -> Result<Self> {
        let side = shape.kernel;
        let weight = vb.get((out_channels, in_channels, side, side), "weight")?;
        let bias = match bias {
            Bias::Some => Some(vb.get(out_channels, "bias")?),
            Bias::None => None,
        };
        let weights = if cuda::are_used_on(vb.device()) {
            Weights::Packed {
                weight: cuda::packed_weight(&weight)?,
                bias,
            }
        } else {
            // Where the two sides' zeros differ, the picture is enlarged by them first.
            let is_even = shape.padding_before == shape.padding_after;
            let config = Conv2dConfig {
                stride: shape.stride,
                padding: if is_even { shape.padding_before } else { 0 },
                ..Default::default()
            };
            Weights::Plain(Conv2d::new(weight, bias, config))
        };
        Ok(Self { shape, weights })
    }

    /// Number format of the weights.
    pub(crate) fn dtype(&self) -> DType {
        match &self.weights {
            Weights::Plain(conv) => conv.weight().dtype(),
            Weights::Packed { weight, .. } => weight.dtype(),
        }
    }

    /// # Shapes
    /// `[b, in_channels, h, w]` to `[b, out_channels, h', w']`
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.run(x, After::default())
    }

    /// As [`Self::forward`], with what follows.
    pub(crate) fn run(&self, x: &Tensor, after: After<'_>) -> Result<Tensor> {
        let (y, weight) = match &self.weights {
            Weights::Plain(conv) => (self.run_plainly(conv, x, after)?, conv.weight()),
            Weights::Packed { weight, bias } => (self.run_packed(weight, bias.as_ref(), x, after)?, weight),
        };
        // Each number of the result is a sum over a filter.
        ops::count(y.elem_count() * weight.elem_count() / weight.dim(0)?.max(1));
        Ok(y)
    }

    fn run_plainly(&self, conv: &Conv2d, x: &Tensor, after: After<'_>) -> Result<Tensor> {
        let mut x = match after.size {
            Some((height, width)) => x.upsample_nearest2d(height, width)?,
            None => x.clone(),
        };
        let ConvShape {
            padding_before,
            padding_after,
            ..
        } = self.shape;
        if padding_before != padding_after {
            x = x
                .pad_with_zeros(2, padding_before, padding_after)?
                .pad_with_zeros(3, padding_before, padding_after)?;
        }
        let mut y = conv.forward(&x)?;
        if let Some(bias) = after.row_bias {
            y = y.broadcast_add(&bias.unsqueeze(2)?.unsqueeze(3)?)?;
        }
        if let Some(residual) = after.residual {
            y = (residual + y)?;
        }
        match after.activation {
            Some(activation) => activation.apply(&y),
            None => Ok(y),
        }
    }

    fn run_packed(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        x: &Tensor,
        after: After<'_>,
    ) -> Result<Tensor> {
        let end = match after.activation {
            Some(Activation::Relu) => End::Relu,
            Some(Activation::Silu) => End::Silu,
            _ => End::Plain,
        };
        let both = match (after.row_bias, bias) {
            (Some(row_bias), Some(bias)) => Some(row_bias.broadcast_add(bias)?),
            (Some(row_bias), None) => Some(row_bias.clone()),
            (None, bias) => bias.cloned(),
        };
        let convolution = Convolution {
            kernel: self.shape.kernel,
            stride: self.shape.stride,
            padding_before: self.shape.padding_before,
            padding_after: self.shape.padding_after,
            end,
        };
        let y = cuda::convolve(convolution, x, after.size, weight, both.as_ref(), after.residual)?;
        match after.activation {
            Some(activation) if end == End::Plain => activation.apply(&y),
            _ => Ok(y),
        }
    }
}
