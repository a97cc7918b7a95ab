//! One window at one step: its regions denoised and added up under their masks.

use candle_core::Tensor;

use super::{
    composition::{Composition, Rows},
    guidance::ClassifierFree,
    network::Network,
    prompt::GuidedPrompt,
    views::View,
};
use crate::{
    Result,
    error::Doing as _,
    models::traits::{Conditioning, Denoiser, PreparedPrompt, Row},
    schedule::{Combination, Slot},
    stream::centering::{Shift, from_center, to_center},
};

/// A region's prompts as the denoiser wants them.
pub(super) struct PreparedPair {
    positive: PreparedPrompt,
    negative: Option<PreparedPrompt>,
}

impl PreparedPair {
    pub(super) fn new(
        prompt: &GuidedPrompt,
        time_ids: Option<[f32; 6]>,
        guidance: ClassifierFree,
        denoiser: &dyn Denoiser,
    ) -> candle_core::Result<Self> {
        let prepare = |prompt: &Conditioning| {
            denoiser.prepare(&Conditioning {
                time_ids: time_ids.or(prompt.time_ids),
                ..prompt.clone()
            })
        };
        Ok(Self {
            positive: prepare(&prompt.positive)?,
            negative: guidance
                .doubles_rows()
                .then(|| prepare(&prompt.negative))
                .transpose()?,
        })
    }
}

/// What a window adds to the canvas.
pub(super) struct ViewSum {
    /// `[1, c, h, w]`: results of the regions times masks times the window's weights.
    pub(super) results: Tensor,
    /// `[1, 1, h, w]`: masks times the window's weights.
    pub(super) weights: Tensor,
}

/// A window at a step, ready to be denoised.
pub(super) struct Pass<'a> {
    slot: &'a Slot,
    /// Regions that take part, `p` of them.
    regions: Vec<usize>,
    /// `[1, c, h, w]`: what is seen of the canvas.
    seen: Tensor,
    /// `[p, c, h, w]`.
    latents: Tensor,
    /// `[p, 1, h, w]`.
    masks: Tensor,
    /// `[1, 1, h, w]`.
    view_weights: Tensor,
    bootstrap: Option<Bootstrapped>,
}

struct Bootstrapped {
    /// `[1, c, h, w]`.
    surroundings: Tensor,
    shifts: Vec<Shift>,
}

impl<'a> Pass<'a> {
    /// `surroundings` are there in bootstrap steps.
    pub(super) fn new(
        composition: &Composition<'a>,
        step: usize,
        view: &View,
        latent: &Tensor,
        surroundings: Option<Tensor>,
    ) -> candle_core::Result<Self> {
        let device = latent.device();
        let all = composition.masks;
        let (height, width) = (view.size.height, view.size.width);
        let mut regions = Vec::new();
        let (mut masks, mut shifts) = (Vec::new(), Vec::new());
        for region in 0..all.regions {
            let mask = view.of_plane(all.row(step * all.regions + region), all.size.width);
            if composition.rows == Rows::All || mask.iter().any(|&value| value > 0.0) {
                regions.push(region);
                shifts.push(Shift::of_mask(&mask, view.size));
                masks.extend(mask);
            }
        }
        let count = regions.len();
        let masks = if count == 0 {
            Tensor::zeros((1, 1, height, width), candle_core::DType::F32, device)?
        } else {
            Tensor::from_vec(masks, (count, 1, height, width), device)?
        };
        let seen = view.of(latent)?.contiguous()?;
        let mut latents = seen.repeat((count.max(1), 1, 1, 1))?;
        if let Some(surroundings) = surroundings.as_ref().filter(|_| count > 0) {
            let outside = masks.affine(-1.0, 1.0)?.broadcast_mul(surroundings)?;
            latents = to_center(&(outside + latents.broadcast_mul(&masks)?)?, &shifts)?;
        }
        Ok(Self {
            slot: &composition.table.slots()[step],
            regions,
            seen,
            latents,
            masks,
            view_weights: Tensor::from_slice(&view.weights, (1, 1, height, width), device)?,
            bootstrap: surroundings.map(|surroundings| Bootstrapped { surroundings, shifts }),
        })
    }

    /// Denoises the regions and adds them up.
    pub(super) fn run(
        self,
        composition: &Composition<'_>,
        prompts: &[PreparedPair],
        network: &mut Network<'_>,
    ) -> Result<ViewSum> {
        const DOING: &str = "combining the regions of a window";
        if self.regions.is_empty() {
            return Ok(ViewSum {
                results: self.seen.zeros_like().doing(DOING)?,
                weights: self.masks,
            });
        }
        let sides = if composition.guidance.doubles_rows() { 2 } else { 1 };
        let input = (&self.latents * self.slot.input_scale)
            .and_then(|input| input.repeat((sides, 1, 1, 1)))
            .doing(DOING)?;
        let chosen = || self.regions.iter().map(|&region| &prompts[region]);
        let row = |prompt| Row {
            timestep: self.slot.timestep.0,
            prompt,
        };
        let negative = chosen().filter_map(|pair| pair.negative.as_ref());
        let positive = chosen().map(|pair| &pair.positive);
        let rows: Vec<Row<'_>> = negative.chain(positive).map(row).collect();
        let output = network.predict(&input, &rows)?; // [sides * p, c, h, w], negative rows first
        self.finish(composition, &output).doing(DOING)
    }

    fn finish(self, composition: &Composition<'_>, output: &Tensor) -> candle_core::Result<ViewSum> {
        let count = self.regions.len();
        let guidance = composition.guidance;
        let output = if guidance.doubles_rows() {
            guidance.apply(&output.narrow(0, 0, count)?, &output.narrow(0, count, count)?)?
        } else {
            output.clone()
        };
        let epsilon = combined(self.slot.epsilon, &self.latents, &output)?;
        let mut results = combined(self.slot.result, &self.latents, &epsilon)?; // [p, c, h, w]
        let mut masks = self.masks;
        if let Some(Bootstrapped { surroundings, shifts }) = &self.bootstrap {
            results = from_center(&results, shifts)?;
            let kept = kept_of_leak(&results, surroundings, composition.bootstrap.leak_sensitivity)?;
            masks = (masks * kept)?;
        }
        let weights = masks.broadcast_mul(&self.view_weights)?; // [p, 1, h, w]
        Ok(ViewSum {
            results: results.broadcast_mul(&weights)?.sum_keepdim(0)?,
            weights: weights.sum_keepdim(0)?,
        })
    }
}

/// How much of a bootstrapped region's mask is kept: little where the result is still what the region was laid on, for
/// there the region has leaked into its surroundings. `[p, 1, h, w]`, 0 to 1.
fn kept_of_leak(results: &Tensor, surroundings: &Tensor, sensitivity: f64) -> candle_core::Result<Tensor> {
    let difference = results.broadcast_sub(surroundings)?.sqr()?.mean_keepdim(1)?;
    // 2 sigmoid(x) - 1 = tanh(x / 2).
    (difference / (2.0 * sensitivity))?.tanh()
}

fn combined(weights: Combination, latent: &Tensor, prediction: &Tensor) -> candle_core::Result<Tensor> {
    if weights == Combination::PREDICTION {
        return Ok(prediction.clone());
    }
    (latent * weights.latent)? + (prediction * weights.prediction)?
}
