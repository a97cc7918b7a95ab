//! What the processor could reach: the speed of our own fastest product.
use std::time::{Duration, Instant};

use half::bf16;

use super::{
    Isa, Team, Workers,
    bench::{numbers, rows},
    buffer::Buffer,
    element::Element,
    matmul::{Activation, Positions, Product, Residual, Source, Target, multiply},
    pack::{Columns, PackedMatrix},
};
use crate::api::Precision;

/// Rows, inner dimension and columns of products that fit the caches well; the fastest one counts.
const SIZES: [(usize, usize, usize); 4] = [
    (1024, 256, 512),
    (1024, 512, 512),
    (1024, 1024, 512),
    (2048, 512, 256),
];
/// How long each size is tried.
const TRIAL: Duration = Duration::from_millis(150);

/// A processor's speed in matrix products.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProcessorPeak {
    /// Billions of floating-point operations a second; a multiplication and its addition are two.
    pub gflops: f64,
    /// The instructions that were used.
    pub instructions: &'static str,
}

/// Measures the fastest matrix product of this program's own kernels.
///
/// It runs on `threads` threads, in a precision as networks on the processor compute it, and takes less than a second;
/// nothing else should run meanwhile.
pub fn processor_peak(precision: Precision, threads: usize) -> ProcessorPeak {
    let workers = Workers::new(threads);
    let best = SIZES.into_iter().map(|size| match precision {
        Precision::F32 => fastest::<f32>(&workers, size),
        Precision::F16 | Precision::Bf16 => fastest::<bf16>(&workers, size),
    });
    ProcessorPeak {
        gflops: best.fold(0.0, f64::max) / 1e9,
        instructions: Isa::best().name(),
    }
}

/// Operations a second in the best call.
fn fastest<E: Element>(workers: &Workers, (count, from, to): (usize, usize, usize)) -> f64 {
    let weights = PackedMatrix::<E>::new(Isa::best(), &numbers(to * from), to, &[from], Columns::Plain);
    let input: Buffer<E> = rows(count, from);
    let mut output = vec![0.0_f32; count * to];
    let mut best = Duration::MAX;
    let begun = Instant::now();
    while begun.elapsed() < TRIAL {
        let start = Instant::now();
        multiply(
            Team::Full(workers),
            Product {
                weights: &weights,
                images: 1,
                sources: &[Source::rows(input.get(), from)],
                positions: Positions::list(count),
                target: Target::list(&mut output),
                bias: &[],
                bias_image_stride: 0,
                residual: Residual::<f32>::None,
                activation: Activation::None,
            },
        );
        best = best.min(start.elapsed());
    }
    2.0 * (count * from * to) as f64 / best.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_computes_at_least_a_hundred_million_products_a_second() {
        let workers = Workers::new(1);
        assert!(fastest::<f32>(&workers, (64, 64, 64)) > 1e8);
    }
}
