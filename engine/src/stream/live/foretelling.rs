//! Foretold pictures shown where something changed, and the finished one everywhere else.
//!
//! The first pass foretells a whole picture, roughly. Shown as it is, all of the canvas would turn rough and back at every
//! stroke, also what the stroke did not touch and what will be the same again a moment later. Nor is it a picture yet where
//! soft edges leave the background to be seen at the first level, which is white as a rule.

use std::sync::Arc;

use candle_core::{Tensor, TensorId};

use super::canvas::{Canvas, unit};
use crate::{
    Result,
    api::{Mask, RegionId, Seed, StreamSettings},
    error::Doing as _,
    stream::{
        centering::extent_of_mask, ground::Ground, masks::LatentSize, patches::Patches, step::RegionPrompt,
    },
};

/// How far beyond what changed a foretold picture is shown, in cells: the decoder looks around, too.
const MARGIN: usize = 2;
/// Coverage that differs by less is the outermost tail of a soft edge, which joins no level but the last ones.
const LEAST_DIFFERENCE: f32 = 0.05;
/// Width of the seam, in cells.
const SEAM: usize = 1;

/// A finished picture, and what it was painted from.
pub(super) struct Finished {
    /// `[1, c, h, w]`.
    pub(super) latent: Tensor,
    pub(super) look: Look,
}

/// What decides how a picture looks, as far as it tells where another one looks different.
pub(super) struct Look {
    size: LatentSize,
    settings: StreamSettings,
    seed: Seed,
    background: TensorId,
    ground: Option<Ground>,
    ground_prompt: Option<RegionPrompt>,
    regions: Vec<RegionLook>,
}

struct RegionLook {
    id: RegionId,
    mask: Mask,
    /// `[h, w]`.
    coverage: Arc<Vec<f32>>,
    patches: Patches,
    strength: f32,
    seed: Option<Seed>,
    prompt: RegionPrompt,
}

impl Look {
    pub(super) fn of(canvas: &Canvas) -> Self {
        let prepared = canvas
            .regions
            .iter()
            .filter_map(|prompts| prompts.prepared.as_ref());
        let regions = canvas
            .masks
            .layers()
            .iter()
            .zip(prepared)
            .zip(&canvas.patches)
            .map(|((layer, prompt), patches)| {
                let region = canvas.scene.regions.iter().find(|region| region.id == layer.id);
                RegionLook {
                    id: layer.id,
                    mask: layer.mask().clone(),
                    coverage: Arc::clone(&layer.coverage),
                    patches: patches.clone(),
                    strength: region.map_or(1.0, |region| unit(region.mask_strength, 1.0)),
                    seed: region.and_then(|region| region.seed),
                    prompt: prompt.clone(),
                }
            })
            .collect();
        Self {
            size: canvas.geometry.latent,
            settings: canvas.scene.settings.clone(),
            seed: canvas.scene.seed,
            background: canvas.background.id(),
            ground: canvas.ground.clone(),
            ground_prompt: canvas
                .ground
                .as_ref()
                .and_then(|_| canvas.background_prompt.prepared.clone()),
            regions,
        }
    }

    /// Where this look differs from an earlier one, `[h, w]`; `None` for everywhere.
    fn changed_cells(&self, before: &Self) -> Option<Vec<bool>> {
        let ids = |look: &Self| look.regions.iter().map(|region| region.id).collect::<Vec<_>>();
        let kept = |look: &Self, other: &Self| {
            let mut ids = ids(look);
            ids.retain(|id| other.regions.iter().any(|region| region.id == *id));
            ids
        };
        let is_elsewhere_the_same = self.size == before.size
            && self.settings == before.settings
            && self.seed == before.seed
            && self.background == before.background
            && self.ground == before.ground
            && is_same_prompt(self.ground_prompt.as_ref(), before.ground_prompt.as_ref())
            // In another order, regions may change wherever two of them meet.
            && kept(self, before) == kept(before, self);
        if !is_elsewhere_the_same {
            return None;
        }
        let mut changed = vec![false; self.size.area()];
        for region in &self.regions {
            match before.regions.iter().find(|other| other.id == region.id) {
                Some(other) => region.mark_changes(other, self.size, &mut changed),
                None => mark(&mut changed, |cell| region.coverage[cell] > 0.0),
            }
        }
        for region in &before.regions {
            if !self.regions.iter().any(|other| other.id == region.id) {
                mark(&mut changed, |cell| region.coverage[cell] > 0.0);
            }
        }
        Some(changed)
    }
}

