//! What a one-shot picture is made of, and the loop over the sampler's slots that paints it.

use candle_core::{DType, Device, Tensor};

use super::{
    guidance::ClassifierFree,
    network::Network,
    pass::{Pass, PreparedPair, ViewSum},
    prompt::GuidedPrompt,
    views::{View, Views},
    watch::{Watch, check},
};
use crate::{
    Error, Result,
    error::Doing as _,
    models::traits::Denoiser,
    schedule::{Slot, SlotTable},
    stream::{
        masks::MaskPlanes,
        noise::{Draw, NoiseSource},
    },
};

/// Everything that decides the latent of a one-shot picture, but for its noise.
pub struct Composition<'a> {
    /// The sampler's slots, all of which are run through.
    pub table: &'a SlotTable,
    /// Masks of all regions at all slots.
    pub masks: &'a MaskPlanes,
    /// One per region.
    pub prompts: &'a [GuidedPrompt],
    /// White, `[1, c, h, w]`.
    pub white: &'a Tensor,
    /// The picture behind everything, `[1, c, h, w]`; without one the regions cover the whole canvas.
    pub background: Option<&'a Tensor>,
    /// The first steps.
    pub bootstrap: Bootstrap,
    /// How the negative prompts take part.
    pub guidance: ClassifierFree,
    /// Windows through which the denoiser sees the canvas.
    pub views: &'a Views,
    /// What happens where windows overlap.
    pub overlap: Overlap,
    /// Which rows are computed.
    pub rows: Rows,
    /// Pixels per latent cell on each side.
    pub downscale: usize,
    /// Whether each window's prompts carry its place on the canvas (SDXL).
    pub has_time_ids: bool,
}

/// The first steps, in which each region is denoised on its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bootstrap {
    /// How many they are.
    pub steps: usize,
    /// How many of them begin with white; a fraction mixes white and background.
    pub mix_steps: f64,
    /// How different from its surroundings a region must have become to stay (squared, mean over channels): smaller
    /// values leave more of it.
    pub leak_sensitivity: f64,
    /// What its surroundings are noised with.
    pub noise: BootstrapNoise,
}

/// What the surroundings of bootstrapped regions are noised with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootstrapNoise {
    /// Noise of its own for each step and window.
    Fresh,
    /// The noise that the picture begins with; the background enters each step with it too.
    Initial,
}

/// What happens where windows overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// The weighted mean.
    Averaged,
    /// The weighted sum, as the reference's panorama does: the same where the weights add up to 1.
    Summed,
}

/// Which rows are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Those whose mask has paint in the window.
    Painted,
    /// All.
    All,
}

/// The latent that a picture begins with: noise, or the noised background where the slots begin below pure noise.
///
/// # Errors
/// If a tensor operation fails.
pub fn start_latent(table: &SlotTable, background: Option<&Tensor>, noise: &Tensor) -> Result<Tensor> {
    const PURE_NOISE: f64 = 999.0;
    let first = table.slots()[0];
    let start = match background {
        Some(background) if first.timestep.0 < PURE_NOISE => first.noising.apply(background, noise),
        _ => noise * table.initial_scale,
    };
    start.doing("preparing the first latent")
}

