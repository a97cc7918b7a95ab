//! Numbers as vectors: sinusoids, and the small network behind them.

use candle_core::{DType, Device, Module as _, Result, Tensor};
use candle_nn::{Linear, VarBuilder};

use super::linear;
use crate::models::config::Activation;

/// Sinusoids of each number, as diffusers' `get_timestep_embedding` makes them.
///
/// `shift` is taken from the number of frequencies in the exponent's denominator.
///
/// # Shapes
/// - `numbers`: `n` values
/// - returns `[n, width]`
///
/// # Errors
/// If a tensor operation fails.
pub(crate) fn sinusoids(
    numbers: &[f64],
    width: usize,
    cosine_first: bool,
    shift: f64,
    dtype: DType,
    device: &Device,
) -> Result<Tensor> {
    let half = width / 2;
    let mut values = Vec::with_capacity(numbers.len() * width);
    for &number in numbers {
        let angle = |index: usize| {
            // In 32 bits, as the networks were trained with them.
            let exponent = -(10_000f32.ln()) * index as f32 / (half as f64 - shift) as f32;
            f64::from(number as f32 * exponent.exp())
        };
        let sines = (0..half).map(|index| angle(index).sin() as f32);
        let cosines = (0..half).map(|index| angle(index).cos() as f32);
        if cosine_first {
            values.extend(cosines.chain(sines));
        } else {
            values.extend(sines.chain(cosines));
        }
        values.extend((2 * half..width).map(|_| 0.0));
    }
    Tensor::from_vec(values, (numbers.len(), width), device)?.to_dtype(dtype)
}

/// Two matrices with a nonlinearity between them.
#[derive(Debug)]
pub(crate) struct TimestepEmbedding {
    first: Linear,
    second: Linear,
    activation: Activation,
}

impl TimestepEmbedding {
    pub(crate) fn new(
        in_width: usize,
        out_width: usize,
        activation: Activation,
        vb: &VarBuilder<'_>,
    ) -> Result<Self> {
        Ok(Self {
            first: linear(in_width, out_width, true, vb.pp("linear_1"))?,
            second: linear(out_width, out_width, true, vb.pp("linear_2"))?,
            activation,
        })
    }

    /// # Shapes
    /// - `x`: `[b, in_width]`
    /// - returns `[b, out_width]`
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.activation.apply(&self.first.forward(x)?)?;
        self.second.forward(&x)
    }
}
