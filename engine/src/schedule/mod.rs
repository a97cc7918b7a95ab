//! Noise schedules: which timesteps the stream visits, and the numbers that each of them computes with.
//!
//! A model is trained with a [`NoiseSchedule`] of 1000 noise levels. A sampler ([`lcm`], [`euler`]) picks `T` of them
//! and writes down, for each, one [`Slot`]: every step of the stream is linear in the latent, the denoiser's output and
//! noise, so a slot is a handful of coefficients and the stream knows no sampler. Tables are `f64`.

pub mod euler;
pub mod lcm;

use candle_core::Tensor;

use crate::{
    Error, Result,
    api::{BackgroundNoise, StepList},
    models::traits::{ModelSpec, Prediction, SamplerKind},
};

/// An index into a sampler's grid of inference steps (50 for LCM), noisiest first. Not a [`Timestep`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepIndex(pub usize);

/// A position on the training schedule: 0 is clean, 999 is pure noise; fractions are possible.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Timestep(pub f64);

impl Timestep {
    /// The nearest position that the schedule has.
    fn position(self) -> usize {
        self.0.max(0.0).round() as usize
    }
}

/// The noise levels a model was trained with ("scaled linear": the roots of the betas are evenly spaced).
#[derive(Clone, Debug, PartialEq)]
pub struct NoiseSchedule {
    betas: Vec<f64>,
    alpha_bars: Vec<f64>,
}

impl NoiseSchedule {
    /// From the first and last beta and the number of training steps (at least 1).
    ///
    /// The values are those of 32-bit floats: what models were trained with. A continuous mask divides by the gap between
    /// two levels, 0.0035 at its smallest, and magnifies a last digit that differs 300 times.
    pub fn scaled_linear(beta_start: f64, beta_end: f64, train_steps: usize) -> Self {
        let count = train_steps.max(1);
        let (first, last) = (beta_start.sqrt() as f32, beta_end.sqrt() as f32);
        let stride = f64::from((last - first) / (count - 1).max(1) as f32);
        let betas: Vec<f32> = (0..count)
            .map(|i| {
                // Each half is counted from its own end.
                let root = if i < count / 2 {
                    f64::from(first) + stride * i as f64
                } else {
                    f64::from(last) - stride * (count - 1 - i) as f64
                } as f32;
                root * root
            })
            .collect();
        let alpha_bars = betas
            .iter()
            .scan(1.0_f64, |product, beta| {
                *product *= f64::from(1.0 - beta);
                Some(f64::from(*product as f32))
            })
            .collect();
        Self {
            betas: betas.into_iter().map(f64::from).collect(),
            alpha_bars,
        }
    }

    /// The schedule of a model.
    pub fn of_model(spec: &ModelSpec) -> Self {
        Self::scaled_linear(spec.beta_start, spec.beta_end, spec.train_steps)
    }

    /// Noise added by each training step.
    pub fn betas(&self) -> &[f64] {
        &self.betas
    }

    /// How much of the picture's variance is left after each training step (`alphas_cumprod`).
    pub fn alpha_bars(&self) -> &[f64] {
        &self.alpha_bars
    }

    /// Number of training steps.
    pub fn train_steps(&self) -> usize {
        self.betas.len()
    }

    /// How much of the picture's variance is left at a timestep; beyond the schedule its nearest end counts.
    pub fn alpha_bar(&self, timestep: Timestep) -> f64 {
        self.alpha_bars[timestep.position().min(self.alpha_bars.len() - 1)]
    }

    /// Share of noise in a latent at a timestep, `sqrt(1 - alpha_bar)`: the level at which masks are cut.
    ///
    /// A 32-bit float, like the coverage it is compared with.
    pub fn noise_level(&self, timestep: Timestep) -> f64 {
        f64::from((1.0 - self.alpha_bar(timestep) as f32).sqrt())
    }

    /// How a clean latent becomes one of this timestep while its variance stays 1.
    pub fn noising(&self, timestep: Timestep) -> Noising {
        let alpha_bar = self.alpha_bar(timestep);
        Noising {
            signal: alpha_bar.sqrt(),
            noise: (1.0 - alpha_bar).sqrt(),
        }
    }
}

/// A noisy latent is `signal * clean + noise * gaussian`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noising {
    /// Weight of the clean latent.
    pub signal: f64,
    /// Weight of the noise, which has unit variance.
    pub noise: f64,
}

impl Noising {
    /// Leaves a latent as it is.
    pub const NONE: Self = Self {
        signal: 1.0,
        noise: 0.0,
    };