impl Composition<'_> {
    /// How often [`Watch::called`] is called.
    pub fn calls(&self) -> usize {
        self.table.count() * self.views.list().len()
    }

    /// Paints: from the first latent `[1, c, h, w]` to the finished one.
    ///
    /// # Errors
    /// [`Error::Cancelled`] if `watch` says so; [`Error::NotFinite`] if the denoiser gives what is not a
    /// number; [`Error::Compute`] if a tensor operation fails.
    pub fn paint(
        &self,
        start: Tensor,
        network: &mut Network<'_>,
        noise: &mut dyn NoiseSource,
        watch: &mut dyn Watch,
    ) -> Result<Tensor> {
        let pinned = match self.bootstrap.noise {
            BootstrapNoise::Fresh => None,
            BootstrapNoise::Initial => Some(self.draw(noise, Draw::Initial, start.device())?),
        };
        let same_prompts = if self.has_time_ids {
            None
        } else {
            Some(self.prepare(None, network.denoiser)?)
        };
        let mut latent = start;
        for (step, slot) in self.table.slots().iter().enumerate() {
            let mut parts = Vec::with_capacity(self.views.list().len());
            for (index, view) in self.views.list().iter().enumerate() {
                check(watch)?;
                let own_prompts;
                let prompts = if let Some(prompts) = &same_prompts {
                    prompts
                } else {
                    own_prompts = self.prepare(Some(view), network.denoiser)?;
                    &own_prompts
                };
                let surroundings = (step < self.bootstrap.steps)
                    .then(|| self.surroundings(step, slot, (index, view), &latent, pinned.as_ref(), noise))
                    .transpose()?;
                let pass = Pass::new(self, step, view, &latent, surroundings)
                    .doing("preparing a window of the canvas")?;
                parts.push(pass.run(self, prompts, network)?);
                watch.called();
            }
            latent = self
                .averaged(slot, &parts, pinned.as_ref())
                .doing("averaging the regions")?;
            check_numbers(&latent)?;
            watch.stepped(step, &latent);
            if step + 1 < self.table.count() && slot.onward.noise > 0.0 {
                let fresh = self.draw(noise, Draw::Renoise(step), latent.device())?;
                latent = slot
                    .onward
                    .apply(&latent, &fresh)
                    .doing("noising the latent for the next step")?;
            }
        }
        Ok(latent)
    }

    fn prepare(&self, view: Option<&View>, denoiser: &dyn Denoiser) -> Result<Vec<PreparedPair>> {
        let canvas = self.views.canvas();
        let time_ids = view.map(|view| {
            let pixels = |cells: usize| (cells * self.downscale) as f32;
            let (height, width) = (pixels(canvas.height), pixels(canvas.width));
            [height, width, pixels(view.top), pixels(view.left), height, width]
        });
        self.prompts
            .iter()
            .map(|prompt| PreparedPair::new(prompt, time_ids, self.guidance, denoiser))
            .collect::<candle_core::Result<_>>()
            .doing("preparing prompts")
    }

    fn draw(&self, noise: &mut dyn NoiseSource, draw: Draw, device: &Device) -> Result<Tensor> {
        let channels = self.white.dim(1).doing("drawing noise")?;
        noise
            .draw(draw, channels, self.views.canvas(), device)
            .and_then(|noise| noise.to_dtype(DType::F32))
            .doing("drawing noise")
    }

    /// What a window's regions are bootstrapped on, noised to the step's level: `[1, c, h, w]`.
    fn surroundings(
        &self,
        step: usize,
        slot: &Slot,
        (index, view): (usize, &View),
        latent: &Tensor,
        pinned: Option<&Tensor>,
        noise: &mut dyn NoiseSource,
    ) -> Result<Tensor> {
        let mut compute = || {
            let channels = self.white.dim(1)?;
            let behind = view.of(self.background.unwrap_or(latent))?;
            let share = (self.bootstrap.mix_steps - step as f64).clamp(0.0, 1.0);
            let white = view.of(self.white)?;
            if let (Some(noise), None) = (pinned, self.background) {
                // The canvas that stands in for the background has its noise already.
                let white = slot.noising.apply(&white, &view.of(noise)?)?;
                return (white * share)? + (behind * (1.0 - share))?;
            }
            let clean = ((white * share)? + (behind * (1.0 - share))?)?;
            let noise = if let Some(noise) = pinned {
                view.of(noise)?
            } else {
                let draw = Draw::Bootstrap { step, view: index };
                noise.draw(draw, channels, view.size, latent.device())?
            };
            slot.noising.apply(&clean, &noise)
        };
        compute().doing("preparing the surroundings of regions")
    }

    /// The regions of all windows averaged, and the background where they leave room: `[1, c, h, w]`.
    fn averaged(
        &self,
        slot: &Slot,
        parts: &[ViewSum],
        pinned: Option<&Tensor>,
    ) -> candle_core::Result<Tensor> {
        let collect = |part: fn(&ViewSum) -> &Tensor| -> candle_core::Result<Tensor> {
            let parts: Vec<Tensor> = parts.iter().map(|sums| part(sums).clone()).collect();
            self.views.sum(&parts)
        };
        let results = collect(|sums| &sums.results)?;
        if self.overlap == Overlap::Summed {
            return Ok(results);
        }
        let weights = collect(|sums| &sums.weights)?; // [1, 1, h, w]
        let is_painted = weights.gt(0.0)?;
        let divisor = is_painted.where_cond(&weights, &weights.ones_like()?)?;
        let average = results.broadcast_div(&divisor)?;
        let Some(background) = self.background else {
            return Ok(average);
        };
        let background = match pinned {
            Some(noise) => slot.background.apply(background, noise)?,
            None => background.clone(),
        };
        let share = weights.affine(-1.0, 1.0)?.clamp(0.0, 1.0)?;
        average.broadcast_mul(&share.affine(-1.0, 1.0)?)? + background.broadcast_mul(&share)?
    }
}

/// A latent of which a single value is no number would spoil everything after it.
pub(super) fn check_numbers(latent: &Tensor) -> Result<()> {
    let sum = latent
        .abs()
        .and_then(|values| values.sum_all())
        .and_then(|sum| sum.to_scalar::<f32>())
        .doing("checking the latent")?;
    if sum.is_finite() {
        Ok(())
    } else {
        Err(Error::NotFinite)
    }
}
