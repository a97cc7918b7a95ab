//! A short measurement: does the device gain from computing all noise levels in one batch?

use std::time::{Duration, Instant};

use candle_core::{DType, Result, Tensor};

use crate::{
    models::traits::{Conditioning, ModelParts, Row},
    stream::{Throughput, geometry::Geometry},
};

/// A call that takes longer settles the question: a batch of several such calls would answer an edit far too late.
const TOO_SLOW: Duration = Duration::from_millis(1500);

/// Rows per second with the rows of one noise level and of all levels in a call.
///
/// `conditioning` is any encoded prompt. `None` if a single level takes so long that a batch is out of the question.
///
/// # Errors
/// If the denoiser fails.
pub(super) fn measure(
    parts: &mut ModelParts,
    conditioning: &Conditioning,
    geometry: &Geometry,
    regions: usize,
    levels: usize,
) -> Result<Option<Throughput>> {
    let prompt = parts.denoiser.prepare(conditioning)?;
    let (height, width) = (geometry.latent.height, geometry.latent.width);
    let mut rows_per_second = |count: usize| -> Result<f64> {
        let shape = (count, parts.spec.latent_channels, height, width);
        let latents = Tensor::zeros(shape, DType::F32, &parts.device)?.to_dtype(parts.dtype)?;
        let rows = vec![
            Row {
                timestep: 500.0,
                prompt: &prompt
            };
            count
        ];
        // The first call may compile kernels and allocate; only the second is timed.
        let mut elapsed = Duration::MAX;
        for _ in 0..2 {
            let start = Instant::now();
            parts.denoiser.predict(&latents, &rows)?;
            parts.device.synchronize()?;
            elapsed = elapsed.min(start.elapsed());
            if elapsed > TOO_SLOW {
                break;
            }
        }
        Ok(count as f64 / elapsed.as_secs_f64().max(1e-6))
    };
    let regions = regions.max(1);
    let one_level = rows_per_second(regions)?;
    if regions as f64 / one_level > TOO_SLOW.as_secs_f64() {
        return Ok(None);
    }
    let all_levels = rows_per_second(regions * levels)?;
    Ok(Some(Throughput {
        one_level,
        all_levels,
    }))
}
