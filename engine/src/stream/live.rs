//! The stream of a canvas that is being painted.
//!
//! A [`Session`] is given scenes and makes steps. Each scene is compared with the one before, and only what changed is
//! prepared anew. Edits join all latents in flight at the next step ([`EditPolicy::FlowThrough`]); with fixed noise an
//! unchanged canvas arrives at its picture after `T` steps and the session rests.
//!
//! The steps are made in one of two orders. In the *stream batch* all noise levels advance in one call and a picture
//! leaves at every step. In *sequential passes* one picture goes through all levels, and the first of them already
//! foretells it. Both arrive at the same picture.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::{
    geometry::Geometry,
    mask_set::MaskSet,
    masks::{MaskPlanes, Masks, quantise},
    noise::{Draw, NoiseSource as _},
    noise_field::NoiseField,
    step::{Painting, RegionPrompt, RowChoice, StepOptions, advance, needs_negative_prompts},
};
use crate::{
    Error, Result,
    api::{
        BackgroundNoise, EditPolicy, FrameKind, PassOrder, Picture, PictureMode, Region, RegionId, Revision,
        Scene, StreamSettings,
    },
    error::Doing as _,
    image,
    models::traits::{Conditioning, Denoiser, ModelParts, ModelSpec},
    schedule::SlotTable,
};

/// Cells of all latents of one call of the denoiser together; more rows are computed in several calls.
const MAX_CELLS_PER_CALL: usize = 1 << 20;

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

/// How fast the device is, to choose between the two orders.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Throughput {
    /// Rows per second with one noise level in a batch.
    pub one_level: f64,
    /// Rows per second with all noise levels in a batch.
    pub all_levels: f64,
}

impl Throughput {
    /// Whether a batch of all levels is worth waiting for.
    ///
    /// A batch answers an edit after `T` rows' time per region where a pass needs one. It pays where that costs at most
    /// two passes: the picture is then complete after at most twice the time, with `T / 2` times as many frames.
    fn favours_batch(self, slots: usize) -> bool {
        self.all_levels >= self.one_level * slots as f64 / 2.0
    }
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
    /// The newest finished latent.
    latest: Option<(Tensor, FrameKind)>,
}

/// A scene, prepared.
struct Canvas {
    revision: Revision,
    scene: Scene,
    geometry: Geometry,
    table: SlotTable,
    masks: MaskSet,
    /// Cut masks of each region that is shown, `T` planes of `[h, w]`.
    cut: Vec<Arc<Vec<f32>>>,
    regions: Vec<Prompts>,
    background_prompt: Prompts,
    background: Tensor,
    white: Tensor,
    noise: NoiseField,
    painting: Painting,
}

/// A region's prompts and what was made of them.
#[derive(Clone)]
struct Prompts {
    id: RegionId,
    strength: f32,
    positive: Option<Arc<Conditioning>>,
    negative: Option<Arc<Conditioning>>,
    /// Height and width in pixels, where the denoiser is told them.
    size: Option<(usize, usize)>,
    prepared: Option<RegionPrompt>,
}

