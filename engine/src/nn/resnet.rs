//! Residual blocks and changes of resolution.

use candle_core::{Module as _, Result, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, Linear, VarBuilder};

use super::{
    conv, linear,
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
    conv1: Conv2d,
    time: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
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
            .then(|| conv(in_channels, out_channels, 1, vb.pp("conv_shortcut")))
            .transpose()?;
        Ok(Self {
            norm1: norm(in_channels, "norm1")?,
            conv1: conv(in_channels, out_channels, 3, vb.pp("conv1"))?,
            time,
            norm2: norm(out_channels, "norm2")?,
            conv2: conv(out_channels, out_channels, 3, vb.pp("conv2"))?,
            shortcut,
            activation: config.activation,
        })
    }

    /// # Shapes
    /// - `x`: `[b, in_channels, h, w]`
    /// - `time`: `[b, time_width]`, the nonlinearity applied already
    /// - returns `[b, out_channels, h, w]`
    pub(crate) fn forward(&self, x: &Tensor, time: Option<&Tensor>) -> Result<Tensor> {
        let mut hidden = self.activation.apply(&self.norm1.forward(x)?)?;
        hidden = self.conv1.forward(&hidden)?;
        if let (Some(projection), Some(time)) = (&self.time, time) {
            let time = projection.forward(time)?; // [b, out_channels]
            hidden = hidden.broadcast_add(&time.unsqueeze(2)?.unsqueeze(3)?)?;
        }
        hidden = self.activation.apply(&self.norm2.forward(&hidden)?)?;
        hidden = self.conv2.forward(&hidden)?;
        match &self.shortcut {
            Some(shortcut) => shortcut.forward(x)? + hidden,
            None => x + hidden,
        }
    }
}

/// Halves the resolution with a convolution of stride 2.
#[derive(Debug)]
pub(crate) struct Downsample {
    conv: Conv2d,
    pads_right_and_bottom: bool,
}

impl Downsample {
    /// `padding` 1 pads all around; 0 pads right and bottom only, as autoencoders do.
    pub(crate) fn new(channels: usize, padding: usize, vb: &VarBuilder<'_>) -> Result<Self> {
        let config = Conv2dConfig {
            padding,
            stride: 2,
            ..Default::default()
        };
        Ok(Self {
            conv: candle_nn::conv2d(channels, channels, 3, config, vb.pp("conv"))?,
            pads_right_and_bottom: padding == 0,
        })
    }

    /// # Shapes
    /// `[b, c, h, w]` to `[b, c, ceil(h / 2), ceil(w / 2)]` (rounded down where only two sides are padded)
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if self.pads_right_and_bottom {
            let x = x.pad_with_zeros(2, 0, 1)?.pad_with_zeros(3, 0, 1)?;
            self.conv.forward(&x)
        } else {
            self.conv.forward(x)
        }
    }
}

/// Repeats cells, then smooths them with a convolution.
#[derive(Debug)]
pub(crate) struct Upsample {
    conv: Conv2d,
}

impl Upsample {
    pub(crate) fn new(channels: usize, vb: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            conv: conv(channels, channels, 3, vb.pp("conv"))?,
        })
    }

    /// To `height` x `width` cells: twice as many, or one less where the finer resolution was odd.
    ///
    /// # Shapes
    /// `[b, c, h, w]` to `[b, c, height, width]`
    pub(crate) fn forward(&self, x: &Tensor, (height, width): (usize, usize)) -> Result<Tensor> {
        self.conv.forward(&x.upsample_nearest2d(height, width)?)
    }
}
