//! A scene made ready for the denoiser, keeping what the scene before had in common with it.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::prompts::{Missing, PromptLookup, Prompts};
use crate::{
    Error, Result,
    api::{Centring, Gaps, Picture, Region, Revision, Scene, StreamSettings},
    device::keep_uploads,
    error::Doing as _,
    image,
    models::traits::ModelParts,
    ops::cuda,
    schedule::SlotTable,
    stream::{
        geometry::Geometry,
        ground::Ground,
        mask_set::{Layer, MaskSet},
        masks::{LatentSize, MaskPlanes, Masks, quantise},
        noise_field::NoiseField,
        patches::Patches,
        step::Painting,
    },
};

/// A scene, prepared.
pub(super) struct Canvas {
    pub(super) revision: Revision,
    pub(super) scene: Scene,
    pub(super) geometry: Geometry,
    pub(super) table: SlotTable,
    pub(super) masks: MaskSet,
    /// Cut masks of each region that is shown, `T` planes of `[h, w]`.
    pub(super) cut: Vec<Arc<Vec<f32>>>,
    /// What is denoised by itself of each region that is shown.
    pub(super) patches: Vec<Patches>,
    /// The background, if it is painted.
    pub(super) ground: Option<Ground>,
    pub(super) regions: Vec<Prompts>,
    pub(super) background_prompt: Prompts,
    pub(super) background: Tensor,
    pub(super) white: Tensor,
    pub(super) noise: NoiseField,
    pub(super) painting: Painting,
}

/// How much a scene differs from the one before.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// The picture stays.
    None,
    /// Latents in flight can go on.
    Edit,
    /// Latents have another size or number.
    Shape,
}

impl Canvas {
    /// The scene made ready to paint, with all that can be kept of the one before, and how much they differ.
    pub(super) fn prepare(
        before: Option<&Self>,
        revision: Revision,
        scene: &Scene,
        prompts: &dyn PromptLookup,
        parts: &ModelParts,
        missing: &mut Missing,
    ) -> Result<(Self, Change)> {
        let settings = &scene.settings;
        let geometry = match before {
            Some(before) if before.scene.size == scene.size => before.geometry.clone(),
            _ => Geometry::new(scene.size, &parts.spec),
        };
        let table = match before {
            Some(before)
                if before.scene.settings.steps == settings.steps
                    && before.scene.settings.background_noise == settings.background_noise =>
            {
                before.table.clone()
            }
            _ => SlotTable::for_model(&parts.spec, &settings.steps, settings.background_noise),
        };
        let same_shape = before.filter(|before| {
            before.geometry.latent == geometry.latent && before.table.count() == table.count()
        });
        let wants_negative = settings.guidance.takes_negative_prompts();
        let ground = Ground::new(scene.background.keep_strength, table.count());
        let mut background_prompt = Prompts::of_background(before, scene, ground.is_some(), prompts, missing);
        if ground.is_some() {
            let known = before.map(|before| &before.background_prompt);
            let itself = background_prompt.clone();
            background_prompt.prepare(known, known, &itself, wants_negative, &geometry, parts)?;
        }
        // As with regions, what was never encoded is not painted.
        let ground = ground.filter(|_| background_prompt.prepared.is_some());
        let regions = scene
            .regions
            .iter()
            .map(|region| {
                let known =
                    before.and_then(|before| before.regions.iter().find(|known| known.id == region.id));
                let mut found = Prompts::of_region(known, region, wants_negative, prompts, missing);
                let background_before = before.map(|before| &before.background_prompt);
                found.prepare(
                    known,
                    background_before,
                    &background_prompt,
                    wants_negative,
                    &geometry,
                    parts,
                )?;
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
            (table.count(), parts.spec.latent_channels, geometry.latent),
            &shown,
            &masks,
            &parts.device,
        )
        .doing("preparing the noise")?;
        let (white, background) = Self::background(before, scene, &geometry, parts)?;

        let has_same_masks = before.is_some_and(|before| {
            before.cut.len() == cut.len()
                && before.cut.iter().zip(&cut).all(|(a, b)| Arc::ptr_eq(a, b))
                && same_shape.is_some()
                && before.ground == ground
                && same_cut(&before.scene.settings, settings)
        });
        let (patches, device_masks) = match before {
            Some(before) if has_same_masks => (before.patches.clone(), before.painting.masks.clone()),
            _ => {
                let patches = all_patches(before, settings, &masks, geometry.latent);
                let mut coverage = Vec::new();
                let mut planes = Vec::new();
                for (place, patches) in patches.iter().enumerate() {
                    let whole = weighted(&masks.layers()[place].coverage, shown[place]);
                    coverage.extend((0..patches.count()).map(|patch| patches.part(&whole, patch)));
                    planes.extend((0..patches.count()).map(|patch| patches.part(&cut[place], patch)));
                }
                let device_masks = device_masks(
                    settings,
                    &geometry,
                    &table,
                    &coverage,
                    &planes,
                    ground.as_ref(),
                    parts,
                )
                .doing("preparing the masks")?;
                (patches, device_masks)
            }
        };
        let painting = Painting {
            masks: device_masks,
            prompts: regions
                .iter()
                .filter_map(|prompts| prompts.prepared.clone())
                .zip(&patches)
                .flat_map(|(prompt, patches)| std::iter::repeat_n(prompt, patches.count()))
                .chain(ground.as_ref().and_then(|_| background_prompt.prepared.clone()))
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
                        .all(|(a, b)| a.is_prepared_as(b))
                    && (ground.is_none() || before.background_prompt.is_prepared_as(&background_prompt));
                let is_same = has_same_masks
                    && same_prompts
                    && before.noise.tensor.id() == noise.tensor.id()
                    && before.background.id() == background.id()
                    && same_flow(&before.scene.settings, settings)
                    && before.scene.size == scene.size;
                if is_same { Change::None } else { Change::Edit }
            }
        };
        let canvas = Self {
            revision,
            scene: scene.clone(),
            geometry,
            table,
            masks,
            cut,
            patches,
            ground,
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
        before: Option<&Self>,
        scene: &Scene,
        geometry: &Geometry,
        parts: &ModelParts,
    ) -> Result<(Tensor, Tensor)> {
        let before = before.filter(|before| before.geometry == *geometry);
        let encode = |picture: &Picture| -> Result<Tensor> {
            let picture = image::fitted(picture, geometry.working);
            let (height, width) = geometry.padded();
            let pixels = image::tensor_from_picture(&picture, height, width, &parts.device)?;
            pixels
                .to_dtype(parts.dtype)
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
                let coverage = weighted(&layer.coverage, region);
                Arc::new(quantise(&coverage, settings.mask_mode, table))
            })
        })
        .collect()
}