/// The latents on their way.
enum Flight {
    /// The latent that waits before each slot; the first waits for fresh noise.
    Batch(Vec<Option<Tensor>>),
    /// One picture: the slot it has come to and its latent.
    Sequential {
        slot: usize,
        latent: Option<Tensor>,
        /// Whether the canvas changed since the first slot.
        is_outdated: bool,
    },
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
        }
    }

    /// Tells how fast the device is; [`PassOrder::Auto`] chooses by it.
    pub fn set_throughput(&mut self, throughput: Throughput) {
        self.throughput = Some(throughput);
    }

    /// Whether nothing would come of another step.
    pub fn is_settled(&self) -> bool {
        self.canvas
            .as_ref()
            .is_none_or(|canvas| self.steps_left == 0 && canvas.scene.settings.picture == PictureMode::Held)
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
        let (canvas, change) = self.prepare(before, revision, scene, prompts, parts, &mut missing)?;
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

    fn prepare(
        &self,
        before: Option<&Canvas>,
        revision: Revision,
        scene: &Scene,
        prompts: &dyn PromptLookup,
        parts: &ModelParts,
        missing: &mut Missing,
    ) -> Result<(Canvas, Change)> {
        let settings = &scene.settings;
        let geometry = match before {
            Some(before) if before.scene.size == scene.size => before.geometry.clone(),
            _ => Geometry::new(scene.size, &self.spec),
        };
        let table = match before {
            Some(before)
                if before.scene.settings.steps == settings.steps
                    && before.scene.settings.background_noise == settings.background_noise =>
            {
                before.table.clone()
            }
            _ => SlotTable::for_model(&self.spec, &settings.steps, settings.background_noise),
        };
        let same_shape = before.filter(|before| {
            before.geometry.latent == geometry.latent && before.table.count() == table.count()
        });
        let background_prompt = Prompts::of_background(before, scene, prompts, missing);
        let wants_negative = needs_negative_prompts(settings.guidance);
        let regions = scene
            .regions
            .iter()
            .map(|region| {
                let known =
                    before.and_then(|before| before.regions.iter().find(|known| known.id == region.id));
                let mut found = Prompts::of_region(known, region, wants_negative, prompts, missing);
                let background_before = before.map(|before| &before.background_prompt);
                found.prepare(known, background_before, &background_prompt, &geometry, parts)?;
                Ok(found)
            })
            .collect::<Result<Vec<_>>>()?;

        // A region whose prompt was never encoded stays away, its mask included.
        let shown: Vec<&Region> = scene
            .regions
            .iter()
            .zip(&regions)
            .filter_map(|(region, prompts)| prompts.prepared.is_some().then_some(region))
            .collect();
        let masks = MaskSet::new(
            before.map(|before| &before.masks),
            &geometry,
            &shown,
            unit(settings.cover_alpha, 0.0),
        );
        let cut = cut_masks(before, settings, &shown, &masks, &table);
        let noise = NoiseField::new(
            before.map(|before| &before.noise),
            scene.seed,
            (table.count(), self.spec.latent_channels, geometry.latent),
            &shown,
            &masks,
            &self.device,
        )
        .doing("preparing the noise")?;
        let (white, background) = self.background(before, scene, &geometry, parts)?;

        let has_same_masks = before.is_some_and(|before| {
            before.cut.len() == cut.len()
                && before.cut.iter().zip(&cut).all(|(a, b)| Arc::ptr_eq(a, b))
                && same_shape.is_some()
        });
        let device_masks = match before {
            Some(before) if has_same_masks => before.painting.masks.clone(),
            _ => {
                let planes: Vec<&[f32]> = cut.iter().map(|planes| planes.as_slice()).collect();
                let planes = MaskPlanes::new(geometry.latent, table.count(), &planes);
                Masks::new(&planes, &self.device).doing("preparing the masks")?
            }
        };
        let painting = Painting {
            masks: device_masks,
            prompts: regions
                .iter()
                .filter_map(|prompts| prompts.prepared.clone())
                .collect(),
            background: background.clone(),
            white: white.clone(),
            bootstrap_steps: usize::from(settings.bootstrap_steps),
            bootstrap_mix_steps: finite(f64::from(settings.bootstrap_mix_steps), 0.0),
            guidance: settings.guidance,
        };
        let change = match same_shape {
            None => Change::Shape,
            Some(before) => {
                let same_prompts = before.regions.len() == regions.len()
                    && before
                        .regions
                        .iter()
                        .zip(&regions)
                        .all(|(a, b)| a.is_prepared_as(b));
                let is_same = has_same_masks
                    && same_prompts
                    && before.noise.tensor.id() == noise.tensor.id()
                    && before.background.id() == background.id()
                    && same_flow(&before.scene.settings, settings)
                    && before.scene.size == scene.size;
                if is_same { Change::None } else { Change::Edit }
            }
        };
        let canvas = Canvas {
            revision,
            scene: scene.clone(),
            geometry,
            table,
            masks,
            cut,
            regions,
            background_prompt,
            background,
            white,
            noise,
            painting,
        };
        Ok((canvas, change))
    }

    /// The latents of white and of the picture behind everything.
    fn background(
        &self,
        before: Option<&Canvas>,
        scene: &Scene,
        geometry: &Geometry,
        parts: &ModelParts,
    ) -> Result<(Tensor, Tensor)> {
        let before = before.filter(|before| before.geometry == *geometry);
        let encode = |picture: &Picture| -> Result<Tensor> {
            let picture = image::fitted(picture, geometry.working);
            let (height, width) = geometry.padded();
            let pixels = image::tensor_from_picture(&picture, height, width, &self.device)?;
            pixels
                .to_dtype(self.dtype)
                .and_then(|pixels| parts.codec.encode(&pixels, None))
                .and_then(|latent| latent.to_dtype(DType::F32))
                .doing("encoding the background")
        };
        let white = match before {
            Some(before) => before.white.clone(),
            None => encode(&Picture::solid(geometry.working, [255; 4]))?,
        };
        let background = match (&scene.background.image, before) {
            (None, _) => white.clone(),
            (Some(picture), Some(before)) if before.scene.background.image.as_ref() == Some(picture) => {
                before.background.clone()
            }
            (Some(picture), _) => encode(picture)?,
        };
        Ok((white, background))
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
        for (result, &slot) in results.iter().zip(&slots) {
            if slot + 1 < count {
                next[slot + 1] = Some(onward(canvas, slot, result)?);
            }
        }
        // The latent that has come furthest: finished, or a foretelling while the stream fills.
        let furthest = slots.len() - 1;
        let slot = slots[furthest];
        let is_finished = slot + 1 == count;
        let latent = canvas.table.slots()[slot]
            .foretold(&latents[furthest], &results[furthest])
            .doing("foretelling the picture")?;
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
        let (results, rows) = self.advance(canvas, &[slot], std::slice::from_ref(latent), denoiser)?;
        let result = &results[0];
        if slot + 1 == count {
            return Ok(Made {
                flight: Flight::empty(Order::Sequential, count),
                latent: Some(result.clone()),
                kind: FrameKind::Complete,
                steps_left: if is_outdated { count } else { 0 },
                rows,
            });
        }
        let preview = (slot == 0)
            .then(|| canvas.table.slots()[slot].foretold(latent, result))
            .transpose()
            .doing("foretelling the picture")?;
        Ok(Made {
            flight: Flight::Sequential {
                slot: slot + 1,
                latent: Some(onward(canvas, slot, result)?),
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

    /// Advances the latents of some slots and makes sure that numbers came out.
    fn advance(
        &self,
        canvas: &Canvas,
        slots: &[usize],
        latents: &[Tensor],
        denoiser: &mut dyn Denoiser,
    ) -> Result<(Vec<Tensor>, usize)> {
        let stock = match canvas.scene.settings.background_noise {
            BackgroundNoise::Corrected => Ok(canvas.noise.tensor.clone()),
            BackgroundNoise::Reference => canvas
                .noise
                .slot(0)
                .and_then(|noise| noise.repeat((canvas.table.count(), 1, 1, 1))),
        };
        let options = StepOptions {
            rows: RowChoice::Needed,
            max_rows: (MAX_CELLS_PER_CALL / canvas.geometry.latent.area()).max(1),
            dtype: self.dtype,
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
        let results = results.chunk(slots.len(), 0).doing("denoising")?;
        Ok((results, canvas.painting.rows_needed(slots.iter().copied())))
    }
}

/// What a step made, before it is taken over.
struct Made {
    flight: Flight,
    latent: Option<Tensor>,
    kind: FrameKind,
    steps_left: usize,
    rows: usize,
}

/// How much a scene differs from the one before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    /// The picture stays.
    None,
    /// Latents in flight can go on.
    Edit,
    /// Latents have another size or number.
    Shape,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Batch,
    Sequential,
}

impl Flight {
    fn empty(order: Order, slots: usize) -> Self {
        match order {
            Order::Batch => Self::Batch(vec![None; slots]),
            Order::Sequential => Self::Sequential {
                slot: 0,
                latent: None,
                is_outdated: false,
            },
        }
    }

    fn is_in(&self, order: Order) -> bool {
        matches!(
            (self, order),
            (Self::Batch(_), Order::Batch) | (Self::Sequential { .. }, Order::Sequential)
        )
    }
}

/// Prompts that were asked for in vain, each once.
#[derive(Default)]
struct Missing(Vec<String>);

impl Missing {
    fn look_up(&mut self, prompts: &dyn PromptLookup, prompt: &str) -> Option<Arc<Conditioning>> {
        let found = prompts.conditioning(prompt);
        if found.is_none() && !self.0.iter().any(|missing| missing == prompt) {
            self.0.push(prompt.to_owned());
        }
        found
    }
}

impl Prompts {
    /// What a region's prompts are, as far as they are encoded; a prompt that is not keeps what was there.
    fn of_region(
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
            size: None,
            prepared: None,
        }
    }

    /// The background's prompts; they are only looked up where a region takes part of them.
    fn of_background(
        before: Option<&Canvas>,
        scene: &Scene,
        prompts: &dyn PromptLookup,
        missing: &mut Missing,
    ) -> Self {
        let known = before.map(|before| &before.background_prompt);
        let is_mixed = scene
            .regions
            .iter()
            .any(|region| unit(region.prompt_strength, 1.0) < 1.0);
        let wants_negative = is_mixed && needs_negative_prompts(scene.settings.guidance);
        let mut find = |is_wanted: bool, prompt: &str, old: Option<Arc<Conditioning>>| {
            is_wanted
                .then(|| missing.look_up(prompts, prompt).or(old))
                .flatten()
        };
        Self {
            id: RegionId(0),
            strength: 1.0,
            positive: find(
                is_mixed,
                &scene.background.prompt,
                known.and_then(|known| known.positive.clone()),
            ),
            negative: find(
                wants_negative,
                &scene.background.negative_prompt,
                known.and_then(|known| known.negative.clone()),
            ),
            size: None,
            prepared: None,
        }
    }

    /// Mixes the prompts with the background's and computes what the denoiser keeps of them, unless that is known.
    fn prepare(
        &mut self,
        known: Option<&Self>,
        background_before: Option<&Self>,
        background: &Self,
        geometry: &Geometry,
        parts: &ModelParts,
    ) -> Result<()> {
        let is_mixed = self.strength < 1.0;
        self.size = parts.spec.has_added_conditioning.then(|| geometry.padded());
        if let (Some(known), Some(before)) = (known, background_before)
            && known.prepared.is_some()
            && known.strength == self.strength
            && is_same(known.positive.as_ref(), self.positive.as_ref())
            && is_same(known.negative.as_ref(), self.negative.as_ref())
            && (!is_mixed
                || is_same(before.positive.as_ref(), background.positive.as_ref())
                    && is_same(before.negative.as_ref(), background.negative.as_ref()))
            && known.size == self.size
        {
            self.prepared.clone_from(&known.prepared);
            return Ok(());
        }
        let prepare = |own: &Conditioning, background: Option<&Arc<Conditioning>>| {
            let mut mixed = match background {
                Some(background) if is_mixed => mixed(own, background, self.strength)?,
                _ => own.clone(),
            };
            if let Some((height, width)) = self.size {
                let (height, width) = (height as f32, width as f32);
                mixed.time_ids = Some([height, width, 0.0, 0.0, height, width]);
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
            .doing("preparing a negative prompt")?;
        self.prepared = Some(RegionPrompt { positive, negative });
        Ok(())
    }

    fn is_prepared_as(&self, other: &Self) -> bool {
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

/// The cut masks of all layers; a layer whose coverage, weight and levels are as before keeps its own.
fn cut_masks(
    before: Option<&Canvas>,
    settings: &StreamSettings,
    shown: &[&Region],
    masks: &MaskSet,
    table: &SlotTable,
) -> Vec<Arc<Vec<f32>>> {
    let before = before.filter(|before| {
        let known = &before.scene.settings;
        known.mask_mode == settings.mask_mode && known.steps == settings.steps
    });
    masks
        .layers()
        .iter()
        .zip(shown)
        .map(|(layer, region)| {
            let strength = unit(region.mask_strength, 1.0);
            let known = before.and_then(|before| {
                let layers = before.masks.layers();
                let place = layers.iter().position(|known| known.id == region.id)?;
                let known = before.scene.regions.iter().find(|known| known.id == region.id)?;
                let is_same = unit(known.mask_strength, 1.0) == strength
                    && Arc::ptr_eq(&layers[place].coverage, &layer.coverage);
                is_same.then(|| Arc::clone(&before.cut[place]))
            });
            known.unwrap_or_else(|| {
                let weighted: Vec<f32> = layer.coverage.iter().map(|value| value * strength).collect();
                Arc::new(quantise(&weighted, settings.mask_mode, table))
            })
        })
        .collect()
}

/// Whether settings that change the picture are the same; the others only change how it is made.
fn same_flow(a: &StreamSettings, b: &StreamSettings) -> bool {
    StreamSettings {
        pass_order: b.pass_order,
        edits: b.edits,
        ..a.clone()
    } == *b
}

fn validate(scene: &Scene) -> Result<()> {
    for (index, region) in scene.regions.iter().enumerate() {
        if region.mask.size() != scene.size {
            return Err(Error::MaskLength {
                expected: scene.size.area(),
                found: region.mask.size().area(),
            });
        }
        if scene.regions[..index].iter().any(|other| other.id == region.id) {
            return Err(Error::Scene {
                reason: format!("two regions have the number {}", region.id.0),
            });
        }
    }
    Ok(())
}

fn onward(canvas: &Canvas, slot: usize, result: &Tensor) -> Result<Tensor> {
    canvas
        .noise
        .slot(slot + 1)
        .and_then(|noise| canvas.table.slots()[slot].onward.apply(result, &noise))
        .doing("noising to the next level")
}

/// A value in 0..1.
fn unit(value: f32, if_not_a_number: f32) -> f32 {
    if value.is_nan() {
        if_not_a_number
    } else {
        value.clamp(0.0, 1.0)
    }
}

fn finite(value: f64, otherwise: f64) -> f64 {
    if value.is_finite() { value } else { otherwise }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::{Background, CanvasSize, Mask, ModelChoice, ModelSource, PixelRect, Seed, StepList},
        device::Compute,
        models::{
            toy,
            traits::{PreparedPrompt, Row},
        },
    };

    fn parts() -> ModelParts {
        let choice = ModelChoice::plain(ModelSource::Toy);
        toy::load(&choice, &Compute::cpu()).unwrap().parts
    }

    /// Encodes every prompt but those that begin with "unknown".
    #[derive(Default)]
    struct Encoded(parking_lot::Mutex<std::collections::BTreeMap<String, Arc<Conditioning>>>);

    impl PromptLookup for Encoded {
        fn conditioning(&self, prompt: &str) -> Option<Arc<Conditioning>> {
            if prompt.starts_with("unknown") {
                return None;
            }
            let encode = || {
                Arc::new(Conditioning {
                    context: Tensor::new(&[toy::colour_of_prompt(prompt)], &Device::Cpu).unwrap(),
                    pooled: None,
                    time_ids: None,
                })
            };
            Some(Arc::clone(
                self.0.lock().entry(prompt.to_owned()).or_insert_with(encode),
            ))
        }
    }

    /// A stream with its model.
    struct Bench {
        parts: ModelParts,
        prompts: Encoded,
        session: Session,
        revision: u64,
    }

    impl Bench {
        fn new(scene: &Scene) -> Self {
            let parts = parts();
            let session = Session::new(&parts);
            let mut bench = Self {
                parts,
                prompts: Encoded::default(),
                session,
                revision: 0,
            };
            bench.apply(scene);
            bench
        }

        fn apply(&mut self, scene: &Scene) -> Applied {
            self.revision += 1;
            self.session
                .apply(Revision(self.revision), scene, &self.prompts, &self.parts)
                .unwrap()
        }

        fn step(&mut self) -> StepOutcome {
            self.session.step(self.parts.denoiser.as_mut()).unwrap()
        }

        /// Steps until nothing changes any more and gives the picture's latent.
        fn settle(&mut self) -> (Vec<f32>, usize) {
            let mut steps = 0;
            loop {
                let outcome = self.step();
                steps += 1;
                assert!(steps < 100, "the picture never settles");
                if self.session.is_settled() {
                    assert_eq!(outcome.kind, FrameKind::Complete);
                    return (values(&outcome.latent.unwrap()), steps);
                }
            }
        }

        fn pixel(&mut self, x: usize, y: usize) -> [u8; 3] {
            self.settle();
            let (latent, _) = self.session.latest.clone().unwrap();
            let decoded = self.parts.codec.decode(&latent).unwrap();
            let picture = self.session.picture(&decoded).unwrap();
            let start = (y * picture.size().width() as usize + x) * 4;
            picture.rgba()[start..start + 3].try_into().unwrap()
        }
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    fn painted(size: CanvasSize, rect: PixelRect) -> Mask {
        let mut coverage = vec![0; size.area()];
        for y in rect.y0..rect.y1 {
            for x in rect.x0..rect.x1 {
                coverage[(y * size.width() + x) as usize] = 255;
            }
        }
        Mask::from_coverage(size, &coverage).unwrap()
    }

    fn region(id: u64, prompt: &str, mask: Mask) -> Region {
        Region {
            id: RegionId(id),
            prompt: prompt.to_owned(),
            negative_prompt: String::new(),
            prompt_strength: 1.0,
            mask,
            mask_strength: 1.0,
            mask_std_px: 0.0,
            seed: None,
        }
    }

    /// A red left and a green right half of a 64 x 64 canvas, with a white rim.
    fn scene() -> Scene {
        let size = CanvasSize::new(64, 64).unwrap();
        Scene {
            size,
            background: Background::default(),
            regions: vec![
                region(1, "red", painted(size, PixelRect::new(8, 8, 32, 56).unwrap())),
                region(2, "green", painted(size, PixelRect::new(32, 8, 56, 56).unwrap())),
            ],
            seed: Seed(5),
            settings: StreamSettings {
                pass_order: PassOrder::StreamBatch,
                ..StreamSettings::default()
            },
        }
    }

    #[test]
    fn an_unchanged_canvas_settles_after_as_many_steps_as_there_are_slots() {
        for count in [1, 3, 5] {
            for order in [PassOrder::StreamBatch, PassOrder::Sequential] {
                let mut scene = scene();
                scene.settings.steps = StepList::with_count(count);
                scene.settings.pass_order = order;
                let mut bench = Bench::new(&scene);
                let (latent, steps) = bench.settle();
                assert_eq!(steps, count, "{order:?}");
                let again = bench.step();
                assert_eq!((again.rows, values(&again.latent.unwrap())), (0, latent));
            }
        }
    }

    #[test]
    fn both_orders_arrive_at_the_same_picture() {
        let mut scene = scene();
        let (batch, _) = Bench::new(&scene).settle();
        scene.settings.pass_order = PassOrder::Sequential;
        let (sequential, _) = Bench::new(&scene).settle();
        assert!(largest_difference(&batch, &sequential) < 1e-5);
    }

    #[test]
    fn regions_show_their_prompts_and_the_rest_is_background() {
        let mut bench = Bench::new(&scene());
        let red = bench.pixel(20, 30);
        let green = bench.pixel(45, 30);
        assert!(red[0] > 180 && red[1] < 80, "{red:?}");
        assert!(green[1] > 180 && green[0] < 80, "{green:?}");
        assert_eq!(bench.pixel(2, 2), [255; 3]);
    }

    #[test]
    fn an_edit_flows_in_and_arrives_where_a_new_stream_would() {
        for order in [PassOrder::StreamBatch, PassOrder::Sequential] {
            for edits in [EditPolicy::FlowThrough, EditPolicy::Flush] {
                let mut before = scene();
                before.settings.pass_order = order;
                before.settings.edits = edits;
                let mut after = before.clone();
                after.regions[1].prompt = "blue".to_owned();
                after.regions[0].mask = painted(after.size, PixelRect::new(0, 16, 32, 40).unwrap());
                for steps_before in [0, 2, 5, 9] {
                    let mut bench = Bench::new(&before);
                    for _ in 0..steps_before {
                        bench.step();
                    }
                    assert!(bench.apply(&after).has_changed);
                    let outcome = bench.step();
                    assert_eq!(outcome.revision, Revision(2));
                    let (edited, _) = bench.settle();
                    let (fresh, _) = Bench::new(&after).settle();
                    let difference = largest_difference(&edited, &fresh);
                    assert!(
                        difference < 1e-5,
                        "{order:?} {edits:?} {steps_before}: {difference}"
                    );
                }
            }
        }
    }

    #[test]
    fn edits_flow_through_without_a_gap_and_flushing_starts_with_previews() {
        let mut scene = scene();
        for (edits, expected) in [
            (EditPolicy::FlowThrough, FrameKind::Complete),
            (EditPolicy::Flush, FrameKind::Preview),
        ] {
            scene.settings.edits = edits;
            let mut bench = Bench::new(&scene);
            bench.settle();
            let mut edited = scene.clone();
            edited.regions[0].prompt = "blue".to_owned();
            bench.apply(&edited);
            let outcome = bench.step();
            assert_eq!((outcome.kind, outcome.steps_until_settled), (expected, 4));
        }
    }

    #[test]
    fn the_same_scene_again_changes_nothing() {
        let scene = scene();
        let mut bench = Bench::new(&scene);
        bench.settle();
        assert!(!bench.apply(&scene).has_changed);
        assert!(bench.session.is_settled());
        assert_eq!(bench.session.revision(), Revision(2));
        let mut other_policy = scene;
        other_policy.settings.edits = EditPolicy::Flush;
        assert!(!bench.apply(&other_policy).has_changed);
    }

    #[test]
    fn a_prompt_that_is_not_encoded_keeps_what_was_there() {
        let mut scene = scene();
        let mut bench = Bench::new(&scene);
        let before = bench.settle();
        scene.regions[0].prompt = "unknown colour".to_owned();
        let applied = bench.apply(&scene);
        assert_eq!(applied.missing_prompts, ["unknown colour"]);
        assert!(!applied.has_changed);
        scene.regions.push(region(3, "unknown", Mask::full(scene.size)));
        bench.apply(&scene);
        assert_eq!(
            bench.settle().0,
            before.0,
            "a new region stays away until its prompt is known"
        );
    }

    #[test]
    fn sequential_passes_answer_with_a_preview_first() {
        let mut scene = scene();
        scene.settings.pass_order = PassOrder::Sequential;
        let mut bench = Bench::new(&scene);
        let first = bench.step();
        assert_eq!(
            (first.kind, first.latent.is_some(), first.steps_until_settled),
            (FrameKind::Preview, true, 4)
        );
        assert_eq!(first.rows, 2);
        assert!(bench.step().latent.is_none());
    }

    #[test]
    fn a_dream_never_settles_and_never_repeats() {
        let mut scene = scene();
        scene.settings.picture = PictureMode::Dream;
        let mut bench = Bench::new(&scene);
        let mut seen: Vec<Vec<f32>> = Vec::new();
        for step in 0..12 {
            let outcome = bench.step();
            assert!(!bench.session.is_settled());
            if outcome.kind == FrameKind::Complete {
                assert_eq!(outcome.steps_until_settled, 0, "step {step}");
                let latent = values(&outcome.latent.unwrap());
                assert!(seen.iter().all(|other| *other != latent));
                seen.push(latent);
            }
        }
        assert_eq!(seen.len(), 8);
    }

    #[test]
    fn a_region_with_its_own_seed_changes_alone() {
        let mut scene = scene();
        let mut bench = Bench::new(&scene);
        let (before, _) = bench.settle();
        scene.regions[0].seed = Some(Seed(99));
        bench.apply(&scene);
        let (after, _) = bench.settle();
        for (cell, (a, b)) in before.iter().zip(&after).enumerate() {
            let (x, y) = (cell % 8, cell / 8 % 8);
            let is_inside = (1..4).contains(&x) && (1..7).contains(&y);
            assert_eq!(a != b, is_inside, "cell {x},{y}");
        }
    }

    #[test]
    fn canvases_of_any_size_and_number_of_regions_give_a_picture() {
        for (width, height) in [(1, 1), (8192, 8192), (65, 3), (8192, 1)] {
            let size = CanvasSize::new(width, height).unwrap();
            let mut scene = scene();
            scene.size = size;
            scene.regions = vec![region(1, "red", Mask::full(size))];
            let mut bench = Bench::new(&scene);
            bench.settle();
            let (latent, _) = bench.session.latest.clone().unwrap();
            let decoded = bench.parts.codec.decode(&latent).unwrap();
            let picture = bench.session.picture(&decoded).unwrap();
            assert_eq!(picture.size(), size);
            assert!(picture.rgba()[0] > 180 && picture.rgba()[1] < 80);
        }
        let mut many = scene();
        many.regions = (0..64)
            .map(|id| region(id, &format!("prompt {id}"), Mask::full(many.size)))
            .collect();
        Bench::new(&many).settle();
        many.regions.clear();
        let mut bench = Bench::new(&many);
        let outcome = bench.step();
        assert_eq!((outcome.kind, outcome.rows), (FrameKind::Complete, 0));
        assert!(bench.session.is_settled());
    }

    #[test]
    fn a_canvas_can_change_its_size_and_steps_while_running() {
        let mut bench = Bench::new(&scene());
        bench.step();
        bench.step();
        let mut larger = scene();
        larger.size = CanvasSize::new(96, 72).unwrap();
        larger.regions = vec![region(1, "blue", Mask::full(larger.size))];
        assert!(bench.apply(&larger).has_changed);
        assert_eq!(bench.settle().1, 5);
        larger.settings.steps = StepList::with_count(3);
        bench.apply(&larger);
        assert_eq!(bench.settle().1, 3);
    }

    #[test]
    fn contradictory_scenes_are_refused_and_the_stream_goes_on() {
        let mut bench = Bench::new(&scene());
        let before = bench.settle();
        let mut wrong_mask = scene();
        wrong_mask.regions[0].mask = Mask::new(CanvasSize::new(8, 8).unwrap());
        let mut doubled = scene();
        doubled.regions[1].id = RegionId(1);
        for (bad, is_expected) in [
            (
                wrong_mask,
                (|error| matches!(error, Error::MaskLength { .. })) as fn(Error) -> bool,
            ),
            (doubled, |error| matches!(error, Error::Scene { .. })),
        ] {
            let error = bench
                .session
                .apply(Revision(7), &bad, &bench.prompts, &bench.parts)
                .unwrap_err();
            assert!(is_expected(error));
        }
        assert_eq!(values(&bench.step().latent.unwrap()), before.0);
    }

    /// A denoiser that fails in one way or another.
    struct Broken(bool);

    impl Denoiser for Broken {
        fn prepare(&self, _conditioning: &Conditioning) -> candle_core::Result<PreparedPrompt> {
            Ok(PreparedPrompt(Arc::new(())))
        }

        fn predict(&mut self, latents: &Tensor, _rows: &[Row<'_>]) -> candle_core::Result<Tensor> {
            if self.0 {
                latents.affine(f64::NAN, 0.0)
            } else {
                candle_core::bail!("the device is gone")
            }
        }
    }

    #[test]
    fn a_failing_denoiser_is_an_error_and_the_latents_stay() {
        let mut scene = scene();
        let mut bench = Bench::new(&scene);
        bench.settle();
        scene.regions[0].prompt = "blue".to_owned();
        bench.apply(&scene);
        assert!(matches!(
            bench.session.step(&mut Broken(true)),
            Err(Error::NotFinite)
        ));
        assert!(matches!(
            bench.session.step(&mut Broken(false)),
            Err(Error::Compute { .. })
        ));
        let (after, steps) = bench.settle();
        assert_eq!(steps, 5);
        assert_eq!(after, Bench::new(&scene).settle().0);
    }

    #[test]
    fn numbers_that_are_none_do_no_harm() {
        let mut scene = scene();
        scene.settings.cover_alpha = f32::NAN;
        scene.settings.bootstrap_mix_steps = f32::NAN;
        for region in &mut scene.regions {
            region.mask_std_px = f32::NAN;
            region.mask_strength = f32::NAN;
            region.prompt_strength = f32::NAN;
        }
        let red = Bench::new(&scene).pixel(20, 30);
        assert!(red[0] > 180 && red[1] < 80, "{red:?}");
    }

    #[test]
    fn the_order_follows_the_measurement() {
        let fast_batch = Throughput {
            one_level: 10.0,
            all_levels: 40.0,
        };
        let full_device = Throughput {
            one_level: 10.0,
            all_levels: 12.0,
        };
        assert!(fast_batch.favours_batch(5));
        assert!(!full_device.favours_batch(5));
    }

    #[test]
    fn a_background_picture_shows_where_nothing_is_painted() {
        let mut scene = scene();
        let size = scene.size;
        scene.background.image = Some(Picture::solid(size, [0, 0, 255, 255]));
        let mut bench = Bench::new(&scene);
        assert_eq!(bench.pixel(2, 2), [0, 0, 255]);
        scene.background.image = None;
        bench.apply(&scene);
        assert_eq!(bench.pixel(2, 2), [255; 3]);
    }

    #[test]
    fn prompt_strength_mixes_with_the_background_prompt() {
        let mut scene = scene();
        scene.background.prompt = "blue".to_owned();
        scene.regions[0].prompt_strength = 0.5;
        let mut bench = Bench::new(&scene);
        let mixed = bench.pixel(20, 30);
        assert!(
            (90..170).contains(&mixed[0]) && (90..170).contains(&mixed[2]),
            "{mixed:?}"
        );
        scene.background.prompt = "red".to_owned();
        assert!(bench.apply(&scene).has_changed);
        let red = bench.pixel(20, 30);
        assert!(red[0] > 180 && red[2] < 80, "{red:?}");
    }
}
