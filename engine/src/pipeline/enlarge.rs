//! A finished picture made larger, with the detail that the larger size has room for.
//!
//! The enlarged picture is noised to a level where its composition is settled and its detail is not, and denoised again
//! by the method itself: regions averaged under their masks, the background where they leave room. The model looks
//! through windows of the size it was trained for. There is no bootstrapping and no centring; objects are where they are.
//! Where nothing is painted the background's own pixels are put in place at the end. A background that is painted too is one
//! region more.

use candle_core::{DType, Tensor};

use super::{
    blend::coverage_resized,
    composition::check_numbers,
    prompt::mixed,
    render::{Course, Encoded},
    views::{View, Views},
};
use crate::{
    Result,
    api::{CanvasSize, Gaps, Picture, Region, Scene, StepList},
    error::Doing as _,
    image,
    models::traits::{Conditioning, ImageCodec, ModelParts, PreparedPrompt},
    schedule::SlotTable,
    stream::{
        geometry::Geometry,
        ground::Ground,
        mask_set::MaskSet,
        masks::{MaskPlanes, Masks, quantise},
        noise_field::NoiseField,
        step::{Painting, RegionPrompt, RowChoice, StepOptions, advance},
    },
};

/// Where on the 50-step grid the enlarged picture is taken up again: two fifths of the training schedule from its clean
/// end. Earlier, windows begin to repaint what they see part of; later, hardly any detail is added.
const FIRST_INDEX: u16 = 30;
/// Steps from there on, at least.
const LEAST_STEPS: u16 = 2;
/// Windows overlap by this part of their side, at least: three eighths. With a quarter, seams show in a plain sky.
const OVERLAP: (usize, usize) = (3, 8);
/// Cells that the codec encodes at once; larger canvases are encoded window by window.
const MOST_CELLS_ENCODED: usize = 96 * 96;

/// One pass that makes a picture larger.
pub(super) struct Enlargement<'a> {
    scene: &'a Scene,
    geometry: Geometry,
    table: SlotTable,
    views: Views,
    /// Cells of all latents of one call of the denoiser together, at most.
    cells_per_call: usize,
}

/// The regions of a scene at the size of a pass.
struct Layers<'a> {
    /// Of all regions and, as the last, of the background if it is painted.
    words: Vec<Words<'a>>,
    /// Whether the background is painted.
    has_ground: bool,
    /// Of one slot, since the masks are the same in all of them: at this size a copy for each would be gigabytes.
    planes: MaskPlanes,
    noise: NoiseField,
    /// Prompts of all regions where they are the same in every window.
    prompts: Option<Vec<RegionPrompt>>,
}

/// What is to be seen in a part of the picture.
#[derive(Clone, Copy)]
struct Words<'a> {
    prompt: &'a str,
    negative_prompt: &'a str,
    /// How much of the prompt is taken, 0 (the background's) to 1.
    strength: f32,
}

impl<'a> Enlargement<'a> {
    /// A pass to a size.
    ///
    /// # Errors
    /// If the scene has no valid steps.
    pub(super) fn new(
        scene: &'a Scene,
        size: CanvasSize,
        cells_per_call: usize,
        parts: &ModelParts,
    ) -> Result<Self> {
        let spec = &parts.spec;
        let geometry = Geometry::at_size(scene.size, size, spec);
        let window = (spec.native_side as usize / spec.downscale.max(1)).max(1);
        let steps = later_steps(&scene.settings.steps)?;
        Ok(Self {
            scene,
            table: SlotTable::for_model(spec, &steps, scene.settings.background_noise),
            views: Views::evenly_spread(geometry.latent, window, window * OVERLAP.0 / OVERLAP.1),
            geometry,
            cells_per_call,
        })
    }

    /// How many windows are denoised in all.
    pub(super) fn calls(&self) -> usize {
        self.table.count() * self.views.list().len()
    }

