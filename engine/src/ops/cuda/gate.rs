//! What follows a matrix product: the gate of a feed-forward part, a bias, a shortcut.

use candle_core::{DType, Result, Shape, Tensor, cpu::erf::erf_f32};

use super::operation::{
    Argument::{Input, Output, Whole},
    HELD, Launch, Operation, Plan, run,
};

struct Geglu {
    shape: Shape,
    inner: usize,
}

/// The first half of the channels times the GELU of the second, a bias added to both before.
///
/// # Shapes
/// - `x`: `[b, n, 2 c]`
/// - `bias`: `[2 c]`
/// - returns `[b, n, c]`
///
/// # Errors
/// If a tensor operation fails.
pub(crate) fn geglu(x: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (b, n, width) = x.dims3()?;
    let inner = width / 2;
    let operation = Geglu {
        shape: (b, n, inner).into(),
        inner,
    };
    run(operation, &[Some(x), bias])
}

impl Operation for Geglu {
    const NAME: &'static str = "geglu";

    fn shape(&self) -> Shape {
        self.shape.clone()
    }

    fn plan(&self, _: DType) -> Plan {
        let tokens = self.shape.elem_count() / self.inner.max(1);
        let arguments = vec![Input(0), Input(1), Output, Whole(tokens), Whole(self.inner)];
        Launch::for_each("geglu", tokens * self.inner.div_ceil(HELD), arguments).into()
    }

    fn twin(&self, inputs: &[Option<Vec<f32>>]) -> Vec<f32> {
        let [Some(x), bias] = inputs else {
            return Vec::new();
        };
        let bias = |channel: usize| bias.as_ref().map_or(0.0, |bias| bias[channel]);
        x.chunks_exact(2 * self.inner)
            .flat_map(|token| {
                (0..self.inner).map(move |c| {
                    let (value, gate) = (token[c] + bias(c), token[self.inner + c] + bias(self.inner + c));
                    value * 0.5 * gate * (1.0 + erf_f32(gate * std::f32::consts::FRAC_1_SQRT_2))
                })
            })
            .collect()
    }
}

struct Add {
    shape: Shape,
    channels: usize,
}

/// Adds a bias per channel and another tensor of the same shape; each may be missing.
///
/// # Shapes
/// - `x`, `residual`: `[.., c]`, returned in the same shape
/// - `bias`: `[c]`
///
/// # Errors
/// If a tensor operation fails.
pub(crate) fn add(x: &Tensor, bias: Option<&Tensor>, residual: Option<&Tensor>) -> Result<Tensor> {
    let channels = x.dim(candle_core::D::Minus1)?;
    let operation = Add {
        shape: x.shape().clone(),
        channels,
    };
    run(operation, &[Some(x), bias, residual])
}

impl Operation for Add {
    const NAME: &'static str = "add";

    fn shape(&self) -> Shape {
        self.shape.clone()
    }

    fn plan(&self, _: DType) -> Plan {
        let tokens = self.shape.elem_count() / self.channels.max(1);
        let arguments = [
            Input(0),
            Input(1),
            Input(2),
            Output,
            Whole(tokens),
            Whole(self.channels),
        ];
        Launch::for_each("add", tokens * self.channels.div_ceil(HELD), arguments.into()).into()
    }

    fn twin(&self, inputs: &[Option<Vec<f32>>]) -> Vec<f32> {
        let [Some(x), bias, residual] = inputs else {
            return Vec::new();
        };
        x.iter()
            .enumerate()
            .map(|(at, x)| {
                let bias = bias.as_ref().map_or(0.0, |bias| bias[at % self.channels]);
                x + bias + residual.as_ref().map_or(0.0, |residual| residual[at])
            })
            .collect()
    }
}
