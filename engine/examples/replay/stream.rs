//! Kinds `stream` and `stream-xl`: the reference's driver with recorded noise, step by step.
//!
//! Each case is replayed twice: with masks of our own, and with the case's masks, which the case expects to come much
//! nearer to.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};
use candle_core::{DType, Device, Tensor};
use serde_json::Value;
use wordbrush_engine::{
    api::{BackgroundNoise, Guidance, LoraSource, ModelChoice, ModelSource},
    low_level::{
        Compute, LoadProgress, LoadWatch,
        image::Filter,
        models,
        schedule::{NoiseSchedule, StepIndex, Timestep, euler, lcm},
        stream::{
            masks::LatentSize,
            noise::{Draw, NoiseSource},
            reference::{
                BackgroundUpdate, LayerUpdate, LayersUpdate, Reference, ReferenceSettings, ReferenceState,
                Watch, bootstrap_latents,
            },
            step::bootstrap_mix,
        },
        traits::{ModelParts, Prediction, SamplerKind},
    },
};

use super::{
    case::{Case, Masks, steps_below, usizes},
    image_prep::resized_to,
    masks::{mask_mode, one_or_each},
};

/// What an operation may say of all layers.
const LAYERS_FIELDS: [&str; 7] = [
    "prompts",
    "negative_prompts",
    "suffix",
    "prompt_strengths",
    "masks",
    "mask_strengths",
    "mask_stds",
];
/// What an operation may say of one layer.
const LAYER_FIELDS: [&str; 8] = [
    "idx",
    "prompt",
    "negative_prompt",
    "suffix",
    "prompt_strength",
    "mask",
    "mask_strength",
    "mask_std",
];
/// What a queued operation may say of the background.
const BACKGROUND_FIELDS: [&str; 3] = ["background", "background_prompt", "background_negative_prompt"];

pub(crate) fn replay(case: &mut Case, sampler: SamplerKind, compute: &Compute) -> Result<()> {
    for masks in [Masks::Own, Masks::Recorded] {
        Replay::new(case, sampler, compute, masks)?.run()?;
    }
    Ok(())
}

/// One pass through a case.
struct Replay<'a> {
    case: &'a mut Case,
    sampler: SamplerKind,
    compute: &'a Compute,
    masks: Masks,
    settings: Value,
    schedule: NoiseSchedule,
}

impl<'a> Replay<'a> {
    fn new(case: &'a mut Case, sampler: SamplerKind, compute: &'a Compute, masks: Masks) -> Result<Self> {
        Ok(Self {
            settings: case.settings["settings"].clone(),
            schedule: case.noise_schedule_of_model()?,
            case,
            sampler,
            compute,
            masks,
        })
    }