/// The patches of all layers; a layer whose coverage is as before keeps its own.
fn all_patches(
    before: Option<&Canvas>,
    settings: &StreamSettings,
    masks: &MaskSet,
    size: LatentSize,
) -> Vec<Patches> {
    if !draws_patches(settings) {
        return vec![Patches::WHOLE; masks.layers().len()];
    }
    let before = before.filter(|before| draws_patches(&before.scene.settings));
    let of_layer = |layer: &Layer| {
        let known = before.and_then(|before| {
            let is_same = |known: &Layer| Arc::ptr_eq(&known.coverage, &layer.coverage);
            let place = before.masks.layers().iter().position(is_same)?;
            before.patches.get(place).cloned()
        });
        known.unwrap_or_else(|| Patches::of(&layer.coverage, size))
    };
    masks.layers().iter().map(of_layer).collect()
}

/// The masks of everything that is denoised by itself.
///
/// # Shapes
/// - `coverage`: `[h, w]` each
/// - `cut`: the same, cut at every noise level, `T` planes of `[h, w]` each
///
/// The background is the last of them if it is painted.
fn device_masks(
    settings: &StreamSettings,
    geometry: &Geometry,
    table: &SlotTable,
    coverage: &[Vec<f32>],
    cut: &[Vec<f32>],
    ground: Option<&Ground>,
    parts: &ModelParts,
) -> candle_core::Result<Masks> {
    let cut: Vec<&[f32]> = cut.iter().map(Vec::as_slice).collect();
    let mut planes = MaskPlanes::new(geometry.latent, table.count(), &cut);
    if settings.gaps == Gaps::Closed {
        planes.close_gaps(coverage, settings.mask_mode, table);
    }
    if let Some(ground) = ground {
        planes.add_ground(&ground.kept);
    }
    let mut masks = if settings.gaps == Gaps::Closed || ground.is_some() {
        Masks::new(&planes, &parts.device)
    } else {
        Masks::cut(&planes, coverage, settings.mask_mode, table, &parts.device)
    }?;
    if settings.centring != Centring::Always {
        masks.centre_objects(coverage);
    }
    if ground.is_some() {
        masks.hold(coverage.len());
    }
    Ok(masks)
}

