//! The stream of a canvas that is being painted.
//!
//! A [`Session`] is given scenes and makes steps. Each scene is compared with the one before, and only what changed is
//! prepared anew. Edits join all latents in flight at the next step ([`EditPolicy::FlowThrough`]); with fixed noise an
//! unchanged canvas arrives at its picture after `T` steps and the session rests.
//!
//! The steps are made in one of two orders. In the *stream batch* all noise levels advance in one call and a picture
//! leaves at every step. In *sequential passes* one picture goes through all levels, and the first of them already
//! foretells it. Both arrive at the same picture.

mod canvas;
mod flight;
mod foretelling;
mod prompts;

use candle_core::{DType, Device, Tensor};

use self::{
    canvas::{Canvas, Change, all_onward, onward, validate},
    flight::{Flight, Made, Order},
    foretelling::{Finished, Look},
    prompts::Missing,
};
pub use self::{flight::Throughput, prompts::PromptLookup};
use super::{
    geometry::Geometry,
    noise::{Draw, NoiseSource as _},
    step::{Crop, RowChoice, StepOptions, advance},
};
use crate::{
    Error, Result,
    api::{
        BackgroundNoise, EditPolicy, FrameKind, PassOrder, Picture, PictureMode, Revision, Scene,
        StreamSettings,
    },
    error::Doing as _,
    models::traits::{Denoiser, ModelParts, ModelSpec},
};

/// Cells of all latents of one call of the denoiser together; more rows are computed in several calls.
pub(crate) const MAX_CELLS_PER_CALL: usize = 1 << 20;

/// What came of a scene.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Whether the picture may become another one.
    pub has_changed: bool,
    /// Prompts that are not encoded yet. Their regions keep what they had, or stay away; encode them and apply the
    /// scene again.
    pub missing_prompts: Vec<String>,
}

/// What a step gave.
#[derive(Clone, Debug)]
pub struct StepOutcome {
    /// The newest edit that had a part in it.
    pub revision: Revision,
    /// A latent to decode, `[1, c, h, w]`; not every pass gives one.
    pub latent: Option<Tensor>,
    /// How far along the latent is.
    pub kind: FrameKind,
    /// Steps until the newest edit has gone through every noise level; 0 when it has.
    pub steps_until_settled: u32,
    /// Rows given to the denoiser.
    pub rows: usize,
}

/// The state of one stream.
pub struct Session {
    spec: ModelSpec,
    device: Device,
    dtype: DType,
    throughput: Option<Throughput>,
    canvas: Option<Canvas>,
    flight: Flight,
    /// Steps until the newest edit has gone through every level.
    steps_left: usize,
    /// Steps made; numbers the noise of dreams.
    step_count: u64,
    /// What is shown: the newest finished latent, or the foretold one of a first picture.
    latest: Option<(Tensor, FrameKind)>,
    /// The newest picture that all edits had gone into, as far as it is held.
    finished: Option<Finished>,
    /// Whether pictures are foretold where one is shown already.
    foretells: bool,
    /// Cells of all latents of one call of the denoiser together.
    cells_per_call: usize,
}

impl Session {
    /// A stream of nothing yet.
    pub fn new(parts: &ModelParts) -> Self {
        Self {
            spec: parts.spec.clone(),
            device: parts.device.clone(),
            dtype: parts.dtype,
            throughput: None,
            canvas: None,
            flight: Flight::Batch(Vec::new()),
            steps_left: 0,
            step_count: 0,
            latest: None,
            finished: None,
            foretells: true,
            cells_per_call: MAX_CELLS_PER_CALL,
        }
    }

    /// A stream of nothing yet that knows what this one has learnt of the device.
    pub fn renewed(&self, parts: &ModelParts) -> Self {
        Self {
            throughput: self.throughput,
            cells_per_call: self.cells_per_call,
            ..Self::new(parts)
        }
    }

    /// Gives the denoiser half as many rows in a call from now on. `false` if there is one row already.
    pub fn halve_calls(&mut self) -> bool {
        let Some(canvas) = &self.canvas else { return false };
        let area = canvas.geometry.latent.area();
        let needed = canvas.painting.rows_needed(0..canvas.table.count()) * area;
        self.halve_calls_from(needed, area)
    }