    /// Noises a latent; both have the same shape.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn apply(self, clean: &Tensor, noise: &Tensor) -> candle_core::Result<Tensor> {
        if self == Self::NONE {
            return Ok(clean.clone());
        }
        (clean * self.signal)? + (noise * self.noise)?
    }
}

/// A linear combination of a latent and what was predicted from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Combination {
    /// Weight of the latent.
    pub latent: f64,
    /// Weight of the prediction.
    pub prediction: f64,
}

impl Combination {
    /// The prediction alone.
    pub const PREDICTION: Self = Self {
        latent: 0.0,
        prediction: 1.0,
    };
}

/// Everything that one noise level of the stream computes with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slot {
    /// What the denoiser is told.
    pub timestep: Timestep,
    /// Noise level `L` at which masks are cut, 0 to 1.
    pub noise_level: f64,
    /// The level of the slot after it; 0 for the last.
    pub next_noise_level: f64,
    /// A clean latent becomes one of this slot.
    pub noising: Noising,
    /// The denoiser sees the latent times this.
    pub input_scale: f64,
    /// The denoiser's output becomes an estimate of the noise.
    pub epsilon: Combination,
    /// The latent and the estimated noise become the slot's result: the predicted clean latent (LCM), or the latent at
    /// the next level (Euler).
    pub result: Combination,
    /// The background as it is averaged into the result; the noise is the next slot's stock noise.
    pub background: Noising,
    /// The averaged result becomes the latent that enters the next slot; the noise is that slot's own.
    pub onward: Noising,
}

impl Slot {
    /// The clean latent that a result foretells: the early preview of a picture.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn foretold(&self, latent: &Tensor, result: &Tensor) -> candle_core::Result<Tensor> {
        let is_clean = self.onward.noise > 0.0 || self.next_noise_level == 0.0;
        if is_clean || self.result.prediction == 0.0 {
            return Ok(result.clone());
        }
        // result = l x + e eps and x = signal clean + noise eps.
        let of_result = -self.noising.noise / (self.result.prediction * self.noising.signal);
        let of_latent = 1.0 / self.noising.signal - self.result.latent * of_result;
        (latent * of_latent)? + (result * of_result)?
    }
}

/// The slots of a stream, noisiest first; never empty.
#[derive(Clone, Debug, PartialEq)]
pub struct SlotTable {
    slots: Vec<Slot>,
    /// Fresh noise is multiplied by this before it enters the first slot.
    pub initial_scale: f64,
}

impl SlotTable {
    /// The slots that a model's sampler makes of a list of steps.
    pub fn for_model(spec: &ModelSpec, steps: &StepList, background: BackgroundNoise) -> Self {
        let schedule = NoiseSchedule::of_model(spec);
        let indexes: Vec<StepIndex> = steps
            .indexes()
            .iter()
            .map(|&index| StepIndex(usize::from(index)))
            .collect();
        let grid = usize::from(StepList::GRID);
        let table = match spec.sampler {
            SamplerKind::Lcm => lcm::Grid::new(&schedule, grid)
                .and_then(|grid| grid.slots(&schedule, &indexes, spec.prediction, background)),
            SamplerKind::EulerTrailing => {
                euler::Grid::new(&schedule, grid).and_then(|grid| grid.slots(&indexes, spec.prediction))
            }
        };
        let mut table = table.expect("a step list points into the grid of 50 steps");
        if spec.sampler == SamplerKind::EulerTrailing {
            // A list may begin below the grid's noisiest step, of which the grid's scale is. What a slot does not expect,
            // it does not take away.
            table.initial_scale = table.slots[0].noising.noise;
        }
        table
    }

    /// From slots that a sampler made.
    ///
    /// # Errors
    /// If there are none.
    pub fn new(slots: Vec<Slot>, initial_scale: f64) -> Result<Self> {
        if slots.is_empty() {
            return Err(Error::StepList { indexes: Vec::new() });
        }
        Ok(Self { slots, initial_scale })
    }

    /// Number of slots, `T`.
    pub fn count(&self) -> usize {
        self.slots.len()
    }

    /// The slots, noisiest first.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }
}

/// How a v-prediction or an epsilon-prediction of a variance-preserving latent becomes an estimate of its noise.
fn epsilon_of(prediction: Prediction, alpha_bar: f64) -> Combination {
    match prediction {
        Prediction::Epsilon => Combination::PREDICTION,
        // v = sqrt(a) eps - sqrt(1 - a) x0 and x = sqrt(a) x0 + sqrt(1 - a) eps give eps = sqrt(a) v + sqrt(1 - a) x.
        Prediction::V => Combination {
            latent: (1.0 - alpha_bar).sqrt(),
            prediction: alpha_bar.sqrt(),
        },
    }
}

