//! Euler steps with trailing spacing: the sampler of Turbo and Lightning models.
//!
//! Latents are not kept at unit variance: a latent at noise level sigma is `clean + sigma * noise`, and the denoiser
//! sees it divided by `sqrt(sigma^2 + 1)`.

use super::{Combination, NoiseSchedule, Noising, Slot, SlotTable, StepIndex, Timestep, pick};
use crate::{Error, Result, models::traits::Prediction};

/// The timesteps of an inference and their sigmas.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    steps: Vec<(Timestep, f64)>,
}

impl Grid {
    /// Spaces `steps` timesteps evenly, the first at the end of the schedule.
    ///
    /// For some numbers of steps there is one timestep more, as `numpy.arange` has it there.
    ///
    /// # Errors
    /// If `steps` is 0 or more than the schedule has.
    pub fn new(schedule: &NoiseSchedule, steps: usize) -> Result<Self> {
        let train_steps = schedule.train_steps();
        if steps == 0 || steps > train_steps {
            return Err(Error::StepList {
                indexes: vec![steps as u16],
            });
        }
        let end = train_steps as f64;
        // NumPy's ranges count in multiples of the difference that their first two numbers have after rounding, which
        // decides where a number lies halfway between two timesteps, as in grids of 48.
        let stride = (end - end / steps as f64) - end;
        // Where the quotient comes out above a whole number, the range takes in its own end.
        let count = (-end / -(end / steps as f64)).ceil() as usize;
        let steps = (0..count)
            .map(|i| {
                let timestep = Timestep((end + i as f64 * stride).round_ties_even() - 1.0);
                (timestep, sigma(schedule, timestep))
            })
            .collect();
        Ok(Self { steps })
    }

    /// All timesteps with their sigmas, noisiest first.
    pub fn steps(&self) -> &[(Timestep, f64)] {
        &self.steps
    }

    /// The standard deviation of the noise that everything starts from: the largest sigma.
    pub fn initial_sigma(&self) -> f64 {
        self.steps.iter().map(|step| step.1).fold(0.0, f64::max)
    }

    /// The slots that a list of indexes makes.
    ///
    /// # Errors
    /// If the list is empty or leaves the grid.
    pub fn slots(&self, indexes: &[StepIndex], prediction: Prediction) -> Result<SlotTable> {
        let steps = pick(&self.steps, indexes)?;
        let slot = |(t, &(timestep, sigma)): (usize, &(Timestep, f64))| {
            let next = steps.get(t + 1).copied();
            let next_sigma = next.map_or(0.0, |(_, sigma)| sigma);
            let variance = sigma * sigma + 1.0;
            Slot {
                timestep,
                noise_level: noise_level(sigma),
                next_noise_level: next.map_or(0.0, |(_, sigma)| noise_level(sigma)),
                noising: Noising {
                    signal: 1.0,
                    noise: sigma,
                },
                input_scale: 1.0 / variance.sqrt(),
                epsilon: match prediction {
                    Prediction::Epsilon => Combination::PREDICTION,
                    Prediction::V => Combination {
                        latent: sigma / variance,
                        prediction: 1.0 / variance.sqrt(),
                    },
                },
                result: Combination {
                    latent: 1.0,
                    prediction: next_sigma - sigma,
                },
                background: Noising {
                    signal: 1.0,
                    noise: next_sigma,
                },
                // The result already is at the next level.
                onward: Noising::NONE,
            }
        };
        SlotTable::new(steps.iter().enumerate().map(slot).collect(), self.initial_sigma())
    }
}

/// Share of noise in a latent of unit variance. A 32-bit float, like the coverage it is compared with.
fn noise_level(sigma: f64) -> f64 {
    let sigma = sigma as f32;
    f64::from(sigma * (1.0 / (sigma * sigma + 1.0).sqrt()))
}

/// Noise over signal at a timestep.
pub fn sigma(schedule: &NoiseSchedule, timestep: Timestep) -> f64 {
    let alpha_bar = schedule.alpha_bar(timestep);
    ((1.0 - alpha_bar) / alpha_bar).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_spacing_begins_at_the_end_of_the_schedule() {
        let schedule = NoiseSchedule::scaled_linear(0.00085, 0.012, 1000);
        let grid = Grid::new(&schedule, 4).unwrap();
        let timesteps: Vec<f64> = grid.steps().iter().map(|step| step.0.0).collect();
        assert_eq!(timesteps, [999.0, 749.0, 499.0, 249.0]);
        assert!((grid.initial_sigma() - 14.6146).abs() < 1e-3);
    }

    #[test]
    fn halfway_timesteps_round_as_numpy_ranges_do() {
        let schedule = NoiseSchedule::scaled_linear(0.00085, 0.012, 1000);
        let grid = Grid::new(&schedule, 48).unwrap();
        // `numpy.arange(1000, 0, -1000 / 48).round() - 1`, which has 937.4999... before rounding.
        let timesteps: Vec<f64> = grid.steps()[..5].iter().map(|step| step.0.0).collect();
        assert_eq!(timesteps, [999.0, 978.0, 957.0, 936.0, 916.0]);
    }

    #[test]
    fn some_grids_have_a_timestep_more_as_numpy_ranges_do() {
        let schedule = NoiseSchedule::scaled_linear(0.00085, 0.012, 1000);
        let lengths = |steps: usize| Grid::new(&schedule, steps).unwrap().steps().len() - steps;
        let longer: Vec<usize> = (1..=250).filter(|&steps| lengths(steps) == 1).collect();
        // `[n for n in range(1, 251) if len(numpy.arange(1000, 0, -1000 / n)) > n]`
        assert_eq!(
            longer,
            [61, 103, 121, 122, 201, 206, 217, 223, 227, 233, 242, 244]
        );
        let grid = Grid::new(&schedule, 61).unwrap();
        let (last, sigma_of_last) = grid.steps()[61];
        assert_eq!(last, Timestep(-1.0));
        // Before its beginning, the schedule's first sigma counts.
        assert_eq!(sigma_of_last, sigma(&schedule, Timestep(0.0)));
        assert!((1..=1000).all(|steps| lengths(steps) <= 1));
    }
}
