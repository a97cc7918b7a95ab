//! Weights made up on the fly, for measuring a model without having it.

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::{Init, VarBuilder, var_builder::SimpleBackend};
use rayon::prelude::*;

use super::LoadWatch;
use crate::error::carried;

/// Values that one task makes.
const CHUNK: usize = 1 << 16;

/// Makes every weight that a network asks for, the same at every start: norms do nothing, biases are zero, and matrices
/// keep the size of what goes through them, so that nothing overflows.
pub(crate) fn random_weights<'a>(
    what: &'a str,
    dtype: DType,
    device: &Device,
    watch: &'a LoadWatch<'a>,
) -> VarBuilder<'a> {
    VarBuilder::from_backend(Box::new(Source { what, watch }), dtype, device.clone())
}

struct Source<'a> {
    what: &'a str,
    watch: &'a LoadWatch<'a>,
}

impl SimpleBackend for Source<'_> {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _hint: Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let bytes = (shape.elem_count() * dtype.size_in_bytes()) as u64;
        self.watch.advance(self.what, bytes).map_err(carried)?;
        let is_bias = name.ends_with("bias");
        if shape.rank() == 1 {
            let value = if is_bias { 0.0 } else { 1.0f32 };
            return Tensor::full(value, shape, device)?.to_dtype(dtype);
        }
        let inputs = shape.dims()[1..].iter().product::<usize>().max(1);
        // Uniform values of this width have a variance of 1 / inputs.
        let width = (12.0 / inputs as f32).sqrt();
        let mut values = vec![0.0f32; shape.elem_count()];
        let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        values
            .par_chunks_mut(CHUNK)
            .enumerate()
            .for_each(|(chunk, values)| fill(values, seed ^ (chunk as u64) << 32, width));
        Tensor::from_vec(values, shape, &Device::Cpu)?
            .to_dtype(dtype)?
            .to_device(device)
    }

    fn get_unchecked(&self, name: &str, _dtype: DType, _device: &Device) -> candle_core::Result<Tensor> {
        candle_core::bail!("the shape of {name} must be known to make it up")
    }

    fn contains_tensor(&self, _name: &str) -> bool {
        true
    }
}

/// Uniform values around zero, by the generator splitmix64.
fn fill(values: &mut [f32], seed: u64, width: f32) {
    let mut state = seed;
    for value in values {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = state;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        *value = ((bits >> 40) as f32 / (1 << 24) as f32 - 0.5) * width;
    }
}
