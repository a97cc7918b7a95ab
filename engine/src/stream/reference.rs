//! The reference's driver: its order of updates and flushes, with everything that is odd about them.
//!
//! It exists to be compared with recordings; what people paint with is [`super::live`]. Both call the same step. Unlike
//! there, an edited mask neither covers others nor is covered, embeddings keep the background prompt they were mixed
//! with, and a queued edit flushes all latents in flight.

use std::collections::VecDeque;

use candle_core::{DType, Device, Result, Tensor};

use super::{
    masks::{LatentSize, MaskPlanes, MaskRequest, Masks, prepare, quantise},
    noise::{Draw, NoiseSource},
    step::{Painting, Probe, RegionPrompt, RowChoice, StepOptions, advance, bootstrap_mix},
};
use crate::{
    api::{Guidance, MaskMode},
    models::traits::{Conditioning, ModelParts},
    schedule::SlotTable,
};

/// What a stream is constructed with.
#[derive(Clone, Debug)]
pub struct ReferenceSettings {
    /// The noise levels in flight.
    pub table: SlotTable,
    /// Canvas height in pixels.
    pub height: usize,
    /// Canvas width in pixels.
    pub width: usize,
    /// How negative prompts take part.
    pub guidance: Guidance,
    /// Fill the pipeline after direct updates.
    pub autoflush: bool,
    /// For masks that come without.
    pub default_mask_std: f32,
    /// For masks that come without.
    pub default_mask_strength: f32,
    /// For prompts that come without.
    pub default_prompt_strength: f32,
    /// Steps in which regions are denoised alone.
    pub bootstrap_steps: usize,
    /// Of these, how many against white.
    pub bootstrap_mix_steps: f64,
    /// What is left of a mask under another.
    pub cover_alpha: f32,
    /// How masks are cut.
    pub mask_mode: MaskMode,
}

/// A new background; what is not given stays.
#[derive(Clone, Debug, Default)]
pub struct BackgroundUpdate {
    /// `[1, 3, H, W]` in 0..1, of the canvas' size.
    pub image: Option<Tensor>,
    /// What it shows.
    pub prompt: Option<String>,
    /// What it must not show.
    pub negative_prompt: Option<String>,
}

/// All layers at once.
#[derive(Clone, Debug, Default)]
pub struct LayersUpdate {
    /// One per layer.
    pub prompts: Vec<String>,
    /// One per layer; missing ones are empty.
    pub negative_prompts: Vec<String>,
    /// Put between a prompt and the background's.
    pub suffix: Option<String>,
    /// One per layer, or the default.
    pub prompt_strengths: Option<Vec<f32>>,
    /// Planes of pixels; missing ones are empty.
    pub masks: Vec<Vec<f32>>,
    /// One per layer, or the default.
    pub mask_strengths: Option<Vec<f32>>,
    /// One per layer, or the default.
    pub mask_stds: Option<Vec<f32>>,
}

/// One layer; what is not given stays or takes a default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerUpdate {
    /// Which; a new one if it does not exist.
    pub index: Option<i64>,
    /// What it shows.
    pub prompt: Option<String>,
    /// What it must not show.
    pub negative_prompt: Option<String>,
    /// Put between the prompt and the background's.
    pub suffix: Option<String>,
    /// Its own share of the prompt.
    pub prompt_strength: Option<f32>,
    /// A plane of pixels.
    pub mask: Option<Vec<f32>>,
    /// Weight of the mask.
    pub mask_strength: Option<f32>,
    /// Blur of the mask.
    pub mask_std: Option<f32>,
}

impl LayerUpdate {
    /// This request with what an older one for the same layer had and this one does not.
    fn over(self, older: Self) -> Self {
        Self {
            index: self.index,
            prompt: self.prompt.or(older.prompt),
            negative_prompt: self.negative_prompt.or(older.negative_prompt),
            suffix: self.suffix.or(older.suffix),
            prompt_strength: self.prompt_strength.or(older.prompt_strength),
            mask: self.mask.or(older.mask),
            mask_strength: self.mask_strength.or(older.mask_strength),
            mask_std: self.mask_std.or(older.mask_std),
        }
    }

    /// Whether it asks for nothing; a suffix without a prompt to put it behind does not count.
    fn is_empty(&self) -> bool {
        *self
            == Self {
                index: self.index,
                suffix: self.suffix.clone(),
                ..Self::default()
            }
    }
}