    /// Paints the enlarged picture.
    ///
    /// # Errors
    /// As [`super::render()`].
    pub(super) fn paint(
        &self,
        picture: &Picture,
        prompts: &Encoded,
        parts: &mut ModelParts,
        course: &mut Course<'_>,
    ) -> Result<Picture> {
        let size = self.geometry.working;
        let backdrop = match &self.scene.background.image {
            Some(image) => image::over_white(&image::fitted(image, size)),
            None => Picture::solid(size, [255; 4]),
        };
        let layers = self.layers(prompts, parts)?;
        if layers.planes.masks.iter().all(|&value| value == 0.0) {
            return Ok(backdrop);
        }
        course.check()?;
        let background = self.encode(&backdrop, parts)?;
        let clean = self.encode(&image::stretched(picture, size), parts)?;
        let latent = self.denoise(&clean, &background, &layers, prompts, parts, course)?;
        course.check()?;
        let decoded = parts.codec.decode(&latent).doing("decoding a picture")?;
        let picture = image::picture_from_tensor(&decoded, size)?;
        if layers.has_ground {
            // What is kept of it has its share in the latent already.
            return Ok(picture);
        }
        self.with_backdrop(&picture, &backdrop, &layers.planes)
    }

    fn layers(&self, prompts: &Encoded, parts: &ModelParts) -> Result<Layers<'a>> {
        let settings = &self.scene.settings;
        let regions: Vec<&Region> = self.scene.regions.iter().collect();
        let masks = MaskSet::new(None, &self.geometry, &regions, unit(settings.cover_alpha, 0.0));
        // Each region keeps the share that it had in the stream's last step: cut at the noisier levels of this pass, soft
        // edges would open gaps through which the background shows.
        let stream = SlotTable::for_model(&parts.spec, &settings.steps, settings.background_noise);
        let area = self.geometry.latent.area();
        let coverage: Vec<Vec<f32>> = masks
            .layers()
            .iter()
            .zip(&regions)
            .map(|(layer, region)| {
                let strength = unit(region.mask_strength, 1.0);
                layer.coverage.iter().map(|value| value * strength).collect()
            })
            .collect();
        let cut: Vec<Vec<f32>> = coverage
            .iter()
            .map(|coverage| {
                let planes = quantise(coverage, settings.mask_mode, &stream);
                planes[planes.len() - area..].to_vec()
            })
            .collect();
        let cut: Vec<&[f32]> = cut.iter().map(Vec::as_slice).collect();
        let noise = NoiseField::new(
            None,
            self.scene.seed,
            (
                self.table.count(),
                parts.spec.latent_channels,
                self.geometry.latent,
            ),
            &regions,
            &masks,
            &parts.device,
        )
        .doing("preparing the noise")?;
        let mut planes = MaskPlanes::new(self.geometry.latent, 1, &cut);
        if settings.gaps == Gaps::Closed {
            planes.close_gaps(&coverage, settings.mask_mode, &stream);
        }
        let mut words: Vec<Words<'_>> = regions
            .iter()
            .map(|region| Words {
                prompt: &region.prompt,
                negative_prompt: &region.negative_prompt,
                strength: unit(region.prompt_strength, 1.0),
            })
            .collect();
        let background = &self.scene.background;
        let ground = Ground::new(background.keep_strength, stream.count());
        if let Some(ground) = &ground {
            planes.add_ground(&[ground.finally_kept()]);
            words.push(Words {
                prompt: &background.prompt,
                negative_prompt: &background.negative_prompt,
                strength: 1.0,
            });
        }
        let prompts = if parts.spec.has_added_conditioning {
            None
        } else {
            let prepare = |&words: &Words<'_>| self.prompt(words, None, prompts, parts);
            Some(words.iter().map(prepare).collect::<Result<_>>()?)
        };
        Ok(Layers {
            planes,
            words,
            has_ground: ground.is_some(),
            noise,
            prompts,
        })
    }

    /// Prompts as the denoiser wants them. Models that are told the picture's size see a window as a part of it.
    fn prompt(
        &self,
        words: Words<'_>,
        view: Option<&View>,
        prompts: &Encoded,
        parts: &ModelParts,
    ) -> Result<RegionPrompt> {
        let strength = words.strength;
        let time_ids = view.map(|view| {
            let (height, width) = self.geometry.padded();
            let corner = [view.top, view.left].map(|cells| (cells * self.geometry.downscale) as f32);
            let (height, width) = (height as f32, width as f32);
            [height, width, corner[0], corner[1], height, width]
        });
        let prepare = |own: &str, behind: &str| -> Result<PreparedPrompt> {
            let (Some(own), Some(behind)) = (prompts.get(own), prompts.get(behind)) else {
                return Err(crate::Error::Scene {
                    reason: format!("the prompt {own:?} was not encoded"),
                });
            };
            let prepare = || {
                let context = if strength < 1.0 {
                    mixed(behind, own, f64::from(strength))?.context
                } else {
                    own.context.clone()
                };
                parts.denoiser.prepare(&Conditioning {
                    context,
                    // As in the stream, the pooled embedding is the region's own.
                    pooled: own.pooled.clone(),
                    time_ids: time_ids.or(own.time_ids),
                })
            };
            prepare().doing("preparing a prompt")
        };
        let background = &self.scene.background;
        Ok(RegionPrompt {
            positive: prepare(words.prompt, &background.prompt)?,
            negative: self
                .scene
                .settings
                .guidance
                .takes_negative_prompts()
                .then(|| prepare(words.negative_prompt, &background.negative_prompt))
                .transpose()?,
        })
    }

    /// A picture of the pass' size as a latent, `[1, c, h, w]`.
    fn encode(&self, picture: &Picture, parts: &ModelParts) -> Result<Tensor> {
        const DOING: &str = "encoding a picture";
        let (height, width) = self.geometry.padded();
        let pixels = image::tensor_from_picture(picture, height, width, &parts.device)?;
        let pixels = pixels.to_dtype(parts.dtype).doing(DOING)?;
        encode_windows(
            &pixels,
            parts.codec.as_ref(),
            &self.views,
            self.geometry.downscale,
        )
        .doing(DOING)
    }

    fn denoise(
        &self,
        clean: &Tensor,
        background: &Tensor,
        layers: &Layers<'_>,
        prompts: &Encoded,
        parts: &mut ModelParts,
        course: &mut Course<'_>,
    ) -> Result<Tensor> {
        const DOING: &str = "noising the enlarged picture";
        let slots = self.table.slots();
        let weights = self.views.weights(&parts.device).doing(DOING)?;
        let total = self.views.sum(&weights).doing(DOING)?; // [1, 1, h, w]
        let noise = layers.noise.slot(0).doing(DOING)?;
        let mut latent = slots[0].noising.apply(clean, &noise).doing(DOING)?;
        for (step, slot) in slots.iter().enumerate() {
            let mut results = Vec::with_capacity(weights.len());
            for (view, weights) in self.views.list().iter().zip(&weights) {
                course.check()?;
                let result = self.denoise_window(step, view, &latent, background, layers, prompts, parts)?;
                results.push(result.broadcast_mul(weights).doing(DOING)?);
                course.advance();
            }
            let result = self
                .views
                .sum(&results)
                .and_then(|sum| sum.broadcast_div(&total))
                .doing("joining the windows")?;
            check_numbers(&result)?;
            latent = if step + 1 < slots.len() {
                let noise = layers.noise.slot(step + 1).doing(DOING)?;
                slot.onward.apply(&result, &noise).doing(DOING)?
            } else {
                result
            };
        }
        Ok(latent)
    }

    /// One step of the stream's method in a window: `[1, c, h, w]`.
    fn denoise_window(
        &self,
        step: usize,
        view: &View,
        latent: &Tensor,
        background: &Tensor,
        layers: &Layers<'_>,
        prompts: &Encoded,
        parts: &mut ModelParts,
    ) -> Result<Tensor> {
        const DOING: &str = "denoising a window";
        let (shown, planes) = planes_in_view(&layers.planes, view, self.table.count());
        let chosen = shown
            .iter()
            .map(|&region| match &layers.prompts {
                Some(prepared) => Ok(prepared[region].clone()),
                None => self.prompt(layers.words[region], Some(view), prompts, parts),
            })
            .collect::<Result<Vec<RegionPrompt>>>()?;
        let seen = |tensor: &Tensor| view.of(tensor).and_then(|part| part.contiguous()).doing(DOING);
        let background = seen(background)?;
        let painting = Painting {
            masks: Masks::new(&planes, &parts.device).doing(DOING)?,
            prompts: chosen,
            white: background.clone(),
            background,
            bootstrap_steps: 0,
            bootstrap_mix_steps: 0.0,
            guidance: self.scene.settings.guidance,
        };
        let options = StepOptions {
            rows: RowChoice::Needed,
            max_rows: (self.cells_per_call / view.size.area()).max(1),
            dtype: parts.dtype,
            crop: None,
            probe: None,
        };
        let (latent, stock) = (seen(latent)?, seen(&layers.noise.tensor)?);
        let denoiser = parts.denoiser.as_mut();
        advance(
            &self.table,
            &painting,
            &[step],
            &latent,
            &stock,
            denoiser,
            options,
        )
        .doing(DOING)
    }

    /// The picture, with the background's own pixels where nothing is painted, so that a photograph does not suffer from
    /// having gone through the codec.
    fn with_backdrop(&self, picture: &Picture, backdrop: &Picture, planes: &MaskPlanes) -> Result<Picture> {
        let latent = self.geometry.latent;
        let last = &planes.background()[(planes.slots - 1) * latent.area()..];
        let share = least_of_neighbours(last, latent.width);
        let (height, width) = self.geometry.padded();
        let share = coverage_resized(&share, (latent.height, latent.width), (height, width));
        let size = picture.size();
        let columns = size.width() as usize;
        let mut rgba = picture.rgba().to_vec();
        for (y, line) in rgba.chunks_exact_mut(columns * 4).enumerate() {
            let behind = backdrop.rgba()[y * columns * 4..][..columns * 4]
                .as_chunks::<4>()
                .0;
            let shares = &share[y * width..][..columns];
            for ((pixel, behind), share) in line.as_chunks_mut::<4>().0.iter_mut().zip(behind).zip(shares) {
                for c in 0..3 {
                    let blended = f32::from(pixel[c]) * (1.0 - share) + f32::from(behind[c]) * share;
                    pixel[c] = (blended + 0.5) as u8;
                }
            }
        }
        Picture::new(size, rgba)
    }
}

