//! A short measurement: does the device gain from computing all noise levels in one batch?

use std::time::{Duration, Instant};

use candle_core::{DType, Result, Tensor};

use crate::{
    models::traits::{Conditioning, ModelParts, Row},
    ops::cuda::beside_recordings,
    stream::{Throughput, geometry::Geometry},
};

/// A call that takes longer settles the question: a batch of several such calls would answer an edit far too late.
pub(super) const TOO_SLOW: Duration = Duration::from_millis(1500);
/// Calls of one kind at most, and how long they may take together.
const MOST_CALLS: usize = 6;
const LONG_ENOUGH: Duration = Duration::from_millis(100);
/// A batch that would take longer is not measured: nothing can interrupt the call, and edits wait for its end.
const TOO_LONG: Duration = Duration::from_secs(4);

/// Rows per second with the rows of one noise level and of all levels in a call, of which there are `most_rows` at most.
///
/// `conditioning` is any encoded prompt. `None` if a single level, or a batch of all, takes so long that a batch is out of
/// the question.
///
/// # Errors
/// If the denoiser fails.
pub(super) fn measure(
    parts: &mut ModelParts,
    conditioning: &Conditioning,
    geometry: &Geometry,
    regions: usize,
    levels: usize,
    most_rows: usize,
) -> Result<Option<Throughput>> {
    let mut conditioning = conditioning.clone();
    if parts.spec.has_added_conditioning {
        conditioning.time_ids = Some(geometry.time_ids());
    }
    // These calls come often, but never again: a recording of them would be made in vain, and its time be measured.
    let _unrecorded = beside_recordings();
    let prompt = parts.denoiser.prepare(&conditioning)?;
    let (height, width) = (geometry.latent.height, geometry.latent.width);
    let mut rows_per_second = |count: usize| -> Result<f64> {
        // The stream's own calls are no larger either.
        let count = count.clamp(1, most_rows.max(1));
        let shape = (count, parts.spec.latent_channels, height, width);
        let latents = Tensor::zeros(shape, DType::F32, &parts.device)?.to_dtype(parts.dtype)?;
        let rows = vec![
            Row {
                timestep: 500.0,
                prompt: &prompt
            };
            count
        ];
        // The first call may compile kernels and allocate. Short calls are made a few times more: one that another program
        // delayed would choose the wrong order for as long as the program runs.
        let mut elapsed = Duration::MAX;
        let begun = Instant::now();
        for call in 0..MOST_CALLS {
            let start = Instant::now();
            parts.denoiser.predict(&latents, &rows)?;
            parts.device.synchronize()?;
            elapsed = elapsed.min(start.elapsed());
            if elapsed > TOO_SLOW || call > 0 && begun.elapsed() > LONG_ENOUGH {
                break;
            }
        }
        Ok(count as f64 / elapsed.as_secs_f64().max(1e-6))
    };
    let regions = regions.max(1);
    let one_level = rows_per_second(regions)?;
    let seconds = |rows: usize| rows as f64 / one_level;
    if seconds(regions) > TOO_SLOW.as_secs_f64() || seconds(regions * levels) > TOO_LONG.as_secs_f64() {
        return Ok(None);
    }
    let all_levels = rows_per_second(regions * levels)?;
    Ok(Some(Throughput {
        one_level,
        all_levels,
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use candle_core::Device;
    use candle_nn::VarBuilder;

    use super::*;
    use crate::{
        api::{CanvasSize, ModelChoice, ModelSource},
        device::Compute,
        models::{
            config::UNetConfig,
            sd::unet::UNet,
            toy,
            traits::{Denoiser, PreparedPrompt},
        },
    };

    /// Takes its time for every row, and notes how many it was given at once.
    struct Slow {
        denoiser: Box<dyn Denoiser>,
        a_row: Duration,
        largest: Arc<AtomicUsize>,
    }

    impl Denoiser for Slow {
        fn prepare(&self, conditioning: &Conditioning) -> Result<PreparedPrompt> {
            self.denoiser.prepare(conditioning)
        }

        fn predict(&mut self, latents: &Tensor, rows: &[Row<'_>]) -> Result<Tensor> {
            self.largest.fetch_max(rows.len(), Ordering::Relaxed);
            let begun = Instant::now();
            while begun.elapsed() < self.a_row * rows.len() as u32 {
                std::hint::spin_loop();
            }
            self.denoiser.predict(latents, rows)
        }
    }

    /// What is measured, and the most rows of a call.
    fn measured(a_row: Duration, levels: usize, most_rows: usize) -> (Option<Throughput>, usize) {
        let choice = ModelChoice::plain(ModelSource::Toy);
        let mut parts = toy::load(&choice, &Compute::cpu()).unwrap().parts;
        let largest = Arc::new(AtomicUsize::new(0));
        let denoiser = std::mem::replace(&mut parts.denoiser, Box::new(toy::ToyDenoiser::default()));
        parts.denoiser = Box::new(Slow {
            denoiser,
            a_row,
            largest: Arc::clone(&largest),
        });
        let conditioning = parts.text_encoder.encode("red").unwrap();
        let geometry = Geometry::new(CanvasSize::new(64, 64).unwrap(), &parts.spec);
        let found = measure(&mut parts, &conditioning, &geometry, 3, levels, most_rows).unwrap();
        (found, largest.load(Ordering::Relaxed))
    }

    #[test]
    fn a_model_that_is_told_the_sizes_of_pictures_is_measured_too() {
        let given = std::env::var_os("WORDBRUSH_PARITY").map(std::path::PathBuf::from);
        let fixtures =
            || std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/parity");
        let folder = given.unwrap_or_else(fixtures);
        let unet = folder.join("models/tiny-sdxl/unet");
        let tensors = |path| candle_core::safetensors::load(path, &Device::Cpu).unwrap();
        let config = UNetConfig::from_json(&std::fs::read(unet.join("config.json")).unwrap()).unwrap();
        let weights = tensors(unet.join("diffusion_pytorch_model.safetensors"));
        let weights = VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu);
        let choice = ModelChoice::plain(ModelSource::Toy);
        let mut parts = toy::load(&choice, &Compute::cpu()).unwrap().parts;
        parts.denoiser = Box::new(UNet::new(config, &weights).unwrap());
        parts.spec.has_added_conditioning = true;
        let inputs = tensors(folder.join("unet-sdxl/inputs.safetensors"));
        let conditioning = Conditioning {
            context: inputs["a.encoder_hidden_states"].get(0).unwrap(),
            pooled: Some(inputs["a.text_embeds"].get(0).unwrap()),
            // As text encoders give it: the stream adds the sizes, and so must the measurement.
            time_ids: None,
        };
        let geometry = Geometry::new(CanvasSize::new(64, 64).unwrap(), &parts.spec);
        let found = measure(&mut parts, &conditioning, &geometry, 1, 1, usize::MAX).unwrap();
        assert!(found.is_some());
    }

    #[test]
    fn no_more_rows_are_measured_in_a_call_than_the_stream_may_give() {
        let (found, largest) = measured(Duration::ZERO, 5, usize::MAX);
        assert!(found.is_some());
        assert_eq!(largest, 15);
        for most_rows in [7, 2] {
            let (found, largest) = measured(Duration::ZERO, 5, most_rows);
            assert!(found.is_some());
            assert_eq!(largest, most_rows);
        }
    }

    #[test]
    fn a_batch_that_would_take_many_seconds_is_not_measured() {
        // Three rows pass quickly; those of all levels would take six seconds.
        let (found, largest) = measured(Duration::from_millis(10), 200, usize::MAX);
        assert!(found.is_none());
        assert_eq!(largest, 3);
    }
}