/// The background in force.
#[derive(Clone)]
pub struct Backdrop {
    prompt: String,
    negative_prompt: String,
    /// `[1, c, h, w]`.
    pub latent: Tensor,
    /// Embedding of its prompt.
    pub embedding: Conditioning,
    negative_embedding: Conditioning,
}

/// A layer in force.
#[derive(Clone)]
pub struct ReferenceLayer {
    prompt: String,
    negative_prompt: String,
    /// Its own share of the prompt.
    pub prompt_strength: f32,
    /// Embedding, mixed with the background's of its time.
    pub embedding: Conditioning,
    /// The same of the negative prompt.
    pub negative_embedding: Conditioning,
    prepared: RegionPrompt,
    /// Cut mask, `[T, h, w]`.
    pub planes: Vec<f32>,
}

/// A mask as it was given, from which it can be cut anew.
#[derive(Clone)]
pub struct GivenMask {
    /// Neither covered nor blurred.
    original: Vec<f32>,
    /// Its weight.
    pub strength: f32,
    /// Its blur.
    pub std: f32,
}

/// Looks at the steps of a [`Reference`].
pub trait Watch {
    /// A step begins.
    ///
    /// # Errors
    /// Whatever the observer finds wrong.
    fn before_step(&mut self, stream: &mut ReferenceState, step: usize) -> Result<()>;
    /// A call of the denoiser.
    fn predicted(&mut self, step: usize, input: &Tensor, timesteps: &[f64], output: &Tensor);
    /// A step is done: the results of all slots, the latents that wait, and the stock noise that was used.
    ///
    /// # Errors
    /// Whatever the observer finds wrong.
    fn after_step(&mut self, step: usize, results: &Tensor, buffer: &Tensor, stock: &Tensor) -> Result<()>;
}

/// What is painted, in the reference's terms.
pub struct ReferenceState {
    /// The background; nothing is computed without one.
    pub background: Option<Backdrop>,
    /// Layers in painting order.
    pub layers: Vec<ReferenceLayer>,
    /// The masks of the first layers. Layers that came without one in an update of all layers have none here.
    pub given_masks: Vec<GivenMask>,
    /// Sum of the layers' masks, `[T, h, w]`, kept by adding what changed.
    pub counts: Vec<f32>,
    /// White, `[1, c, h, w]`.
    pub white: Tensor,
}

/// A stream that behaves like the reference's.
pub struct Reference<'a> {
    parts: &'a mut ModelParts,
    settings: ReferenceSettings,
    noise: &'a mut dyn NoiseSource,
    size: LatentSize,
    /// What is painted.
    pub state: ReferenceState,
    has_layers: bool,
    is_flushed: bool,
    queued_background: Option<BackgroundUpdate>,
    queued_layers: VecDeque<LayerUpdate>,
    init_noise: Tensor,
    stock: Tensor,
    buffer: Vec<Tensor>,
    step: usize,
    backgrounds: u64,
}

impl<'a> Reference<'a> {
    /// A stream without layers and background.
    ///
    /// # Errors
    /// If the noise source or a tensor operation fails.
    pub fn new(
        parts: &'a mut ModelParts,
        settings: ReferenceSettings,
        noise: &'a mut dyn NoiseSource,
    ) -> Result<Self> {
        let channels = parts.spec.latent_channels;
        let size = LatentSize {
            height: settings.height / parts.spec.downscale,
            width: settings.width / parts.spec.downscale,
        };
        let slots = settings.table.count();
        let init_noise = (0..slots)
            .map(|slot| noise.draw(Draw::Slot(slot), channels, size, &parts.device))
            .collect::<Result<Vec<_>>>()?;
        let init_noise = Tensor::cat(&init_noise, 0)?;
        let empty = Tensor::zeros((1, channels, size.height, size.width), DType::F32, &parts.device)?;
        let white_picture = Tensor::ones((1, 3, settings.height, settings.width), DType::F32, &parts.device)?;
        let white = encode(parts, noise, &white_picture, Draw::EncodeWhite, size)?;
        Ok(Self {
            size,
            state: ReferenceState {
                background: None,
                layers: Vec::new(),
                given_masks: Vec::new(),
                counts: vec![0.0; slots * size.area()],
                white,
            },
            has_layers: false,
            is_flushed: false,
            queued_background: None,
            queued_layers: VecDeque::new(),
            stock: init_noise.zeros_like()?,
            init_noise,
            buffer: vec![empty; slots - 1],
            step: 0,
            backgrounds: 0,
            parts,
            settings,
            noise,
        })
    }

