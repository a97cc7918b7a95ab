//! The sampler of latent consistency models (arXiv 2310.04378).
//!
//! A prediction of the clean latent is made at every step and noised again to the next level. The boundary scalings
//! make the prediction the identity where there is no noise.

use super::{Combination, NoiseSchedule, Noising, Slot, SlotTable, StepIndex, Timestep, epsilon_of, pick};
use crate::{Error, Result, api::BackgroundNoise, models::traits::Prediction};

/// Steps of the solver that the models were distilled from.
const ORIGINAL_STEPS: usize = 50;
/// Standard deviation of the data, as in the paper.
const SIGMA_DATA: f64 = 0.5;
/// Timesteps are multiplied by this before they enter the boundary scalings.
const TIMESTEP_SCALING: f64 = 10.0;

/// The timesteps of an inference with a number of steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    timesteps: Vec<Timestep>,
}

impl Grid {
    /// Takes `steps` of the 50 timesteps 999, 979, ... 19, evenly.
    ///
    /// # Errors
    /// If `steps` is 0 or more than 50.
    pub fn new(schedule: &NoiseSchedule, steps: usize) -> Result<Self> {
        if steps == 0 || steps > ORIGINAL_STEPS {
            return Err(Error::StepList {
                indexes: vec![steps as u16],
            });
        }
        let stride = schedule.train_steps() / ORIGINAL_STEPS;
        let timesteps = (0..steps)
            .map(|i| {
                let skipped = i * ORIGINAL_STEPS / steps;
                Timestep(((ORIGINAL_STEPS - skipped) * stride) as f64 - 1.0)
            })
            .collect();
        Ok(Self { timesteps })
    }

    /// All timesteps, noisiest first.
    pub fn timesteps(&self) -> &[Timestep] {
        &self.timesteps
    }

    /// The slots that a list of indexes makes.
    ///
    /// # Errors
    /// If the list is empty or leaves the grid.
    pub fn slots(
        &self,
        schedule: &NoiseSchedule,
        indexes: &[StepIndex],
        prediction: Prediction,
        background: BackgroundNoise,
    ) -> Result<SlotTable> {
        let timesteps = pick(&self.timesteps, indexes)?;
        let slot = |(t, &timestep): (usize, &Timestep)| {
            let alpha_bar = schedule.alpha_bar(timestep);
            let (c_skip, c_out) = boundary_scalings(timestep);
            let next = timesteps.get(t + 1).copied();
            Slot {
                timestep,
                noise_level: schedule.noise_level(timestep),
                next_noise_level: next.map_or(0.0, |next| schedule.noise_level(next)),
                noising: schedule.noising(timestep),
                input_scale: 1.0,
                epsilon: epsilon_of(prediction, alpha_bar),
                result: Combination {
                    latent: c_out / alpha_bar.sqrt() + c_skip,
                    prediction: -c_out * ((1.0 - alpha_bar) / alpha_bar).sqrt(),
                },
                background: match background {
                    // The whole result is noised on its way to the next slot, the background with it.
                    BackgroundNoise::Corrected => Noising::NONE,
                    // The reference noises the background once more beforehand, and takes the index for a timestep.
                    BackgroundNoise::Reference => indexes
                        .get(t + 1)
                        .map_or(Noising::NONE, |index| schedule.noising(Timestep(index.0 as f64))),
                },
                onward: next.map_or(Noising::NONE, |next| schedule.noising(next)),
            }
        };
        SlotTable::new(timesteps.iter().enumerate().map(slot).collect(), 1.0)
    }
}

/// `c_skip` and `c_out` of a timestep: the weights of the latent itself and of the prediction.
pub fn boundary_scalings(timestep: Timestep) -> (f64, f64) {
    let scaled = timestep.0 * TIMESTEP_SCALING;
    let variance = SIGMA_DATA * SIGMA_DATA;
    let sum = scaled * scaled + variance;
    (variance / sum, scaled / sum.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_are_thinned_evenly() {
        let schedule = NoiseSchedule::scaled_linear(0.00085, 0.012, 1000);
        let of = |steps| -> Vec<f64> {
            Grid::new(&schedule, steps)
                .unwrap()
                .timesteps()
                .iter()
                .map(|timestep| timestep.0)
                .collect()
        };
        assert_eq!(of(4), [999.0, 759.0, 499.0, 259.0]);
        assert_eq!(of(50)[..3], [999.0, 979.0, 959.0]);
        assert_eq!(of(50)[49], 19.0);
        assert!(Grid::new(&schedule, 0).is_err() && Grid::new(&schedule, 51).is_err());
    }
}
