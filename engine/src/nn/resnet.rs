//! Residual blocks and changes of resolution.

use candle_core::{Module as _, Result, Tensor};
use candle_nn::{Linear, VarBuilder};

use super::{
    After, Bias, Conv, ConvShape, conv, linear,
    norm::{GroupNorm, group_norm},
};
use crate::models::config::Activation;

/// What all residual blocks of a network share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResnetConfig {
    /// Width of the time embedding, for networks that have one.
    pub(crate) time_width: Option<usize>,
    /// Groups of the norms.
    pub(crate) norm_groups: usize,
    /// Epsilon of the norms.
    pub(crate) norm_eps: f64,
    /// Nonlinearity.
    pub(crate) activation: Activation,
}

/// Two normalised convolutions beside a shortcut, with the time embedding added between them.
#[derive(Debug)]
pub(crate) struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv,
    time: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv,
    shortcut: Option<Conv>,
    activation: Activation,
}

impl ResnetBlock {
    pub(crate) fn new(
        in_channels: usize,
        out_channels: usize,
        config: &ResnetConfig,
        vb: &VarBuilder<'_>,
    ) -> Result<Self> {
        let norm = |channels, name| group_norm(config.norm_groups, channels, config.norm_eps, &vb.pp(name));
        let time = config
            .time_width
            .map(|width| linear(width, out_channels, true, vb.pp("time_emb_proj")))
            .transpose()?;
        let shortcut = (in_channels != out_channels)
            .then(|| conv(in_channels, out_channels, 1, &vb.pp("conv_shortcut")))
            .transpose()?;
        Ok(Self {
            norm1: norm(in_channels, "norm1")?,
            conv1: conv(in_channels, out_channels, 3, &vb.pp("conv1"))?,
            time,
            norm2: norm(out_channels, "norm2")?,
            conv2: conv(out_channels, out_channels, 3, &vb.pp("conv2"))?,
            shortcut,
            activation: config.activation,
        })
    }

    /// # Shapes
    /// - `x`: `[b, in_channels, h, w]`
    /// - `time`: `[b, time_width]`, the nonlinearity applied already
    /// - returns `[b, out_channels, h, w]`
    pub(crate) fn forward(&self, x: &Tensor, time: Option<&Tensor>) -> Result<Tensor> {
        let time = match (&self.time, time) {
            (Some(projection), Some(time)) => Some(projection.forward(time)?), // [b, out_channels]
            _ => None,
        };
        let hidden = self.norm1.forward_then(self.activation, x)?;
        let with_time = After {
            row_bias: time.as_ref(),
            ..After::default()
        };
        let hidden = self.conv1.run(&hidden, with_time)?;
        let hidden = self.norm2.forward_then(self.activation, &hidden)?;
        let beside = match &self.shortcut {
            Some(shortcut) => &shortcut.forward(x)?,
            None => x,
        };
        let with_shortcut = After {
            residual: Some(beside),
            ..After::default()
        };
        self.conv2.run(&hidden, with_shortcut)
    }
}

/// Halves the resolution with a convolution of stride 2.
#[derive(Debug)]
pub(crate) struct Downsample {
    conv: Conv,
}

impl Downsample {
    /// `padding` 1 pads all around; 0 pads right and bottom only, as autoencoders do.
    pub(crate) fn new(channels: usize, padding: usize, vb: &VarBuilder<'_>) -> Result<Self> {
        let shape = ConvShape {
            kernel: 3,
            stride: 2,
            padding_before: padding,
            padding_after: 1,
        };
        Ok(Self {
            conv: Conv::new(channels, channels, shape, Bias::Some, &vb.pp("conv"))?,
        })
    }

    /// # Shapes
    /// `[b, c, h, w]` to `[b, c, ceil(h / 2), ceil(w / 2)]` (rounded down where only two sides are padded)
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.conv.forward(x)
    }
}

/// Repeats cells, then smooths them with a convolution.
#[derive(Debug)]
pub(crate) struct Upsample {
    conv: Conv,
}

impl Upsample {
    pub(crate) fn new(channels: usize, vb: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            conv: conv(channels, channels, 3, &vb.pp("conv"))?,
        })
    }

    /// To `height` x `width` cells: twice as many, or one less where the finer resolution was odd.
    ///
    /// # Shapes
    /// `[b, c, h, w]` to `[b, c, height, width]`
    pub(crate) fn forward(&self, x: &Tensor, size: (usize, usize)) -> Result<Tensor> {
        let seen_larger = After {
            size: Some(size),
            ..After::default()
        };
        self.conv.run(x, seen_larger)
    }
}