    /// As [`Self::halve_calls`], where a render of a scene has too large calls. It computes level by level, the canvas
    /// whole or in windows of the size that the model was trained for.
    pub fn halve_calls_of_render(&mut self, scene: &Scene) -> bool {
        let guided = scene.settings.guidance.takes_negative_prompts();
        let regions = scene.regions.len() + usize::from(scene.background.keep_strength < 1.0);
        let rows = regions * if guided { 2 } else { 1 };
        let whole = Geometry::new(scene.size, &self.spec).latent.area();
        let window = (self.spec.native_side as usize / self.spec.downscale.max(1)).pow(2);
        self.halve_calls_from(rows * whole.max(window), whole.min(window))
    }

    /// Halves calls that have `needed` cells together, if `least` still fit.
    fn halve_calls_from(&mut self, needed: usize, least: usize) -> bool {
        let half = self.cells_per_call.min(needed) / 2;
        if half < least {
            return false;
        }
        self.cells_per_call = half;
        true
    }

    /// Cells of all latents of one call of the denoiser together, at most.
    pub fn cells_per_call(&self) -> usize {
        self.cells_per_call
    }

    /// Rows of one call of the denoiser, at most.
    pub fn most_rows(&self) -> usize {
        let area = self.geometry().map_or(1, |geometry| geometry.latent.area());
        (self.cells_per_call / area).max(1)
    }

    /// Gives the denoiser no more cells in a call from now on.
    pub fn limit_calls(&mut self, cells: usize) {
        self.cells_per_call = cells;
    }

    /// Tells how fast the device is; [`PassOrder::Auto`] chooses by it.
    pub fn set_throughput(&mut self, throughput: Throughput) {
        self.throughput = Some(throughput);
    }

    /// Whether sequential passes foretell pictures from now on. The first picture of a canvas always is.
    pub fn foretell(&mut self, foretells: bool) {
        self.foretells = foretells;
    }

    /// Whether nothing would come of another step.
    pub fn is_settled(&self) -> bool {
        self.canvas.as_ref().is_none_or(|canvas| {
            // Where nothing is painted there is nothing to dream of.
            let rests = || canvas.painting.rows_needed(0..canvas.table.count()) == 0;
            self.steps_left == 0 && (canvas.scene.settings.picture == PictureMode::Held || rests())
        })
    }

    /// The newest scene that was taken over.
    pub fn revision(&self) -> Revision {
        self.canvas.as_ref().map_or(Revision(0), |canvas| canvas.revision)
    }

    /// Steps until the newest edit has gone through every noise level.
    pub fn steps_until_settled(&self) -> u32 {
        self.steps_left as u32
    }

    /// How the canvas lies on the model's grid; `None` before the first scene.
    pub fn geometry(&self) -> Option<&Geometry> {
        self.canvas.as_ref().map(|canvas| &canvas.geometry)
    }

    /// The picture of a decoded latent, at the canvas' size.
    ///
    /// # Errors
    /// [`Error::NoModel`] before the first scene; otherwise if the tensor does not fit the canvas.
    pub fn picture(&self, decoded: &Tensor) -> Result<Picture> {
        self.geometry().ok_or(Error::NoModel)?.picture(decoded)
    }

    /// Takes over a scene. On an error the stream goes on with the one it had.
    ///
    /// # Errors
    /// [`Error::Scene`] if the scene contradicts itself; otherwise if a tensor operation fails.
    pub fn apply(
        &mut self,
        revision: Revision,
        scene: &Scene,
        prompts: &dyn PromptLookup,
        parts: &ModelParts,
    ) -> Result<Applied> {
        validate(scene)?;
        let before = self.canvas.as_ref();
        let mut missing = Missing::default();
        let (canvas, change) = Canvas::prepare(before, revision, scene, prompts, parts, &mut missing)?;
        let order = self.order(&canvas.scene.settings, canvas.table.count());
        let slots = canvas.table.count();
        match change {
            Change::None => {}
            Change::Edit if scene.settings.edits == EditPolicy::FlowThrough => {
                self.steps_left = match &mut self.flight {
                    Flight::Sequential {
                        slot,
                        latent: Some(_),
                        is_outdated,
                    } => {
                        *is_outdated = true;
                        2 * slots - *slot
                    }
                    _ => slots,
                };
            }
            Change::Edit | Change::Shape => {
                self.flight = Flight::empty(order, slots);
                self.steps_left = slots;
                if change == Change::Shape {
                    self.latest = None;
                    self.finished = None;
                }
            }
        }
        if !self.flight.is_in(order) {
            self.flight = Flight::empty(order, slots);
            self.steps_left = slots;
        }
        self.canvas = Some(canvas);
        Ok(Applied {
            has_changed: change != Change::None,
            missing_prompts: missing.0,
        })
    }