/// The end of the schedule, with half the steps of a list.
fn later_steps(steps: &StepList) -> Result<StepList> {
    let rest = StepList::GRID - FIRST_INDEX;
    let count = (steps.count() as u16 / 2).clamp(LEAST_STEPS, rest);
    StepList::new((0..count).map(|step| FIRST_INDEX + step * rest / count).collect())
}

/// The masks in a window, of those regions that have any paint there, for each of some slots: those of the first.
fn planes_in_view(planes: &MaskPlanes, view: &View, slots: usize) -> (Vec<usize>, MaskPlanes) {
    let (mut shown, mut cut) = (Vec::new(), Vec::new());
    for region in 0..planes.regions {
        let part = view.of_plane(planes.row(region), planes.size.width);
        if part.iter().any(|&value| value > 0.0) {
            shown.push(region);
            cut.push(part.repeat(slots));
        }
    }
    let cut: Vec<&[f32]> = cut.iter().map(Vec::as_slice).collect();
    (shown, MaskPlanes::new(view.size, slots, &cut))
}

/// Encodes a picture that is too large for the codec window by window.
///
/// # Shapes
/// - `pixels`: `[1, 3, H, W]` in -1..1, as large as the views' canvas
/// - returns `[1, c, h, w]` in 32 bits
fn encode_windows(
    pixels: &Tensor,
    codec: &dyn ImageCodec,
    views: &Views,
    downscale: usize,
) -> candle_core::Result<Tensor> {
    if views.canvas().area() <= MOST_CELLS_ENCODED {
        return codec.encode(pixels, None)?.to_dtype(DType::F32);
    }
    let weights = views.weights(pixels.device())?;
    let parts = views
        .list()
        .iter()
        .zip(&weights)
        .map(|(view, weights)| {
            let part = pixels
                .narrow(2, view.top * downscale, view.size.height * downscale)?
                .narrow(3, view.left * downscale, view.size.width * downscale)?
                .contiguous()?;
            let latent = codec.encode(&part, None)?.to_dtype(DType::F32)?;
            latent.broadcast_mul(weights)
        })
        .collect::<candle_core::Result<Vec<Tensor>>>()?;
    views.sum(&parts)?.broadcast_div(&views.sum(&weights)?)
}