/// A layer's coverage times its region's weight.
fn weighted(coverage: &[f32], region: &Region) -> Vec<f32> {
    let strength = unit(region.mask_strength, 1.0);
    coverage.iter().map(|value| value * strength).collect()
}

/// Whether what was cut is put to the same use.
fn same_cut(a: &StreamSettings, b: &StreamSettings) -> bool {
    let use_of = |settings: &StreamSettings| (settings.gaps, settings.centring, draws_patches(settings));
    use_of(a) == use_of(b)
}

/// Whether each patch of a region is a row of its own. Without bootstrapping nothing tells such rows apart: all would be
/// the same prediction, computed several times.
fn draws_patches(settings: &StreamSettings) -> bool {
    settings.centring == Centring::Patches && settings.bootstrap_steps > 0
}

/// Whether settings that change the picture are the same; the others only change how it is made.
fn same_flow(a: &StreamSettings, b: &StreamSettings) -> bool {
    StreamSettings {
        pass_order: b.pass_order,
        edits: b.edits,
        ..a.clone()
    } == *b
}

pub(super) fn validate(scene: &Scene) -> Result<()> {
    for (index, region) in scene.regions.iter().enumerate() {
        if region.mask.size() != scene.size {
            let (width, height) = region.mask.size().into();
            let (canvas_width, canvas_height) = scene.size.into();
            return Err(Error::Scene {
                reason: format!(
                    "the mask of region {} is {width} x {height} pixels where the canvas is {canvas_width} x {canvas_height}; \
                     give it the canvas' size",
                    region.id.0
                ),
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

/// The results of some slots as the latents of those behind them, by the new slot; the last slot's result goes nowhere.
///
/// # Shapes
/// - `results`: `[n, c, h, w]`, the results of `slots`
/// - returns `[1, c, h, w]` each
pub(super) fn all_onward(canvas: &Canvas, slots: &[usize], results: &Tensor) -> Result<Vec<(usize, Tensor)>> {
    let going: Vec<usize> = slots
        .iter()
        .copied()
        .filter(|slot| slot + 1 < canvas.table.count())
        .collect();
    // They are in rising order, so that at most the last one is left behind.
    let each = |slots: &[usize], latents: &Tensor| -> candle_core::Result<Vec<Tensor>> {
        let device = latents.device();
        let noise: Vec<u32> = slots.iter().map(|&slot| slot as u32 + 1).collect();
        let shares: Vec<f32> = slots
            .iter()
            .map(|&slot| canvas.table.slots()[slot].onward)
            .flat_map(|noising| [noising.signal as f32, noising.noise as f32])
            .collect();
        let noise = Tensor::from_vec(noise, slots.len(), device)?;
        let shares = Tensor::from_vec(shares, (slots.len(), 2), device)?;
        cuda::stream_noise(latents, &canvas.noise.tensor, &noise, &shares)?.chunk(slots.len(), 0)
    };
    let latents = if going.is_empty() {
        Vec::new()
    } else if cuda::are_used_on(results.device()) {
        let _uploads = keep_uploads(results.device());
        results
            .narrow(0, 0, going.len())
            .and_then(|latents| each(&going, &latents))
            .doing("noising to the next level")?
    } else {
        going
            .iter()
            .enumerate()
            .map(|(place, &slot)| {
                let result = results.narrow(0, place, 1).doing("noising to the next level")?;
                onward(canvas, slot, &result)
            })
            .collect::<Result<_>>()?
    };
    Ok(going.iter().map(|slot| slot + 1).zip(latents).collect())
}

pub(super) fn onward(canvas: &Canvas, slot: usize, result: &Tensor) -> Result<Tensor> {
    canvas
        .noise
        .slot(slot + 1)
        .and_then(|noise| canvas.table.slots()[slot].onward.apply(result, &noise))
        .doing("noising to the next level")
}

/// A value in 0..1.
pub(super) fn unit(value: f32, if_not_a_number: f32) -> f32 {
    if value.is_nan() {
        if_not_a_number
    } else {
        value.clamp(0.0, 1.0)
    }
}

fn finite(value: f64, otherwise: f64) -> f64 {
    if value.is_finite() { value } else { otherwise }
}