    fn run(self) -> Result<()> {
        let indexes: Vec<StepIndex> = usizes(&self.settings["t_index_list"])?
            .into_iter()
            .map(StepIndex)
            .collect();
        let steps = self.number("num_inference_steps")? as usize;
        let table = match self.sampler {
            SamplerKind::Lcm => lcm::Grid::new(&self.schedule, steps)?.slots(
                &self.schedule,
                &indexes,
                Prediction::Epsilon,
                BackgroundNoise::Reference,
            )?,
            SamplerKind::EulerTrailing => {
                euler::Grid::new(&self.schedule, steps)?.slots(&indexes, Prediction::Epsilon)?
            }
        };
        let settings = ReferenceSettings {
            height: self.number("height")? as usize,
            width: self.number("width")? as usize,
            guidance: self.guidance()?,
            autoflush: self.settings["autoflush"].as_bool().unwrap_or(true),
            default_mask_std: self.number("default_mask_std")? as f32,
            default_mask_strength: self.number("default_mask_strength")? as f32,
            default_prompt_strength: self.number("default_prompt_strength")? as f32,
            bootstrap_steps: steps_below(self.number("bootstrap_steps")?),
            bootstrap_mix_steps: self.number("bootstrap_mix_steps")?,
            cover_alpha: self.number("preprocess_mask_cover_alpha")? as f32,
            mask_mode: mask_mode(&self.settings["mask_type"])?,
            table,
        };
        let mut parts = self.model()?;
        let mut noise = RecordedNoise::new(self.case);
        let script = self.case.settings["script"]
            .as_array()
            .context("no script")?
            .clone();
        let steps = self.case.settings["steps"]
            .as_array()
            .context("no steps")?
            .clone();
        let mut recorder = Recorder::new(self.case, self.masks, &steps, self.compute)?;
        let mut stream = Reference::new(&mut parts, settings.clone(), &mut noise)?;
        recorder.white = Some(stream.state.white.clone());
        recorder.settings = Some(settings.clone());

        if self.settings["frame_buffer_size"].as_u64().unwrap_or(1) != 1 {
            bail!("frame_buffer_size must be 1");
        }
        let mut frames = Vec::new();
        for (index, operation) in script.iter().enumerate() {
            recorder.operation = index;
            self.perform(operation, &mut stream, &mut recorder, &mut frames)
                .with_context(|| format!("operation {index} ({})", operation["op"]))?;
        }
        check_frames(&self.case.settings["frames"], &frames)?;
        let recorded = recorder.finish()?;

        let steps = self.number("num_inference_steps")? as usize;
        let mut fused_weights = self.case.expected_names();
        fused_weights.retain(|name| name.starts_with("fused."));
        // Not every case has every table.
        let mut check = |name: &str, found: &Tensor| {
            if self.case.expects(name) {
                self.case.check_in(name, found, self.masks)
            } else {
                Ok(())
            }
        };
        for (name, tensor) in &recorded {
            check(name, tensor)?;
        }
        for name in fused_weights {
            check(
                &name,
                &parts
                    .adapters
                    .denoiser_weight(name.trim_start_matches("fused."))?,
            )?;
        }
        if !frames.is_empty() {
            let frames: Vec<Tensor> = frames.into_iter().map(|(_, frame)| frame).collect();
            let frames = Tensor::cat(&frames, 0)?;
            let decoded = parts.codec.decode(&frames.to_dtype(parts.dtype)?)?;
            let images = decoded.to_dtype(DType::F32)?.affine(0.5, 0.5)?.clamp(0.0, 1.0)?;
            check("frames.latent", &frames)?;
            check("frames.image", &images)?;
        }
        constants(&settings, self.sampler, &self.schedule, steps, |name, values| {
            check(name, &values)
        })
    }

    fn number(&self, name: &str) -> Result<f64> {
        self.settings[name]
            .as_f64()
            .with_context(|| format!("the settings have no number {name:?}"))
    }

    fn guidance(&self) -> Result<Guidance> {
        let scale = self.number("guidance_scale")? as f32;
        let delta = self.number("delta")? as f32;
        Ok(match self.settings["cfg_type"].as_str() {
            Some("none") => Guidance::None,
            Some("full") => Guidance::Full { scale },
            Some("self") => Guidance::SelfNegative { scale, delta },
            Some("initialize") => Guidance::Initialize { scale, delta },
            other => bail!("cfg_type {other:?} is unknown"),
        })
    }

    fn model(&self) -> Result<ModelParts> {
        let folder = self.case.path("model")?;
        let uses_tiny = self.settings["use_tiny_vae"].as_bool().unwrap_or(true);
        let mut choice = ModelChoice::plain(ModelSource::Path(folder.clone()));
        choice.tiny_autoencoder = uses_tiny.then(|| folder.join("tiny_vae"));
        if !self.case.settings["lora"].is_null() {
            choice.loras.push(LoraSource {
                path: self.case.path_in("lora", "path")?,
                scale: self.case.settings["lora"]["scale"].as_f64().unwrap_or(1.0) as f32,
            });
        }
        let ignore = |_: LoadProgress<'_>| {};
        let cancel = false.into();
        let mut parts = models::load(&choice, self.compute, &LoadWatch::new(&ignore, &cancel))?.parts;
        parts.spec.sampler = self.sampler;
        Ok(parts)
    }

