//! Weights from files into packed form.
use candle_core::{DType, Result, Shape};
use candle_nn::VarBuilder;

use crate::ops::{
    Isa,
    element::Element,
    pack::{Columns, PackedMatrix},
};

/// A place in the file with what is needed to pack what is found there.
#[derive(Clone)]
pub(super) struct Loader<'a> {
    weights: VarBuilder<'a>,
    pub(super) isa: Isa,
}

impl<'a> Loader<'a> {
    pub(super) fn new(weights: VarBuilder<'a>, isa: Isa) -> Self {
        Self { weights, isa }
    }

    /// The place `name` below this one.
    pub(super) fn at(&self, name: impl std::fmt::Display) -> Self {
        let mut weights = self.weights.clone();
        for part in name.to_string().split('.') {
            weights = weights.pp(part);
        }
        Self {
            weights,
            isa: self.isa,
        }
    }

    /// Whether there is a tensor of this name here.
    pub(super) fn has(&self, name: &str) -> bool {
        self.weights.contains_tensor(name)
    }

    /// A tensor of exactly this shape, row-major.
    pub(super) fn tensor(&self, shape: impl Into<Shape>, name: &str) -> Result<Vec<f32>> {
        let tensor = self.weights.get(shape.into(), name)?;
        tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
    }

    /// The matrix `[n, k]` of a linear layer or a 1x1 convolution.
    pub(super) fn matrix(&self, n: usize, k: usize) -> Result<Vec<f32>> {
        match self.weights.get((n, k), "weight") {
            Ok(tensor) => tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1(),
            Err(_not_linear) => self.tensor((n, k, 1, 1), "weight"),
        }
    }

    pub(super) fn bias(&self, n: usize) -> Result<Vec<f32>> {
        self.tensor(n, "bias")
    }

    /// The matrix `[n, k]`, packed.
    pub(super) fn packed<E: Element>(&self, n: usize, k: usize, columns: Columns) -> Result<PackedMatrix<E>> {
        Ok(PackedMatrix::new(self.isa, &self.matrix(n, k)?, n, &[k], columns))
    }

    /// The weights of a 3x3 convolution as `[to, 3, 3, from]`.
    pub(super) fn taps(&self, to: usize, from: usize) -> Result<Vec<f32>> {
        let weights = self.tensor((to, from, 3, 3), "weight")?;
        let mut taps = vec![0.0; weights.len()];
        for (out, weights) in taps
            .chunks_exact_mut(9 * from)
            .zip(weights.chunks_exact(9 * from))
        {
            for (channel, kernel) in weights.chunks_exact(9).enumerate() {
                for (tap, &weight) in kernel.iter().enumerate() {
                    out[tap * from + channel] = weight;
                }
            }
        }
        Ok(taps)
    }
}
