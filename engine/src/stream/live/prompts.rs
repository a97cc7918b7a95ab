//! The prompts of regions: looked up, mixed with the background's, and kept as the denoiser wants them.

use std::sync::Arc;

use super::canvas::{Canvas, unit};
use crate::{
    Result,
    api::{Region, RegionId, Scene},
    error::Doing as _,
    models::traits::{Conditioning, ModelParts},
    stream::{geometry::Geometry, step::RegionPrompt},
};

/// Encoded prompts, as far as there are any yet.
pub trait PromptLookup {
    /// The encoding of a prompt; `None` if it is not ready. The same prompt gives the same `Arc`.
    fn conditioning(&self, prompt: &str) -> Option<Arc<Conditioning>>;
}

impl<F: Fn(&str) -> Option<Arc<Conditioning>>> PromptLookup for F {
    fn conditioning(&self, prompt: &str) -> Option<Arc<Conditioning>> {
        self(prompt)
    }
}

/// Prompts that were asked for in vain, each once.
#[derive(Default)]
pub(super) struct Missing(pub(super) Vec<String>);

impl Missing {
    fn look_up(&mut self, prompts: &dyn PromptLookup, prompt: &str) -> Option<Arc<Conditioning>> {
        let found = prompts.conditioning(prompt);
        if found.is_none() && !self.0.iter().any(|missing| missing == prompt) {
            self.0.push(prompt.to_owned());
        }
        found
    }
}

/// A region's prompts and what was made of them.
#[derive(Clone)]
pub(super) struct Prompts {
    pub(super) id: RegionId,
    pub(super) strength: f32,
    pub(super) positive: Option<Arc<Conditioning>>,
    pub(super) negative: Option<Arc<Conditioning>>,
    /// Whether guidance needs a negative side.
    wants_negative: bool,
    /// The picture's sizes, where the denoiser is told them.
    time_ids: Option<[f32; 6]>,
    pub(super) prepared: Option<RegionPrompt>,
}

impl Prompts {
    /// What a region's prompts are, as far as they are encoded; a prompt that is not keeps what was there.
    pub(super) fn of_region(
        known: Option<&Self>,
        region: &Region,
        wants_negative: bool,
        prompts: &dyn PromptLookup,
        missing: &mut Missing,
    ) -> Self {
        let positive = missing
            .look_up(prompts, &region.prompt)
            .or_else(|| known.and_then(|known| known.positive.clone()));
        let negative = wants_negative
            .then(|| {
                missing
                    .look_up(prompts, &region.negative_prompt)
                    .or_else(|| known.and_then(|known| known.negative.clone()))
            })
            .flatten();
        Self {
            id: region.id,
            strength: unit(region.prompt_strength, 1.0),
            positive,
            negative,
            wants_negative,
            time_ids: None,
            prepared: None,
        }
    }

    /// The background's prompts; they are only looked up where a region takes part of them or it is painted itself.
    pub(super) fn of_background(
        before: Option<&Canvas>,
        scene: &Scene,
        is_painted: bool,
        prompts: &dyn PromptLookup,
        missing: &mut Missing,
    ) -> Self {
        let known = before.map(|before| &before.background_prompt);
        let is_used = is_painted
            || scene
                .regions
                .iter()
                .any(|region| unit(region.prompt_strength, 1.0) < 1.0);
        let wants_negative = is_used && scene.settings.guidance.takes_negative_prompts();
        let mut find = |is_wanted: bool, prompt: &str, old: Option<Arc<Conditioning>>| {
            is_wanted
                .then(|| missing.look_up(prompts, prompt).or(old))
                .flatten()
        };
        Self {
            id: RegionId(0),
            strength: 1.0,
            positive: find(
                is_used,
                &scene.background.prompt,
                known.and_then(|known| known.positive.clone()),
            ),
            negative: find(
                wants_negative,
                &scene.background.negative_prompt,
                known.and_then(|known| known.negative.clone()),
            ),
            wants_negative,
            time_ids: None,
            prepared: None,
        }
    }

    /// Mixes the prompts with the background's and computes what the denoiser keeps of them, unless that is known.
    pub(super) fn prepare(
        &mut self,
        known: Option<&Self>,
        background_before: Option<&Self>,
        background: &Self,
        wants_negative: bool,
        geometry: &Geometry,
        parts: &ModelParts,
    ) -> Result<()> {
        let is_mixed = self.strength < 1.0;
        self.wants_negative = wants_negative;
        self.time_ids = parts.spec.has_added_conditioning.then(|| geometry.time_ids());
        if let (Some(known), Some(before)) = (known, background_before)
            && known.prepared.is_some()
            && known.strength == self.strength
            && is_same(known.positive.as_ref(), self.positive.as_ref())
            && is_same(known.negative.as_ref(), self.negative.as_ref())
            && known.wants_negative == wants_negative
            && (!is_mixed
                || is_same(before.positive.as_ref(), background.positive.as_ref())
                    && is_same(before.negative.as_ref(), background.negative.as_ref()))
            && known.time_ids == self.time_ids
        {
            self.prepared.clone_from(&known.prepared);
            return Ok(());
        }
        let prepare = |own: &Conditioning, background: Option<&Arc<Conditioning>>| {
            let mut mixed = match background {
                Some(background) if is_mixed => mixed(own, background, self.strength)?,
                _ => own.clone(),
            };
            if self.time_ids.is_some() {
                mixed.time_ids = self.time_ids;
            }
            parts.denoiser.prepare(&mixed)
        };
        let Some(positive) = &self.positive else {
            return Ok(());
        };
        let positive = prepare(positive, background.positive.as_ref()).doing("preparing a prompt")?;
        let negative = self
            .negative
            .as_ref()
            .map(|negative| prepare(negative, background.negative.as_ref()))
            .transpose()
            .doing("preparing a negative prompt")?
            // Until it is encoded, nothing is kept away: the prompt itself as its negative is the same as no guidance.
            .or_else(|| wants_negative.then(|| positive.clone()));
        self.prepared = Some(RegionPrompt { positive, negative });
        Ok(())
    }

    pub(super) fn is_prepared_as(&self, other: &Self) -> bool {
        match (&self.prepared, &other.prepared) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(&a.positive.0, &b.positive.0),
            _ => false,
        }
    }
}

/// The background's embedding at strength 0, the prompt's own at 1. The pooled embedding is the prompt's own.
fn mixed(own: &Conditioning, background: &Conditioning, strength: f32) -> candle_core::Result<Conditioning> {
    let difference = (&own.context - &background.context)?;
    Ok(Conditioning {
        context: (&background.context + (difference * f64::from(strength))?)?,
        pooled: own.pooled.clone(),
        time_ids: own.time_ids,
    })
}

fn is_same(a: Option<&Arc<Conditioning>>, b: Option<&Arc<Conditioning>>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        _ => false,
    }
}