    fn perform(
        &self,
        operation: &Value,
        stream: &mut Reference<'_>,
        recorder: &mut Recorder<'_>,
        frames: &mut Vec<(usize, Tensor)>,
    ) -> Result<()> {
        let name = operation["op"].as_str();
        let known: &[&str] = match name {
            Some("update_background") => &["image", "prompt", "negative_prompt"],
            Some("update_layers") => &LAYERS_FIELDS,
            Some("update_single_layer") => &LAYER_FIELDS,
            Some("update") => &[&LAYER_FIELDS[..], &BACKGROUND_FIELDS[..]].concat(),
            Some("call") => &["count", "expect"],
            _ => &[],
        };
        let fields = operation.as_object().context("an operation is no object")?;
        if let Some(field) = fields
            .keys()
            .find(|field| *field != "op" && !known.contains(&field.as_str()))
        {
            bail!("the field {field:?} is unknown");
        }
        match name {
            Some("update_background") => {
                stream.update_background(self.background(operation, "image", "")?)?;
            }
            Some("update_layers") => stream.update_layers(self.layers(operation)?)?,
            Some("update_single_layer") => stream.update_single_layer(self.layer(operation)?)?,
            Some("update") => stream.update(
                self.background(operation, "background", "background_")?,
                self.layer(operation)?,
            ),
            Some("flush") => stream.flush(recorder)?,
            Some("call") => {
                let is_expected = operation["expect"].as_str() != Some("not-ready");
                for _ in 0..operation["count"].as_u64().unwrap_or(1) {
                    let frame = stream.call(recorder)?;
                    if frame.is_some() != is_expected {
                        bail!("a frame came where none is expected, or none came");
                    }
                    frames.extend(frame.map(|frame| (recorder.results.len() - 1, frame)));
                }
            }
            other => bail!("the operation {other:?} is unknown"),
        }
        Ok(())
    }

    fn background(&self, operation: &Value, image: &str, prefix: &str) -> Result<BackgroundUpdate> {
        Ok(BackgroundUpdate {
            image: text(&operation[image])
                .map(|name| self.image(&name))
                .transpose()?,
            prompt: text(&operation[format!("{prefix}prompt").as_str()]),
            negative_prompt: text(&operation[format!("{prefix}negative_prompt").as_str()]),
        })
    }

    fn layers(&self, operation: &Value) -> Result<LayersUpdate> {
        let prompts = texts(&operation["prompts"])?;
        let count = prompts.len();
        let numbers = |name: &str| {
            let value = &operation[name];
            (!value.is_null()).then(|| one_or_each(value, count)).transpose()
        };
        Ok(LayersUpdate {
            negative_prompts: texts(&operation["negative_prompts"])?,
            suffix: text(&operation["suffix"]),
            prompt_strengths: numbers("prompt_strengths")?,
            masks: texts(&operation["masks"])?
                .iter()
                .map(|name| self.mask(name))
                .collect::<Result<_>>()?,
            mask_strengths: numbers("mask_strengths")?,
            mask_stds: numbers("mask_stds")?,
            prompts,
        })
    }

    fn layer(&self, operation: &Value) -> Result<LayerUpdate> {
        let number = |name: &str| operation[name].as_f64().map(|value| value as f32);
        // The prompts of a background have names of their own.
        Ok(LayerUpdate {
            index: operation["idx"].as_i64(),
            prompt: text(&operation["prompt"]),
            negative_prompt: text(&operation["negative_prompt"]),
            suffix: text(&operation["suffix"]),
            prompt_strength: number("prompt_strength"),
            mask: text(&operation["mask"])
                .map(|name| self.mask(&name))
                .transpose()?,
            mask_strength: number("mask_strength"),
            mask_std: number("mask_std"),
        })
    }

    /// A picture at the canvas' size.
    fn image(&self, name: &str) -> Result<Tensor> {
        picture_at(self.case.input(&format!("image.{name}"))?, self.canvas()?)
    }

