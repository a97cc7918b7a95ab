//! How long a denoiser takes within a step, and how much it computes.

use candle_core::{Device, Result, Tensor};

use crate::{
    device::Moment,
    models::traits::{Conditioning, Denoiser, PreparedPrompt, Row},
    ops,
};

/// A denoiser whose predictions are timed.
pub(super) struct TimedDenoiser<'a> {
    denoiser: &'a mut dyn Denoiser,
    device: &'a Device,
    /// Begin and end of each prediction.
    predictions: Vec<(Moment, Moment)>,
    /// Billions of floating-point operations in predictions.
    pub(super) gflop: f64,
}

impl<'a> TimedDenoiser<'a> {
    pub(super) fn new(denoiser: &'a mut dyn Denoiser, device: &'a Device) -> Self {
        Self {
            denoiser,
            device,
            predictions: Vec::new(),
            gflop: 0.0,
        }
    }

    /// Milliseconds that the device spent in predictions, for which it waits.
    pub(super) fn spent_ms(&self) -> f32 {
        let each = self.predictions.iter().map(|(begin, end)| begin.ms_until(end));
        each.sum()
    }
}

impl Denoiser for TimedDenoiser<'_> {
    fn prepare(&self, conditioning: &Conditioning) -> Result<PreparedPrompt> {
        self.denoiser.prepare(conditioning)
    }

    fn predict(&mut self, latents: &Tensor, rows: &[Row<'_>]) -> Result<Tensor> {
        let (work, begin) = (WorkMeter::start(), Moment::now(self.device));
        let predicted = self.denoiser.predict(latents, rows);
        self.predictions.push((begin, Moment::now(self.device)));
        self.gflop += work.gflop();
        predicted
    }
}

/// What the networks compute from now on; a prompt that is encoded meanwhile counts too.
pub(super) struct WorkMeter(u64);

impl WorkMeter {
    pub(super) fn start() -> Self {
        Self(ops::multiplications())
    }

    /// Billions of floating-point operations since the start.
    pub(super) fn gflop(&self) -> f64 {
        // Each multiplication comes with an addition.
        2e-9 * (ops::multiplications() - self.0) as f64
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::{
        api::{ModelChoice, ModelSource},
        device::Compute,
        models::toy,
    };

    /// A denoiser that waits.
    struct Slow(Box<dyn Denoiser>);

    const WAIT: Duration = Duration::from_millis(3);

    impl Denoiser for Slow {
        fn prepare(&self, conditioning: &Conditioning) -> Result<PreparedPrompt> {
            self.0.prepare(conditioning)
        }

        fn predict(&mut self, latents: &Tensor, rows: &[Row<'_>]) -> Result<Tensor> {
            let begun = Instant::now();
            while begun.elapsed() < WAIT {
                std::hint::spin_loop();
            }
            self.0.predict(latents, rows)
        }
    }

    #[test]
    fn all_predictions_of_a_step_are_timed_and_unchanged() {
        let choice = ModelChoice::plain(ModelSource::Toy);
        let parts = toy::load(&choice, &Compute::cpu()).unwrap().parts;
        let conditioning = parts.text_encoder.encode("red").unwrap();
        let mut slow = Slow(parts.denoiser);
        let prompt = slow.prepare(&conditioning).unwrap();
        let row = Row {
            timestep: 500.0,
            prompt: &prompt,
        };
        let latents = Tensor::ones((1, 4, 8, 8), candle_core::DType::F32, &Device::Cpu).unwrap();
        let plain: Vec<f32> = slow
            .predict(&latents, std::slice::from_ref(&row))
            .and_then(|output| output.flatten_all()?.to_vec1())
            .unwrap();
        let mut timed = TimedDenoiser::new(&mut slow, &Device::Cpu);
        for _ in 0..2 {
            let output = timed.predict(&latents, std::slice::from_ref(&row)).unwrap();
            assert_eq!(output.flatten_all().unwrap().to_vec1::<f32>().unwrap(), plain);
        }
        assert!(timed.spent_ms() >= 2.0 * WAIT.as_secs_f32() * 1000.0);
    }
}
