//! Norms whose statistics stay exact on large and flat pictures.

use candle_core::{D, DType, Module, Result, Tensor};
use candle_nn::VarBuilder;

use crate::{models::config::Activation, ops::cuda};

/// Normalises groups of channels to mean 0 and variance 1, then scales and shifts each channel.
///
/// Sums run line by line, and the mean is corrected once: otherwise a large or flat picture's rounding errors, divided by
/// its small deviation, would show.
#[derive(Clone, Debug)]
pub(crate) struct GroupNorm {
    groups: usize,
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

/// Reads the weights of a norm over `channels` channels.
pub(crate) fn group_norm(groups: usize, channels: usize, eps: f64, vb: &VarBuilder<'_>) -> Result<GroupNorm> {
    if groups == 0 || !channels.is_multiple_of(groups) {
        candle_core::bail!("{channels} channels cannot be normalised in {groups} groups");
    }
    Ok(GroupNorm {
        groups,
        weight: vb.get(channels, "weight")?.reshape((1, channels, 1, 1))?,
        bias: vb.get(channels, "bias")?.reshape((1, channels, 1, 1))?,
        eps,
    })
}

impl GroupNorm {
    /// The norm with a nonlinearity behind it.
    ///
    /// # Shapes
    /// - `x`: `[b, c, h, w]`, returned in the same shape
    pub(crate) fn forward_then(&self, activation: Activation, x: &Tensor) -> Result<Tensor> {
        if activation == Activation::Silu && cuda::are_used_on(x.device()) {
            self.on_card(x, true)
        } else {
            activation.apply(&self.forward(x)?)
        }
    }

    fn on_card(&self, x: &Tensor, has_silu: bool) -> Result<Tensor> {
        let (weight, bias) = (self.weight.flatten_all()?, self.bias.flatten_all()?);
        cuda::group_norm(x, self.groups, (&weight, &bias), self.eps, has_silu)
    }
}

impl Module for GroupNorm {
    /// # Shapes
    /// - `x`: `[b, c, h, w]`, returned in the same shape
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if cuda::are_used_on(x.device()) {
            return self.on_card(x, false);
        }
        let (b, c, h, w) = x.dims4()?;
        let (width, precise) = (
            c / self.groups,
            if x.dtype() == DType::F64 {
                DType::F64
            } else {
                DType::F32
            },
        );
        let lines = width * h;
        let values = x.to_dtype(precise)?.reshape((b, self.groups, lines, w))?;
        let mean = |values: &Tensor| -> Result<Tensor> {
            values.sum_keepdim(3)?.sum_keepdim(2)? / (lines * w) as f64
        };
        let centred = values.broadcast_sub(&mean(&values)?)?;
        // The first mean is rounded to the precision of the values, which a flat picture's deviation may be far below.
        let rest = mean(&centred)?; // [b, groups, 1, 1]
        let variance = (mean(&centred.sqr()?)? - rest.sqr()?)?;
        let per_channel = |tensor: &Tensor| tensor.to_dtype(precise)?.reshape((1, self.groups, width, 1));
        let scale = per_channel(&self.weight)?.broadcast_div(&(variance + self.eps)?.sqrt()?)?;
        let shift = per_channel(&self.bias)?.broadcast_sub(&scale.broadcast_mul(&rest)?)?;
        centred
            .reshape((b, c, h, w))?
            .broadcast_mul(&scale.reshape((b, c, 1, 1))?)?
            .broadcast_add(&shift.reshape((b, c, 1, 1))?)?
            .to_dtype(x.dtype())
    }
}

/// Normalises each token to mean 0 and variance 1, then scales and shifts each channel.
///
/// The variance is that of the centred values; as a difference of two means it would lose what nearly equal channels
/// differ by.
#[derive(Clone, Debug)]
pub(crate) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

/// Reads the weights of a norm over `channels` channels.
pub(crate) fn layer_norm(channels: usize, eps: f64, vb: &VarBuilder<'_>) -> Result<LayerNorm> {
    Ok(LayerNorm {
        weight: vb.get(channels, "weight")?,
        bias: vb.get(channels, "bias")?,
        eps,
    })
}

impl Module for LayerNorm {
    /// # Shapes
    /// - `x`: `[.., c]`, returned in the same shape
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if cuda::are_used_on(x.device()) {
            return cuda::layer_norm(x, (&self.weight, &self.bias), self.eps);
        }
        let precise = if x.dtype() == DType::F64 {
            DType::F64
        } else {
            DType::F32
        };
        let values = x.to_dtype(precise)?;
        let centred = values.broadcast_sub(&values.mean_keepdim(D::Minus1)?)?;
        let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
        centred
            .broadcast_div(&(variance + self.eps)?.sqrt()?)?
            .to_dtype(x.dtype())?
            .broadcast_mul(&self.weight)?
            .broadcast_add(&self.bias)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn a_large_flat_picture_is_normalised_as_in_double_precision() {
        // Nearly flat and far from 0, like the activations of a white picture.
        let values: Vec<f64> = (0..2 * 256 * 256)
            .map(|i| 40.0 + f64::from(i % 97) * 1e-3)
            .collect();
        let x = Tensor::from_vec(values, (1, 2, 256, 256), &Device::Cpu).unwrap();
        let norm = |dtype| GroupNorm {
            groups: 1,
            weight: Tensor::ones((1, 2, 1, 1), dtype, &Device::Cpu).unwrap(),
            bias: Tensor::zeros((1, 2, 1, 1), dtype, &Device::Cpu).unwrap(),
            eps: 1e-6,
        };
        let expected = norm(DType::F64).forward(&x).unwrap();
        let found = norm(DType::F32)
            .forward(&x.to_dtype(DType::F32).unwrap())
            .unwrap();
        let worst = (found.to_dtype(DType::F64).unwrap() - expected)
            .unwrap()
            .abs()
            .unwrap()
            .max_all()
            .unwrap()
            .to_scalar::<f64>()
            .unwrap();
        // Inputs of 40 are rounded to 2e-6, which is 7e-5 of their deviation of 0.028.
        assert!(worst < 3e-4, "{worst}");
    }
}
