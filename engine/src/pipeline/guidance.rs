//! Classifier-free guidance: away from the negative prompt.

use candle_core::{D, Result, Tensor};

/// How the negative prompts take part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassifierFree {
    /// How far away from the negative side; 1 has no effect.
    pub scale: f64,
    /// How much of the guided noise gets the deviation of the unguided one back, 0 to 1 (arXiv 2305.08891).
    pub rescale: f64,
    /// The negative side is computed even where it has no effect, as the reference's LCM pipeline does.
    pub is_always_computed: bool,
}

impl ClassifierFree {
    /// No negative side.
    pub const NONE: Self = Self {
        scale: 1.0,
        rescale: 0.0,
        is_always_computed: false,
    };

    /// Whether each row has a negative twin.
    pub fn doubles_rows(self) -> bool {
        self.is_always_computed || self.scale > 1.0
    }

    /// Noise away from the negative side; all are `[b, c, h, w]`.
    pub(super) fn apply(self, negative: &Tensor, positive: &Tensor) -> Result<Tensor> {
        let guided = (negative + ((positive - negative)? * self.scale)?)?;
        if self.rescale == 0.0 || self.scale <= 1.0 {
            return Ok(guided);
        }
        let ratio = (row_deviation(positive)? / row_deviation(&guided)?)?;
        let factor = ratio.affine(self.rescale, 1.0 - self.rescale)?;
        guided.broadcast_mul(&factor)
    }
}

/// The standard deviation of each row, `[b, 1, 1, 1]`.
fn row_deviation(values: &Tensor) -> Result<Tensor> {
    let rows = values.flatten_from(1)?;
    let shape = (rows.dim(0)?, 1, 1, 1);
    rows.var(D::Minus1)?.sqrt()?.reshape(shape)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn full_rescale_restores_the_deviation_of_the_positive_side() {
        let tensor = |seed: i64| {
            let values: Vec<f32> = (0..2 * 4 * 9)
                .map(|i| ((i * 37 + seed) % 17) as f32 / 7.0)
                .collect();
            Tensor::from_vec(values, (2, 4, 3, 3), &Device::Cpu).unwrap()
        };
        let (negative, positive) = (tensor(3), tensor(11));
        let guidance = ClassifierFree {
            scale: 7.5,
            rescale: 1.0,
            is_always_computed: false,
        };
        let guided = guidance.apply(&negative, &positive).unwrap();
        let deviations = |tensor: &Tensor| {
            row_deviation(tensor)
                .unwrap()
                .flatten_all()
                .unwrap()
                .to_vec1::<f32>()
                .unwrap()
        };
        for (a, b) in deviations(&guided).iter().zip(deviations(&positive)) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
    }
}