    /// A mask at the canvas' size.
    fn mask(&self, name: &str) -> Result<Vec<f32>> {
        mask_at(self.case.input(&format!("mask.{name}"))?, self.canvas()?)
    }

    /// Height and width in pixels.
    fn canvas(&self) -> Result<(usize, usize)> {
        Ok((self.number("height")? as usize, self.number("width")? as usize))
    }
}

/// A picture `[1, 3, H, W]` at another size, resized as the reference does.
fn picture_at(picture: &Tensor, size: (usize, usize)) -> Result<Tensor> {
    let (_, _, height, width) = picture.dims4()?;
    if (height, width) == size {
        return Ok(picture.clone());
    }
    resized_to::<3>(picture, size, Filter::Bicubic)
}

/// A mask `[1, 1, H, W]` at another size. The reference resizes mask pictures, which are dark where the mask is.
fn mask_at(mask: &Tensor, size: (usize, usize)) -> Result<Vec<f32>> {
    let (_, _, height, width) = mask.dims4()?;
    let mask = if (height, width) == size {
        mask.clone()
    } else {
        resized_to::<1>(&mask.affine(-1.0, 1.0)?, size, Filter::Bilinear)?.affine(-1.0, 1.0)?
    };
    Ok(mask.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

fn numbers(values: impl Iterator<Item = f32>) -> candle_core::Result<Tensor> {
    let values: Vec<f32> = values.collect();
    let count = values.len();
    Tensor::from_vec(values, count, &Device::Cpu)
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// A list of strings; a single string counts as a list of one, nothing as an empty list.
fn texts(value: &Value) -> Result<Vec<String>> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::String(one) => Ok(vec![one.clone()]),
        _ => value
            .as_array()
            .and_then(|list| list.iter().map(text).collect())
            .with_context(|| format!("{value} is neither a text nor a list of texts")),
    }
}

/// Every frame must come from the step that the case says.
fn check_frames(expected: &Value, frames: &[(usize, Tensor)]) -> Result<()> {
    let expected = expected.as_array().context("no frames")?;
    let steps = |step: &Value| step["step"].as_u64().map(|step| step as usize);
    let expected: Option<Vec<usize>> = expected.iter().map(steps).collect();
    let found: Vec<usize> = frames.iter().map(|&(step, _)| step).collect();
    if expected.as_ref() != Some(&found) {
        bail!("frames come from steps {found:?} where {expected:?} are expected");
    }
    Ok(())
}

/// The tables that the stream is constructed with.
fn constants(
    settings: &ReferenceSettings,
    sampler: SamplerKind,
    schedule: &NoiseSchedule,
    steps: usize,
    mut check: impl FnMut(&str, Tensor) -> Result<()>,
) -> Result<()> {
    let slots = settings.table.slots();
    let mut table =
        |name: &str, values: Vec<f64>| check(&format!("const.{name}"), Tensor::new(values, &Device::Cpu)?);
    let each = |value: &dyn Fn(usize) -> f64| (0..slots.len()).map(value).collect::<Vec<f64>>();
    table("sub_timesteps_tensor", each(&|t| slots[t].timestep.0))?;
    table("noise_lvs", each(&|t| slots[t].noise_level))?;
    table("next_noise_lvs", each(&|t| slots[t].next_noise_level))?;
    table(
        "bootstrap_steps",
        each(&|t| f64::from(u8::from(t < settings.bootstrap_steps))),
    )?;
    table(
        "bootstrap_mix_ratios",
        each(&|t| bootstrap_mix(settings.bootstrap_mix_steps, t)),
    )?;
    match sampler {
        SamplerKind::Lcm => {
            let scalings = |t: usize| lcm::boundary_scalings(slots[t].timestep);
            table("alpha_prod_t_sqrt", each(&|t| slots[t].noising.signal))?;
            table("beta_prod_t_sqrt", each(&|t| slots[t].noising.noise))?;
            table("c_skip", each(&|t| scalings(t).0))?;
            table("c_out", each(&|t| scalings(t).1))
        }
        SamplerKind::EulerTrailing => {
            let grid = euler::Grid::new(schedule, steps)?;
            let sigma = |timestep: Timestep| euler::sigma(schedule, timestep);
            table("sigmas", each(&|t| sigma(slots[t].timestep)))?;
            table("dt", each(&|t| slots[t].result.prediction))?;
            table("init_noise_sigma", vec![settings.table.initial_scale])?;
            table(
                "scheduler_timesteps",
                grid.steps().iter().map(|step| step.0.0).collect(),
            )?;
            let sigmas = grid.steps().iter().map(|step| step.1);
            table("scheduler_sigmas", sigmas.chain([0.0]).collect())
        }
    }
}

/// Noise from the case's inputs.
struct RecordedNoise(BTreeMap<&'static str, Tensor>);

impl RecordedNoise {
    fn new(case: &Case) -> Self {
        let names = [
            "init_noise",
            "fresh_latent",
            "vae_noise.white",
            "vae_noise.background",
        ];
        Self(
            names
                .into_iter()
                .filter_map(|name| Some((name, case.input(name).ok()?.clone())))
                .collect(),
        )
    }
}

impl NoiseSource for RecordedNoise {
    fn draw(
        &mut self,
        draw: Draw,
        channels: usize,
        size: LatentSize,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        match self.draw_if_known(draw, channels, size, device)? {
            Some(noise) => Ok(noise),
            None => candle_core::bail!("the case has no noise for {draw:?}"),
        }
    }

    fn draw_if_known(
        &mut self,
        draw: Draw,
        _channels: usize,
        _size: LatentSize,
        _device: &Device,
    ) -> candle_core::Result<Option<Tensor>> {
        let (name, row) = match draw {
            Draw::Slot(slot) => ("init_noise", slot),
            Draw::Fresh(step) => ("fresh_latent", step as usize),
            Draw::EncodeWhite => ("vae_noise.white", 0),
            Draw::EncodeBackground(index) => ("vae_noise.background", index as usize),
            _ => candle_core::bail!("a stream draws no noise for {draw:?}"),
        };
        self.0.get(name).map(|noise| noise.narrow(0, row, 1)).transpose()
    }
}

/// Collects what a case expects.
struct Recorder<'a> {
    masks: Masks,
    compute: &'a Compute,
    /// State and operation of each step.
    plan: Vec<(usize, usize)>,
    operation: usize,
    names: Vec<String>,
    recorded_masks: BTreeMap<String, Tensor>,
    /// Strengths and deviations that were recorded as one for all layers.
    shared: BTreeSet<String>,
    settings: Option<ReferenceSettings>,
    white: Option<Tensor>,
    last_state: Option<usize>,
    results: Vec<Tensor>,
    buffers: Vec<Tensor>,
    stocks: Vec<Tensor>,
    found: Vec<(String, Tensor)>,
}

impl<'a> Recorder<'a> {
    fn new(case: &Case, masks: Masks, steps: &[Value], compute: &'a Compute) -> Result<Self> {
        let plan = steps
            .iter()
            .map(|step| {
                let field = |name: &str| step[name].as_u64().map(|value| value as usize);
                Some((field("state")?, field("op")?))
            })
            .collect::<Option<Vec<_>>>()
            .context("a step without state or op")?;
        let names = case.expected_names();
        let recorded_masks = names
            .iter()
            .filter(|name| matches!(name.rsplit_once('.'), Some((_, "masks" | "counts"))))
            .filter_map(|name| Some((name.clone(), case.recorded(name)?.clone())))
            .collect();
        const OF_LAYERS: [&str; 3] = ["prompt_strengths", "mask_strengths", "mask_stds"];
        let is_one = |name: &str| case.recorded(name).is_some_and(|tensor| tensor.elem_count() == 1);
        let shared = names
            .iter()
            .filter(|name| matches!(name.rsplit_once('.'), Some((_, member)) if OF_LAYERS.contains(&member)))
            .filter(|name| is_one(name))
            .cloned()
            .collect();
        Ok(Self {
            masks,
            compute,
            plan,
            operation: 0,
            names,
            recorded_masks,
            shared,
            settings: None,
            white: None,
            last_state: None,
            results: Vec::new(),
            buffers: Vec::new(),
            stocks: Vec::new(),
            found: Vec::new(),
        })
    }

    /// The newest recording of a member of the state, looking back from state `index`.
    fn newest(&self, index: usize, member: &str) -> Option<String> {
        (0..=index)
            .rev()
            .map(|state| format!("state{state}.{member}"))
            .find(|name| self.names.contains(name))
    }

    fn note_state(&mut self, index: usize, state: &ReferenceState) -> candle_core::Result<()> {
        let (Some(settings), Some(background)) = (self.settings.clone(), &state.background) else {
            candle_core::bail!("a step is made before there is a background");
        };
        let slots = settings.table.count();
        let (height, width) = (settings.height / 8, settings.width / 8);
        let cpu = &Device::Cpu;
        let planes: Vec<f32> = state
            .layers
            .iter()
            .flat_map(|layer| layer.planes.clone())
            .collect();
        let per_slot = |values: Vec<f32>| Tensor::from_vec(values, (slots, 1, height, width), cpu);
        let contexts = |negative: bool| {
            let contexts: Vec<&Tensor> = state
                .layers
                .iter()
                .map(|layer| {
                    if negative {
                        &layer.negative_embedding.context
                    } else {
                        &layer.embedding.context
                    }
                })
                .collect();
            Tensor::stack(&contexts, 0)
        };
        let mut members = vec![
            (
                "masks",
                Tensor::from_vec(planes, (state.layers.len(), slots, 1, height, width), cpu)?,
            ),
            ("counts", per_slot(state.counts.clone())?),
            (
                "bg_mask",
                per_slot(
                    state
                        .counts
                        .iter()
                        .map(|count| (1.0 - count).clamp(0.0, 1.0))
                        .collect(),
                )?,
            ),
            ("prompt_embeds", contexts(false)?),
            ("prompt_embeds_uncond", contexts(true)?),
            ("background_embed", background.embedding.context.clone()),
            ("background_latent", background.latent.clone()),
            ("bootstrap_latent", bootstrap_latents(state, &settings)?),
            (
                "prompt_strengths",
                numbers(state.layers.iter().map(|layer| layer.prompt_strength))?,
            ),
            (
                "mask_strengths",
                numbers(state.given_masks.iter().map(|mask| mask.strength))?,
            ),
            (
                "mask_stds",
                numbers(state.given_masks.iter().map(|mask| mask.std))?,
            ),
        ];
        let pooled: Option<Vec<&Tensor>> = state
            .layers
            .iter()
            .map(|layer| layer.embedding.pooled.as_ref())
            .collect();
        if let Some(pooled) = pooled {
            members.push(("text_embeds", Tensor::stack(&pooled, 0)?.repeat((slots, 1))?));
            let ids = state.layers.iter().filter_map(|layer| layer.embedding.time_ids);
            let ids: Vec<f32> = ids.flatten().collect();
            members.push(("time_ids", Tensor::from_vec(ids, (state.layers.len(), 6), cpu)?));
        }
        for (member, tensor) in members {
            if let Some(name) = self.newest(index, member) {
                let is_one = self.shared.contains(&name) && tensor.dim(0)? > 1;
                let tensor = if is_one { tensor.narrow(0, 0, 1)? } else { tensor };
                self.found.push((name, tensor));
            }
        }
        Ok(())
    }

    fn take_recorded_masks(&self, index: usize, state: &mut ReferenceState) -> candle_core::Result<()> {
        let recorded = |member: &str| {
            let name = self.newest(index, member).unwrap_or_default();
            match self.recorded_masks.get(&name) {
                Some(tensor) => Ok(tensor),
                None => candle_core::bail!("the case has no {member} for state {index}"),
            }
        };
        let masks = recorded("masks")?.flatten_from(1)?.to_vec2::<f32>()?;
        for (layer, planes) in state.layers.iter_mut().zip(masks) {
            layer.planes = planes;
        }
        state.counts = recorded("counts")?.flatten_all()?.to_vec1()?;
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<(String, Tensor)>> {
        if self.results.len() != self.plan.len() {
            bail!(
                "{} steps were made where {} are expected",
                self.results.len(),
                self.plan.len()
            );
        }
        self.found
            .push(("steps.x0_pred".to_owned(), Tensor::stack(&self.results, 0)?));
        self.found
            .push(("steps.latent_buffer".to_owned(), Tensor::stack(&self.buffers, 0)?));
        if self.names.iter().any(|name| name == "steps.stock_noise") {
            self.found
                .push(("steps.stock_noise".to_owned(), Tensor::stack(&self.stocks, 0)?));
        }
        if let Some(white) = self.white {
            self.found.push(("const.white_latent".to_owned(), white));
        }
        Ok(self.found)
    }
}

impl Watch for Recorder<'_> {
    fn before_step(&mut self, stream: &mut ReferenceState, step: usize) -> candle_core::Result<()> {
        let Some(&(index, operation)) = self.plan.get(step) else {
            candle_core::bail!("step {step} is one more than expected");
        };
        if operation != self.operation {
            candle_core::bail!(
                "step {step} is expected during operation {operation}, not {}",
                self.operation
            );
        }
        if self.masks == Masks::Recorded {
            self.take_recorded_masks(index, stream)?;
        }
        if self.last_state != Some(index) {
            self.note_state(index, stream)?;
            self.last_state = Some(index);
        }
        Ok(())
    }

    fn predicted(&mut self, step: usize, input: &Tensor, timesteps: &[f64], output: &Tensor) {
        let timesteps = Tensor::new(timesteps, &self.compute.device);
        for (part, tensor) in [
            ("unet_in", Ok(input.clone())),
            ("unet_timestep", timesteps),
            ("unet_out", Ok(output.clone())),
        ] {
            let name = format!("debug.step{step}.{part}");
            if let (true, Ok(tensor)) = (self.names.contains(&name), tensor) {
                self.found.push((name, tensor));
            }
        }
    }

    fn after_step(
        &mut self,
        _step: usize,
        results: &Tensor,
        buffer: &Tensor,
        stock: &Tensor,
    ) -> candle_core::Result<()> {
        self.results.push(results.clone());
        self.buffers.push(buffer.clone());
        self.stocks.push(stock.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_and_masks_of_another_size_are_brought_to_the_canvas() {
        let size = (16, 24);
        let flat = |channels: usize, height: usize, width: usize, value: f64| {
            let ones = Tensor::ones((1, channels, height, width), DType::F32, &Device::Cpu);
            (ones.unwrap() * value).unwrap()
        };
        let picture = picture_at(&flat(3, 10, 7, 51.0 / 255.0), size).unwrap();
        assert_eq!(picture.dims(), [1, 3, 16, 24]);
        let values: Vec<f32> = picture.flatten_all().unwrap().to_vec1().unwrap();
        assert!(values.iter().all(|value| (value - 0.2).abs() < 1e-6));
        // Left half inside.
        let half = Tensor::cat(&[flat(1, 32, 24, 1.0), flat(1, 32, 24, 0.0)], 3).unwrap();
        let mask = mask_at(&half, size).unwrap();
        assert_eq!(mask.len(), 16 * 24);
        assert!(
            mask.chunks_exact(24)
                .all(|row| row[..11].iter().all(|&value| value == 1.0))
        );
        assert!(
            mask.chunks_exact(24)
                .all(|row| row[13..].iter().all(|&value| value == 0.0))
        );
        // What has the size already stays as it is, to the bit.
        let own = flat(1, 16, 24, 0.123_456);
        assert!(
            mask_at(&own, size)
                .unwrap()
                .iter()
                .all(|&value| value == 0.123_456)
        );
        assert!(
            picture_at(&flat(1, 10, 7, 1.0), size).is_err(),
            "a picture of one channel"
        );
    }
}