/// The timesteps that a list of indexes picks from a grid.
fn pick<T: Copy>(grid: &[T], indexes: &[StepIndex]) -> Result<Vec<T>> {
    indexes
        .iter()
        .map(|index| grid.get(index.0).copied())
        .collect::<Option<Vec<T>>>()
        .filter(|picked| !picked.is_empty())
        .ok_or_else(|| Error::StepList {
            indexes: indexes.iter().map(|index| index.0 as u16).collect(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stable_diffusion() -> NoiseSchedule {
        NoiseSchedule::scaled_linear(0.00085, 0.012, 1000)
    }

    #[test]
    fn the_schedule_of_stable_diffusion_has_its_known_ends() {
        let schedule = stable_diffusion();
        assert!((schedule.alpha_bar(Timestep(0.0)) - 0.99915).abs() < 1e-7);
        assert!((schedule.alpha_bar(Timestep(999.0)) - 0.00466).abs() < 1e-5);
        assert_eq!(
            schedule.alpha_bar(Timestep(5000.0)),
            schedule.alpha_bar(Timestep(999.0))
        );
    }

    #[test]
    fn a_perfect_prediction_gives_the_clean_latent_in_every_sampler_and_meaning() {
        let schedule = stable_diffusion();
        let indexes: Vec<StepIndex> = [0, 4, 12, 25, 37].map(StepIndex).to_vec();
        let (clean, noise) = (0.7, -1.3);
        for prediction in [Prediction::Epsilon, Prediction::V] {
            let lcm = lcm::Grid::new(&schedule, 50)
                .and_then(|grid| grid.slots(&schedule, &indexes, prediction, BackgroundNoise::Corrected))
                .unwrap();
            let euler = euler::Grid::new(&schedule, 50)
                .and_then(|grid| grid.slots(&indexes, prediction))
                .unwrap();
            for table in [lcm, euler] {
                for (t, slot) in table.slots().iter().enumerate() {
                    let latent = slot.noising.signal * clean + slot.noising.noise * noise;
                    let alpha_bar = schedule.alpha_bar(slot.timestep);
                    let output = match prediction {
                        Prediction::Epsilon => noise,
                        Prediction::V => alpha_bar.sqrt() * noise - (1.0 - alpha_bar).sqrt() * clean,
                    };
                    let epsilon = slot.epsilon.latent * latent + slot.epsilon.prediction * output;
                    assert!((epsilon - noise).abs() < 1e-9, "slot {t}");
                    let result = slot.result.latent * latent + slot.result.prediction * epsilon;
                    let next = slot.onward.signal * result + slot.onward.noise * noise;
                    let expected = table.slots().get(t + 1).map_or(clean, |next| {
                        next.noising.signal * clean + next.noising.noise * noise
                    });
                    assert!(
                        (next - expected).abs() < 1e-4,
                        "slot {t}: {next} against {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_first_latent_holds_as_much_noise_as_the_first_slot_expects() {
        let choice = crate::api::ModelChoice::plain(crate::api::ModelSource::Toy);
        let toy = crate::models::toy::load(&choice, &crate::device::Compute::cpu()).unwrap();
        let mut spec = toy.parts.spec;
        spec.sampler = SamplerKind::EulerTrailing;
        for (first, noise) in [(0, 14.6146), (12, 4.3)] {
            let steps = StepList::new(vec![first, 25, 37]).unwrap();
            let table = SlotTable::for_model(&spec, &steps, BackgroundNoise::Corrected);
            assert_eq!(table.initial_scale, table.slots()[0].noising.noise);
            assert!(
                (table.initial_scale - noise).abs() < 0.2,
                "{}",
                table.initial_scale
            );
        }
    }

    #[test]
    fn the_background_enters_each_slot_at_its_level() {
        let schedule = stable_diffusion();
        let indexes: Vec<StepIndex> = [0, 12, 25].map(StepIndex).to_vec();
        let lcm = lcm::Grid::new(&schedule, 50)
            .and_then(|grid| {
                grid.slots(
                    &schedule,
                    &indexes,
                    Prediction::Epsilon,
                    BackgroundNoise::Corrected,
                )
            })
            .unwrap();
        let euler = euler::Grid::new(&schedule, 50)
            .and_then(|grid| grid.slots(&indexes, Prediction::Epsilon))
            .unwrap();
        for table in [lcm, euler] {
            for pair in table.slots().windows(2) {
                let signal = pair[0].background.signal * pair[0].onward.signal;
                let noise = (pair[0].background.noise * pair[0].onward.signal).hypot(pair[0].onward.noise);
                assert!((signal - pair[1].noising.signal).abs() < 1e-12);
                assert!((noise - pair[1].noising.noise).abs() < 1e-12);
            }
        }
    }
}