    /// What the stream was constructed with.
    pub fn settings(&self) -> &ReferenceSettings {
        &self.settings
    }

    /// Replaces the background now. Texts alone change one that is there.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn update_background(&mut self, update: BackgroundUpdate) -> Result<()> {
        let mut has_changed = update.image.is_some();
        if let Some(image) = &update.image {
            let prompt = update.prompt.unwrap_or_default();
            let negative_prompt = update.negative_prompt.unwrap_or_default();
            let draw = Draw::EncodeBackground(self.backgrounds);
            self.backgrounds += 1;
            let pixels = image.affine(2.0, -1.0)?;
            self.state.background = Some(Backdrop {
                latent: encode(self.parts, self.noise, &pixels, draw, self.size)?,
                embedding: self.encode_prompt(&prompt)?,
                negative_embedding: self.encode_prompt(&negative_prompt)?,
                prompt,
                negative_prompt,
            });
        } else {
            let Some(mut background) = self.state.background.take() else {
                return Ok(()); // There is nothing that the texts could belong to.
            };
            if let Some(prompt) = update.prompt {
                background.prompt = prompt;
                background.embedding = self.encode_prompt(&background.prompt)?;
                has_changed = true;
            }
            if let Some(negative) = update.negative_prompt {
                background.negative_prompt = negative;
                background.negative_embedding = self.encode_prompt(&background.negative_prompt)?;
                has_changed = true;
            }
            self.state.background = Some(background);
        }
        self.is_flushed = !has_changed;
        Ok(())
    }

    /// Replaces all layers now. Nothing happens before there is a background.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn update_layers(&mut self, update: LayersUpdate) -> Result<()> {
        if self.state.background.is_none() {
            return Ok(());
        }
        let count = update.prompts.len();
        let mut originals = update.masks;
        originals.truncate(count);
        let or_default = |values: Option<Vec<f32>>, count: usize, default: f32| {
            let mut values = values.unwrap_or_default();
            values.resize(count, default);
            values
        };
        let (default_std, default_strength) = (
            self.settings.default_mask_std,
            self.settings.default_mask_strength,
        );
        let request = MaskRequest {
            cover_alpha: self.settings.cover_alpha,
            stds_px: or_default(update.mask_stds, originals.len(), default_std),
            strengths: or_default(update.mask_strengths, originals.len(), default_strength),
        };
        let default_strength = self.settings.default_prompt_strength;
        let prompt_strengths = or_default(update.prompt_strengths, count, default_strength);
        let sampled = prepare(
            &originals,
            self.settings.width,
            &request,
            self.parts.spec.downscale,
        );
        let mut layers = Vec::with_capacity(count);
        for (index, prompt) in update.prompts.iter().enumerate() {
            let prompt = self.full_prompt(prompt, update.suffix.as_deref());
            let negative_prompt = update.negative_prompts.get(index).cloned().unwrap_or_default();
            let (embedding, negative_embedding, prepared) =
                self.embed(&prompt, &negative_prompt, prompt_strengths[index])?;
            layers.push(ReferenceLayer {
                prompt,
                negative_prompt,
                prompt_strength: prompt_strengths[index],
                embedding,
                negative_embedding,
                prepared,
                planes: match sampled.get(index) {
                    Some(sampled) => quantise(sampled, self.settings.mask_mode, &self.settings.table),
                    None => self.empty_planes(),
                },
            });
        }
        self.state.given_masks = originals
            .into_iter()
            .zip(request.strengths.iter().zip(&request.stds_px))
            .map(|(original, (&strength, &std))| GivenMask {
                original,
                strength,
                std,
            })
            .collect();
        self.state.counts.fill(0.0);
        for layer in &layers {
            for (count, value) in self.state.counts.iter_mut().zip(&layer.planes) {
                *count += value;
            }
        }
        self.state.layers = layers;
        self.has_layers = true;
        self.is_flushed = false;
        Ok(())
    }

    /// Changes or adds one layer now. Nothing happens before there is a background.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn update_single_layer(&mut self, update: LayerUpdate) -> Result<()> {
        if self.state.background.is_none() {
            return Ok(());
        }
        let known = update
            .index
            .and_then(|index| usize::try_from(index).ok())
            .filter(|&index| index < self.state.layers.len());
        match known {
            Some(index) => self.change_layer(index, update),
            // The first layer may come without a mask.
            None if self.state.layers.is_empty() => match update.prompt {
                Some(prompt) => self.update_layers(LayersUpdate {
                    prompts: vec![prompt],
                    negative_prompts: update.negative_prompt.into_iter().collect(),
                    suffix: update.suffix,
                    prompt_strengths: update.prompt_strength.map(|strength| vec![strength]),
                    masks: update.mask.into_iter().collect(),
                    mask_strengths: update.mask_strength.map(|strength| vec![strength]),
                    mask_stds: update.mask_std.map(|std| vec![std]),
                }),
                None => Ok(()),
            },
            None => self.append_layer(update),
        }
    }

    fn append_layer(&mut self, update: LayerUpdate) -> Result<()> {
        let Some(prompt) = update.prompt else {
            return Ok(());
        };
        let prompt = self.full_prompt(&prompt, update.suffix.as_deref());
        let negative_prompt = update.negative_prompt.unwrap_or_default();
        let prompt_strength = update
            .prompt_strength
            .unwrap_or(self.settings.default_prompt_strength);
        let (embedding, negative_embedding, prepared) =
            self.embed(&prompt, &negative_prompt, prompt_strength)?;
        let mask = if let Some(original) = update.mask {
            self.given_mask(original, update.mask_strength, update.mask_std)
        } else {
            // What an empty mask comes with does not count either.
            let area = self.settings.height * self.settings.width;
            self.given_mask(vec![0.0; area], None, None)
        };
        let planes = self.single_mask(&mask);
        for (count, value) in self.state.counts.iter_mut().zip(&planes) {
            *count += value;
        }
        self.state.layers.push(ReferenceLayer {
            prompt,
            negative_prompt,
            prompt_strength,
            embedding,
            negative_embedding,
            prepared,
            planes,
        });
        self.state.given_masks.push(mask);
        self.is_flushed = false;
        Ok(())
    }

    fn change_layer(&mut self, index: usize, update: LayerUpdate) -> Result<()> {
        let mut layer = self.state.layers[index].clone();
        if update.prompt.is_some() || update.negative_prompt.is_some() || update.prompt_strength.is_some() {
            if let Some(prompt) = update.prompt {
                layer.prompt = self.full_prompt(&prompt, update.suffix.as_deref());
            }
            if let Some(negative_prompt) = update.negative_prompt {
                layer.negative_prompt = negative_prompt;
            }
            if let Some(strength) = update.prompt_strength {
                layer.prompt_strength = strength;
            }
            (layer.embedding, layer.negative_embedding, layer.prepared) =
                self.embed(&layer.prompt, &layer.negative_prompt, layer.prompt_strength)?;
            self.is_flushed = false;
        }
        let mask = match (update.mask, self.state.given_masks.get(index)) {
            (Some(original), _) => Some(self.given_mask(original, update.mask_strength, update.mask_std)),
            (None, Some(mask)) if update.mask_std.is_some() || update.mask_strength.is_some() => {
                Some(GivenMask {
                    original: mask.original.clone(),
                    strength: update.mask_strength.unwrap_or(mask.strength),
                    std: update.mask_std.unwrap_or(mask.std),
                })
            }
            _ => None,
        };
        if let Some(mask) = mask {
            let planes = self.single_mask(&mask);
            if let Some(given) = self.state.given_masks.get_mut(index) {
                *given = mask;
            }
            for ((count, new), old) in self.state.counts.iter_mut().zip(&planes).zip(&layer.planes) {
                *count = (*count - old) + new;
            }
            layer.planes = planes;
        }
        self.state.layers[index] = layer;
        Ok(())
    }

    /// Queues an edit of the background, of a layer, or of both, for the next call.
    pub fn update(&mut self, background: BackgroundUpdate, layer: LayerUpdate) {
        if background.image.is_some() || background.prompt.is_some() || background.negative_prompt.is_some() {
            self.queued_background = Some(background);
        }
        if !layer.is_empty() {
            let older = self
                .queued_layers
                .iter()
                .position(|queued| queued.index == layer.index)
                .and_then(|place| self.queued_layers.remove(place));
            let merged = match older {
                Some(older) => layer.over(older),
                None => layer,
            };
            self.queued_layers.push_back(merged);
        }
    }

    /// Makes a frame, after what queued edits and unflushed ones ask for; `None` if background or layers are missing.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn call(&mut self, watch: &mut dyn Watch) -> Result<Option<Tensor>> {
        if !self.is_ready() {
            return Ok(None);
        }
        if self.settings.autoflush && !self.is_flushed {
            self.flush(watch)?;
        }
        if self.queued_background.is_some() || !self.queued_layers.is_empty() {
            if let Some(background) = self.queued_background.take() {
                self.update_background(background)?;
            }
            while let Some(layer) = self.queued_layers.pop_front() {
                self.update_single_layer(layer)?;
            }
            self.flush(watch)?;
        }
        self.make_step(watch).map(Some)
    }

    /// Pushes all latents in flight out.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn flush(&mut self, watch: &mut dyn Watch) -> Result<()> {
        if self.is_ready() {
            for _ in 0..self.settings.table.count() {
                self.make_step(watch)?;
            }
            self.is_flushed = true;
        }
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.has_layers && self.state.background.is_some()
    }

    fn make_step(&mut self, watch: &mut dyn Watch) -> Result<Tensor> {
        watch.before_step(&mut self.state, self.step)?;
        let table = &self.settings.table;
        let slots = table.count();
        let channels = self.parts.spec.latent_channels;
        let device = self.parts.device.clone();
        let fresh = self
            .noise
            .draw(Draw::Fresh(self.step as u64), channels, self.size, &device)?;
        let mut latents = vec![(fresh * table.initial_scale)?];
        latents.extend_from_slice(&self.buffer);
        let latents = Tensor::cat(&latents, 0)?;
        let first = self.init_noise.narrow(0, 0, 1)?;
        let stock = Tensor::cat(&[&first, &self.stock.narrow(0, 0, slots - 1)?], 0)?;

        let painting = self.painting(&device)?;
        let mut probe = StepProbe {
            watch: &mut *watch,
            step: self.step,
        };
        let options = StepOptions {
            rows: RowChoice::All,
            max_rows: usize::MAX,
            dtype: self.parts.dtype,
            crop: None,
            probe: Some(&mut probe),
        };
        let all: Vec<usize> = (0..slots).collect();
        let denoiser = self.parts.denoiser.as_mut();
        let results = advance(table, &painting, &all, &latents, &stock, denoiser, options)?;
        self.buffer = (0..slots - 1)
            .map(|slot| {
                let noise = self.init_noise.narrow(0, slot + 1, 1)?;
                table.slots()[slot]
                    .onward
                    .apply(&results.narrow(0, slot, 1)?, &noise)
            })
            .collect::<Result<_>>()?;
        let buffer = if self.buffer.is_empty() {
            results.narrow(0, 0, 0)?
        } else {
            Tensor::cat(&self.buffer, 0)?
        };
        watch.after_step(self.step, &results, &buffer, &stock)?;
        self.stock = stock;
        self.step += 1;
        results.narrow(0, slots - 1, 1)
    }

    fn painting(&self, device: &Device) -> Result<Painting> {
        let background = self
            .state
            .background
            .as_ref()
            .map(|background| &background.latent);
        let planes: Vec<&[f32]> = self
            .state
            .layers
            .iter()
            .map(|layer| layer.planes.as_slice())
            .collect();
        let mut planes = MaskPlanes::new(self.size, self.settings.table.count(), &planes);
        planes.counts.clone_from(&self.state.counts);
        Ok(Painting {
            masks: Masks::new(&planes, device)?,
            prompts: self
                .state
                .layers
                .iter()
                .map(|layer| layer.prepared.clone())
                .collect(),
            background: background.unwrap_or(&self.state.white).clone(),
            white: self.state.white.clone(),
            bootstrap_steps: self.settings.bootstrap_steps,
            bootstrap_mix_steps: self.settings.bootstrap_mix_steps,
            guidance: self.settings.guidance,
        })
    }

    /// A mask with the defaults for what is not given.
    fn given_mask(&self, original: Vec<f32>, strength: Option<f32>, std: Option<f32>) -> GivenMask {
        GivenMask {
            original,
            strength: strength.unwrap_or(self.settings.default_mask_strength),
            std: std.unwrap_or(self.settings.default_mask_std),
        }
    }

    fn empty_planes(&self) -> Vec<f32> {
        vec![0.0; self.settings.table.count() * self.size.area()]
    }

    fn single_mask(&self, mask: &GivenMask) -> Vec<f32> {
        let request = MaskRequest {
            cover_alpha: 0.0,
            stds_px: vec![mask.std],
            strengths: vec![mask.strength],
        };
        let masks = [mask.original.clone()];
        let sampled = prepare(&masks, self.settings.width, &request, self.parts.spec.downscale);
        quantise(&sampled[0], self.settings.mask_mode, &self.settings.table)
    }

    fn full_prompt(&self, prompt: &str, suffix: Option<&str>) -> String {
        match (suffix, &self.state.background) {
            (Some(suffix), Some(background)) => format!("{prompt}{suffix}{}", background.prompt),
            _ => prompt.to_owned(),
        }
    }

    fn encode_prompt(&self, prompt: &str) -> Result<Conditioning> {
        self.parts.text_encoder.encode(prompt)
    }

    /// Encodes a layer's prompts and mixes them with the background's.
    fn embed(
        &self,
        prompt: &str,
        negative_prompt: &str,
        strength: f32,
    ) -> Result<(Conditioning, Conditioning, RegionPrompt)> {
        let mix = |own: Conditioning, background: Option<&Conditioning>| -> Result<Conditioning> {
            let context = match background {
                Some(background) => {
                    let difference = (&own.context - &background.context)?;
                    (&background.context + (difference * f64::from(strength))?)?
                }
                None => own.context,
            };
            let (height, width) = (self.settings.height as f32, self.settings.width as f32);
            let is_xl = self.parts.spec.has_added_conditioning;
            Ok(Conditioning {
                context,
                pooled: own.pooled,
                time_ids: is_xl.then_some([height, width, 0.0, 0.0, height, width]),
            })
        };
        let background = self.state.background.as_ref();
        let positive = mix(
            self.encode_prompt(prompt)?,
            background.map(|background| &background.embedding),
        )?;
        let negative = mix(
            self.encode_prompt(negative_prompt)?,
            background.map(|background| &background.negative_embedding),
        )?;
        let prepared = RegionPrompt {
            positive: self.parts.denoiser.prepare(&positive)?,
            negative: self
                .settings
                .guidance
                .takes_negative_prompts()
                .then(|| self.parts.denoiser.prepare(&negative))
                .transpose()?,
        };
        Ok((positive, negative, prepared))
    }
}

