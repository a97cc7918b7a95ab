//! The reference's stream of one of our scenes, to compare pictures.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use wordbrush_engine::{
    api::{BackgroundNoise, Picture, Scene, Seed},
    low_level::{
        image::{picture_from_tensor, tensor_from_picture},
        schedule::SlotTable,
        stream::{
            masks::LatentSize,
            noise::{Draw, NoiseSource},
            reference::{
                BackgroundUpdate, LayersUpdate, Reference, ReferenceSettings, ReferenceState, Watch,
            },
        },
    },
};

use crate::stream::Stream;

/// What the reference gives a mask that comes without a softness.
pub(crate) const DEFAULT_STD_PX: f32 = 8.0;

/// Where the reference's noise comes from.
pub(crate) enum Entering {
    /// The canvas' fixed noise, as ours.
    Held(Seed),
    /// New noise at every step, as the reference has it.
    Drawn(Seed),
}

impl NoiseSource for Entering {
    fn draw(
        &mut self,
        draw: Draw,
        channels: usize,
        size: LatentSize,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        match (self, draw) {
            (Self::Held(seed), Draw::Fresh(_)) => seed.draw(Draw::Slot(0), channels, size, device),
            (Self::Held(seed) | Self::Drawn(seed), draw) => seed.draw(draw, channels, size, device),
        }
    }

    fn draw_if_known(
        &mut self,
        _draw: Draw,
        _channels: usize,
        _size: LatentSize,
        _device: &Device,
    ) -> candle_core::Result<Option<Tensor>> {
        Ok(None)
    }
}

/// Streams a scene as the reference does. `script` edits and makes frames; the latents that it gives become pictures.
pub(crate) fn pictures(
    ours: &mut Stream,
    scene: &Scene,
    mut noise: Entering,
    script: impl FnOnce(&mut Reference<'_>) -> Result<Vec<Tensor>>,
) -> Result<Vec<Picture>> {
    let settings = &scene.settings;
    let (width, height) = (scene.size.width() as usize, scene.size.height() as usize);
    let reference_settings = ReferenceSettings {
        table: SlotTable::for_model(&ours.parts.spec, &settings.steps, BackgroundNoise::Corrected),
        height,
        width,
        guidance: settings.guidance,
        autoflush: true,
        default_mask_std: DEFAULT_STD_PX,
        default_mask_strength: 1.0,
        default_prompt_strength: 1.0,
        bootstrap_steps: usize::from(settings.bootstrap_steps),
        bootstrap_mix_steps: f64::from(settings.bootstrap_mix_steps),
        cover_alpha: settings.cover_alpha,
        mask_mode: settings.mask_mode,
    };
    let white = Picture::solid(scene.size, [255; 4]);
    let image = scene.background.image.as_ref().unwrap_or(&white);
    let image = tensor_from_picture(image, height, width, &ours.parts.device)?.affine(0.5, 0.5)?;
    let each = |value: &dyn Fn(usize) -> f32| (0..scene.regions.len()).map(value).collect::<Vec<_>>();
    let latents = {
        let mut stream = Reference::new(&mut ours.parts, reference_settings, &mut noise)?;
        stream.update_background(BackgroundUpdate {
            image: Some(image),
            prompt: Some(scene.background.prompt.clone()),
            negative_prompt: None,
        })?;
        stream.update_layers(LayersUpdate {
            prompts: scene.regions.iter().map(|region| region.prompt.clone()).collect(),
            masks: scene.regions.iter().map(|region| plane(&region.mask)).collect(),
            prompt_strengths: Some(each(&|i| scene.regions[i].prompt_strength)),
            mask_strengths: Some(each(&|i| scene.regions[i].mask_strength)),
            mask_stds: Some(each(&|i| scene.regions[i].mask_std_px)),
            ..LayersUpdate::default()
        })?;
        script(&mut stream)?
    };
    latents
        .iter()
        .map(|latent| {
            let decoded = ours.parts.codec.decode(&latent.to_dtype(ours.parts.dtype)?)?;
            Ok(picture_from_tensor(&decoded.to_dtype(DType::F32)?, scene.size)?)
        })
        .collect()
}

/// The picture that the reference arrives at, after `edit`.
pub(crate) fn settled(
    ours: &mut Stream,
    scene: &Scene,
    edit: impl FnOnce(&mut Reference<'_>),
) -> Result<Picture> {
    let slots = scene.settings.steps.count();
    let mut pictures = pictures(ours, scene, Entering::Held(scene.seed), |stream| {
        edit(stream);
        // The stock noise fills from zero, one slot a step, and the latents after it.
        for _ in 0..2 * slots {
            stream.call(&mut Unwatched)?;
        }
        Ok(stream.call(&mut Unwatched)?.into_iter().collect())
    })?;
    Ok(pictures.swap_remove(0))
}

/// A mask as a plane of the reference's.
pub(crate) fn plane(mask: &wordbrush_engine::api::Mask) -> Vec<f32> {
    mask.to_coverage()
        .iter()
        .map(|&value| f32::from(value) / 255.0)
        .collect()
}

/// Nobody looks at the steps.
pub(crate) struct Unwatched;

impl Watch for Unwatched {
    fn before_step(&mut self, _stream: &mut ReferenceState, _step: usize) -> candle_core::Result<()> {
        Ok(())
    }

    fn predicted(&mut self, _step: usize, _input: &Tensor, _timesteps: &[f64], _output: &Tensor) {}

    fn after_step(
        &mut self,
        _step: usize,
        _results: &Tensor,
        _buffer: &Tensor,
        _stock: &Tensor,
    ) -> candle_core::Result<()> {
        Ok(())
    }
}
