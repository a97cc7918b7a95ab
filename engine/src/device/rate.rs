//! What a device could reach: the speed of one large matrix product.

use std::time::Instant;

use candle_core::{DType, Device, Tensor};

use super::{Compute, dtype_of};
use crate::{
    Result,
    api::{DeviceChoice, Precision},
    error::Doing as _,
};

/// Side of the matrices with which a card is measured.
const SIDE: usize = 8192;
/// Products of which the fastest counts.
const PRODUCTS: usize = 10;

/// Billions of floating-point operations a second that a graphics card reaches in one large matrix product; a
/// multiplication and its addition are two. Nothing else should run on it meanwhile.
///
/// # Errors
/// If there is no such card, or it has no room for three matrices of 8192 x 8192.
pub fn card_gflops(device: DeviceChoice, precision: Precision) -> Result<f64> {
    let compute = Compute::choose(device, Some(precision))?;
    matrix_gflops(&compute.device, dtype_of(precision), SIDE, PRODUCTS).doing("measuring the device")
}

/// The same for any device and square matrices of any size. Processors multiply 32-bit floats.
///
/// # Errors
/// If the device has no room.
pub fn matrix_gflops(
    device: &Device,
    dtype: DType,
    side: usize,
    products: usize,
) -> candle_core::Result<f64> {
    let dtype = if device.is_cpu() { DType::F32 } else { dtype };
    let matrix = || Tensor::randn(0_f32, 1.0, (side, side), device)?.to_dtype(dtype);
    let (a, b) = (matrix()?, matrix()?);
    let mut best = f64::INFINITY;
    // The first ones choose and load what computes them.
    for turn in 0..products + 2 {
        device.synchronize()?;
        let start = Instant::now();
        a.matmul(&b)?;
        device.synchronize()?;
        if turn >= 2 {
            best = best.min(start.elapsed().as_secs_f64());
        }
    }
    Ok(2.0 * (side as f64).powi(3) / best / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_multiplies_at_least_a_hundred_million_numbers_a_second() {
        assert!(matrix_gflops(&Device::Cpu, DType::F16, 64, 3).unwrap() > 0.1);
    }
}