/// White, mixed with the background, for each slot: `[T, c, h, w]`.
///
/// # Errors
/// If there is no background.
pub fn bootstrap_latents(state: &ReferenceState, settings: &ReferenceSettings) -> Result<Tensor> {
    let Some(background) = &state.background else {
        candle_core::bail!("there is no background yet");
    };
    let latents = (0..settings.table.count())
        .map(|slot| {
            let mix = bootstrap_mix(settings.bootstrap_mix_steps, slot);
            (&state.white * mix)? + (&background.latent * (1.0 - mix))?
        })
        .collect::<Result<Vec<_>>>()?;
    Tensor::cat(&latents, 0)
}

fn encode(
    parts: &ModelParts,
    noise: &mut dyn NoiseSource,
    pixels: &Tensor,
    draw: Draw,
    size: LatentSize,
) -> Result<Tensor> {
    let sampled = noise.draw_if_known(draw, parts.spec.latent_channels, size, &parts.device)?;
    let sampled = sampled.map(|noise| noise.to_dtype(parts.dtype)).transpose()?;
    parts
        .codec
        .encode(&pixels.to_dtype(parts.dtype)?, sampled.as_ref())?
        .to_dtype(DType::F32)
}

struct StepProbe<'a> {
    watch: &'a mut dyn Watch,
    step: usize,
}

impl Probe for StepProbe<'_> {
    fn predicted(&mut self, input: &Tensor, timesteps: &[f64], output: &Tensor) {
        self.watch.predicted(self.step, input, timesteps, output);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_alone_is_no_request() {
        let suffix = LayerUpdate {
            index: Some(1),
            suffix: Some(", in oil".to_owned()),
            ..LayerUpdate::default()
        };
        assert!(suffix.is_empty());
        let prompt = LayerUpdate {
            prompt: Some("a boat".to_owned()),
            ..suffix
        };
        assert!(!prompt.is_empty());
    }
}