impl RegionLook {
    fn mark_changes(&self, before: &Self, size: LatentSize, changed: &mut [bool]) {
        let is_painted = |cell: usize| self.coverage[cell] > 0.0 || before.coverage[cell] > 0.0;
        let is_other = self.strength != before.strength
            || self.seed != before.seed
            || !is_same_prompt(Some(&self.prompt), Some(&before.prompt));
        if is_other {
            return mark(changed, is_painted);
        }
        if Arc::ptr_eq(&self.coverage, &before.coverage) {
            return;
        }
        let is_repainted = self.mask.difference(&before.mask).is_some();
        let differs = |cell: usize| (self.coverage[cell] - before.coverage[cell]).abs() > LEAST_DIFFERENCE;
        for patch in 0..self.patches.count() {
            let is_here = |cell: usize| self.patches.of_cell(cell) == patch;
            let extent = extent_of_mask(&self.patches.part(&self.coverage, patch), size);
            let is_object = extent.height < size.height && extent.width < size.width;
            // An object fills its patch, and is another one in another patch. A scenery only grows or shrinks, and so does
            // what others cover.
            if is_repainted && is_object && (0..changed.len()).any(|cell| is_here(cell) && differs(cell)) {
                mark(changed, |cell| is_here(cell) && is_painted(cell));
            } else {
                mark(changed, |cell| is_here(cell) && differs(cell));
            }
        }
    }
}

fn mark(changed: &mut [bool], is_changed: impl Fn(usize) -> bool) {
    for (cell, changed) in changed.iter_mut().enumerate() {
        *changed |= is_changed(cell);
    }
}

fn is_same_prompt(a: Option<&RegionPrompt>, b: Option<&RegionPrompt>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => Arc::ptr_eq(&a.positive.0, &b.positive.0),
        _ => false,
    }
}

impl Finished {
    /// What a slot foretells where the canvas has changed since this one was finished, this one elsewhere.
    ///
    /// # Shapes
    /// - `foretold`: `[1, c, h, w]`, like the result
    pub(super) fn with_foretold(&self, foretold: Tensor, slot: usize, canvas: &Canvas) -> Result<Tensor> {
        let look = Look::of(canvas);
        let Some(changed) = look.changed_cells(&self.look) else {
            return Ok(foretold);
        };
        let LatentSize { height, width } = look.size;
        let share: Vec<f32> = changed
            .iter()
            .map(|&changed| f32::from(u8::from(changed)))
            .collect();
        let share = around(&share, look.size, MARGIN, |values| values.fold(0.0, f32::max));
        let share = around(&share, look.size, SEAM, |values| {
            let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
            sum / count
        });
        let backgrounds = &canvas.painting.masks.background; // [T, 1, h, w]
        let blend = || {
            let share = Tensor::from_vec(share, (1, 1, height, width), self.latent.device())?;
            // The background that shows at this level and not in the end.
            let last = backgrounds.narrow(0, canvas.table.count() - 1, 1)?;
            let passing = (backgrounds.narrow(0, slot, 1)? - last)?;
            let share = (share * passing.affine(-1.0, 1.0)?)?;
            (foretold - &self.latent)?.broadcast_mul(&share)? + &self.latent
        };
        blend().doing("foretelling the picture")
    }
}

/// For each cell what comes of all values up to a distance from it.
fn around(
    plane: &[f32],
    size: LatentSize,
    distance: usize,
    reduce: impl Fn(&mut dyn Iterator<Item = f32>) -> f32,
) -> Vec<f32> {
    // Along one axis after the other: both the largest and the mean of a square come apart like that.
    let along = |plane: &[f32], index: &dyn Fn(usize, usize) -> usize, lines: usize, length: usize| {
        let mut reduced = vec![0.0; plane.len()];
        for line in 0..lines {
            for place in 0..length {
                let near = place.saturating_sub(distance)..(place + distance + 1).min(length);
                reduced[index(line, place)] = reduce(&mut near.map(|near| plane[index(line, near)]));
            }
        }
        reduced
    };
    let LatentSize { height, width } = size;
    let rows = along(plane, &|y, x| y * width + x, height, width);
    along(&rows, &|x, y| y * width + x, width, height)
}