/// For each cell the least value of it and its eight neighbours.
fn least_of_neighbours(plane: &[f32], width: usize) -> Vec<f32> {
    let height = plane.len() / width;
    let mut least = Vec::with_capacity(plane.len());
    for y in 0..height {
        for x in 0..width {
            let rows = y.saturating_sub(1)..(y + 2).min(height);
            let columns = x.saturating_sub(1)..(x + 2).min(width);
            let neighbours = rows.flat_map(|y| &plane[y * width..][columns.clone()]);
            least.push(neighbours.copied().fold(f32::INFINITY, f32::min));
        }
    }
    least
}

/// A value in 0..1.
fn unit(value: f32, if_not_a_number: f32) -> f32 {
    if value.is_nan() {
        if_not_a_number
    } else {
        value.clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::{Background, Mask, ModelChoice, ModelSource, RegionId, Seed, StreamSettings},
        device::Compute,
        models::toy,
    };

    #[test]
    fn soft_edges_between_regions_leave_no_gap() {
        let choice = ModelChoice::plain(ModelSource::Toy);
        let parts = toy::load(&choice, &Compute::cpu()).unwrap().parts;
        let size = CanvasSize::new(64, 64).unwrap();
        let region = |id, is_inside: &dyn Fn(i32, i32) -> bool| {
            let coverage: Vec<u8> = (0..64 * 64)
                .map(|i| if is_inside(i % 64, i / 64) { 255 } else { 0 })
                .collect();
            let mask = Mask::from_coverage(size, &coverage).unwrap();
            Region {
                mask_std_px: 4.0,
                ..Region::new(RegionId(id), "red", mask)
            }
        };
        let scene = |regions, steps| Scene {
            size,
            background: Background::default(),
            regions,
            seed: Seed(1),
            settings: StreamSettings {
                steps: StepList::with_count(steps),
                ..StreamSettings::default()
            },
        };
        let above_another = vec![
            region(1, &|_, _| true),
            region(2, &|x, y| (x - 32).pow(2) + (y - 32).pow(2) < 400),
        ];
        let side_by_side = vec![region(1, &|x, _| x < 32), region(2, &|x, _| x >= 32)];
        let encoded = |prompt: &str| {
            let conditioning = parts.text_encoder.encode(prompt).unwrap();
            (prompt.to_owned(), std::sync::Arc::new(conditioning))
        };
        let prompts: Encoded = ["red", ""].into_iter().map(encoded).collect();
        let larger = CanvasSize::new(256, 256).unwrap();
        for regions in [above_another, side_by_side] {
            for steps in [1, 2, 3, 5] {
                let scene = scene(regions.clone(), steps);
                let enlargement = Enlargement::new(&scene, larger, usize::MAX, &parts).unwrap();
                let layers = enlargement.layers(&prompts, &parts).unwrap();
                assert_eq!(layers.planes.slots, 1, "however many steps there are");
                let shares = layers.planes.background();
                assert!(shares.iter().all(|&share| share == 0.0), "{steps} steps");
            }
        }
    }

    #[test]
    fn later_steps_rise_within_the_grid_for_every_count() {
        for count in 1..=50 {
            let steps = later_steps(&StepList::with_count(count)).unwrap();
            assert!(steps.count() >= 2 && steps.indexes()[0] == FIRST_INDEX);
        }
        assert_eq!(later_steps(&StepList::with_count(5)).unwrap().indexes(), [30, 40]);
    }

    #[test]
    fn a_large_picture_is_encoded_window_by_window_to_the_same_latent() {
        let choice = ModelChoice::plain(ModelSource::Toy);
        let parts = toy::load(&choice, &Compute::cpu()).unwrap().parts;
        let canvas = crate::stream::masks::LatentSize {
            height: 100,
            width: 110,
        };
        let pixels: Vec<f32> = (0..3 * 800 * 880)
            .map(|i| (i % 511) as f32 / 255.0 - 1.0)
            .collect();
        let pixels = Tensor::from_vec(pixels, (1, 3, 800, 880), &candle_core::Device::Cpu).unwrap();
        let views = Views::evenly_spread(canvas, 64, 24);
        let windows = encode_windows(&pixels, parts.codec.as_ref(), &views, 8).unwrap();
        let whole = parts.codec.encode(&pixels, None).unwrap();
        let difference = (windows - whole).unwrap().abs().unwrap().max_all().unwrap();
        assert!(difference.to_scalar::<f32>().unwrap() < 1e-5);
    }
}