    fn order(&self, settings: &StreamSettings, slots: usize) -> Order {
        match settings.pass_order {
            PassOrder::StreamBatch => Order::Batch,
            PassOrder::Sequential => Order::Sequential,
            PassOrder::Auto => {
                // Where nothing is measured yet: a processor is filled by the rows of one level.
                let favours_batch = match self.throughput {
                    Some(throughput) => throughput.favours_batch(slots),
                    None => !self.device.is_cpu(),
                };
                if favours_batch {
                    Order::Batch
                } else {
                    Order::Sequential
                }
            }
        }
    }

    /// Makes one step: one call of the denoiser with all rows that are needed.
    ///
    /// On an error the latents in flight stay as they were before the step.
    ///
    /// # Errors
    /// [`Error::NoModel`] before the first scene; [`Error::NotFinite`] if the denoiser gives what is not a number;
    /// otherwise if a tensor operation fails.
    pub fn step(&mut self, denoiser: &mut dyn Denoiser) -> Result<StepOutcome> {
        let Some(canvas) = &self.canvas else {
            return Err(Error::NoModel);
        };
        if self.is_settled()
            && let Some((latent, kind)) = &self.latest
        {
            return Ok(StepOutcome {
                revision: canvas.revision,
                latent: Some(latent.clone()),
                kind: *kind,
                steps_until_settled: 0,
                rows: 0,
            });
        }
        let slots = canvas.table.count();
        if canvas.painting.rows_needed(0..slots) == 0 {
            // Nothing is painted: the picture is its background.
            let latent = canvas.painting.background.clone();
            let order = self.order(&canvas.scene.settings, slots);
            let revision = canvas.revision;
            self.finished = Some(Finished {
                latent: latent.clone(),
                look: Look::of(canvas),
            });
            self.flight = Flight::empty(order, slots);
            self.steps_left = 0;
            self.latest = Some((latent.clone(), FrameKind::Complete));
            return Ok(StepOutcome {
                revision,
                latent: Some(latent),
                kind: FrameKind::Complete,
                steps_until_settled: 0,
                rows: 0,
            });
        }
        let fresh = self.fresh_latent(canvas)?;
        let made = match &self.flight {
            Flight::Batch(waiting) => self.batch_step(canvas, waiting, fresh, denoiser),
            Flight::Sequential {
                slot,
                latent,
                is_outdated,
            } => {
                let latent = latent.clone().unwrap_or(fresh);
                self.sequential_step(canvas, *slot, &latent, *is_outdated, denoiser)
            }
        }?;
        let revision = canvas.revision;
        let is_held = canvas.scene.settings.picture == PictureMode::Held;
        match (&made.latent, &mut self.finished) {
            _ if !is_held => self.finished = None,
            (Some(latent), _) if made.kind == FrameKind::Complete && made.steps_left == 0 => {
                self.finished = Some(Finished {
                    latent: latent.clone(),
                    look: Look::of(canvas),
                });
            }
            // The newest edits are in it in part: they still count as changes.
            (Some(latent), Some(finished)) if made.kind == FrameKind::Complete => {
                finished.latent = latent.clone();
            }
            _ => {}
        }
        self.flight = made.flight;
        self.step_count += 1;
        self.steps_left = made.steps_left;
        if let Some(latent) = &made.latent {
            self.latest = Some((latent.clone(), made.kind));
        }
        Ok(StepOutcome {
            revision,
            latent: made.latent,
            kind: made.kind,
            steps_until_settled: self.steps_left as u32,
            rows: made.rows,
        })
    }

    /// What enters the first slot: the canvas' own noise, or new noise in a dream.
    fn fresh_latent(&self, canvas: &Canvas) -> Result<Tensor> {
        let noise = match canvas.scene.settings.picture {
            PictureMode::Held => canvas.noise.slot(0),
            PictureMode::Dream => {
                let mut seed = canvas.scene.seed;
                seed.draw(
                    Draw::Fresh(self.step_count),
                    self.spec.latent_channels,
                    canvas.geometry.latent,
                    &self.device,
                )
            }
        };
        noise
            .and_then(|noise| noise * canvas.table.initial_scale)
            .doing("drawing noise")
    }

    fn batch_step(
        &self,
        canvas: &Canvas,
        waiting: &[Option<Tensor>],
        fresh: Tensor,
        denoiser: &mut dyn Denoiser,
    ) -> Result<Made> {
        let count = canvas.table.count();
        let (mut slots, mut latents) = (vec![0], vec![fresh]);
        for (slot, latent) in waiting.iter().enumerate().skip(1) {
            if let Some(latent) = latent {
                slots.push(slot);
                latents.push(latent.clone());
            }
        }
        let (results, rows) = self.advance(canvas, &slots, &latents, denoiser)?;
        let mut next = vec![None; count];
        for (slot, latent) in all_onward(canvas, &slots, &results)? {
            next[slot] = Some(latent);
        }
        // The latent that has come furthest: finished, or a foretelling while the stream fills.
        let furthest = slots.len() - 1;
        let slot = slots[furthest];
        let is_finished = slot + 1 == count;
        let latent = results
            .narrow(0, furthest, 1)
            .and_then(|result| canvas.table.slots()[slot].foretold(&latents[furthest], &result))
            .doing("foretelling the picture")?;
        let latent = match &self.finished {
            Some(finished) if !is_finished => finished.with_foretold(latent, slot, canvas)?,
            _ => latent,
        };
        Ok(Made {
            flight: Flight::Batch(next),
            latent: Some(latent),
            kind: if is_finished {
                FrameKind::Complete
            } else {
                FrameKind::Preview
            },
            steps_left: self.steps_left.saturating_sub(1),
            rows,
        })
    }

    fn sequential_step(
        &self,
        canvas: &Canvas,
        slot: usize,
        latent: &Tensor,
        is_outdated: bool,
        denoiser: &mut dyn Denoiser,
    ) -> Result<Made> {
        let count = canvas.table.count();
        let (result, rows) = self.advance(canvas, &[slot], std::slice::from_ref(latent), denoiser)?;
        if slot + 1 == count {
            return Ok(Made {
                flight: Flight::empty(Order::Sequential, count),
                latent: Some(result),
                kind: FrameKind::Complete,
                steps_left: if is_outdated { count } else { 0 },
                rows,
            });
        }
        // Where every edit starts over, edits that come faster than a picture takes would otherwise show nothing at all.
        let starts_over = canvas.scene.settings.edits == EditPolicy::Flush;
        let is_foretold = slot == 0 && (self.foretells || starts_over || self.latest.is_none());
        let preview = is_foretold
            .then(|| canvas.table.slots()[slot].foretold(latent, &result))
            .transpose()
            .doing("foretelling the picture")?;
        let preview = match (preview, &self.finished) {
            (Some(preview), Some(finished)) => Some(finished.with_foretold(preview, slot, canvas)?),
            (preview, _) => preview,
        };
        Ok(Made {
            flight: Flight::Sequential {
                slot: slot + 1,
                latent: Some(onward(canvas, slot, &result)?),
                is_outdated,
            },
            latent: preview,
            kind: FrameKind::Preview,
            // In a dream the newest edit may have gone through long ago.
            steps_left: match (self.steps_left, is_outdated) {
                (0, _) => 0,
                (_, true) => 2 * count - slot - 1,
                (_, false) => count - slot - 1,
            },
            rows,
        })
    }

    /// Advances the latents of some slots and makes sure that numbers came out: `[n, c, h, w]`.
    fn advance(
        &self,
        canvas: &Canvas,
        slots: &[usize],
        latents: &[Tensor],
        denoiser: &mut dyn Denoiser,
    ) -> Result<(Tensor, usize)> {
        let stock = match canvas.scene.settings.background_noise {
            BackgroundNoise::Corrected => Ok(canvas.noise.tensor.clone()),
            BackgroundNoise::Reference => canvas
                .noise
                .slot(0)
                .and_then(|noise| noise.repeat((canvas.table.count(), 1, 1, 1))),
        };
        let options = StepOptions {
            rows: RowChoice::Needed,
            max_rows: self.most_rows(),
            dtype: self.dtype,
            crop: Crop::for_setting(canvas.scene.settings.region_crop, &self.spec),
            probe: None,
        };
        let results = stock
            .and_then(|stock| {
                let latents = Tensor::cat(latents, 0)?;
                advance(
                    &canvas.table,
                    &canvas.painting,
                    slots,
                    &latents,
                    &stock,
                    denoiser,
                    options,
                )
            })
            .doing("denoising")?;
        let sum = results
            .sum_all()
            .and_then(|sum| sum.to_scalar::<f32>())
            .doing("denoising")?;
        if !sum.is_finite() {
            return Err(Error::NotFinite);
        }
        Ok((results, canvas.painting.rows_needed(slots.iter().copied())))
    }
}

#[cfg(test)]
mod tests;
