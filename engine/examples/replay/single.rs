//! Kinds `single-call`, `single-xl-call`, `single-sample` and `single-sample_panorama`: one-shot pictures.

use std::cell::RefCell;

use anyhow::{Context as _, Result, bail};
use candle_core::{DType, Device, Tensor};
use serde_json::Value;
use wordbrush_engine::{
    api::{BackgroundNoise, ModelChoice, ModelSource},
    low_level::{
        Compute, LoadProgress, LoadWatch, models,
        pipeline::{
            Bootstrap, BootstrapNoise, ClassifierFree, Composition, GuidedPrompt, Network, Overlap, Rows,
            Views, Watch, averaged, blended, coverage_resized, mixed, start_latent,
        },
        schedule::{
            NoiseSchedule, Slot, SlotTable, StepIndex, euler,
            lcm::{self, boundary_scalings},
        },
        stream::{
            masks::{LatentSize, MaskPlanes, MaskRequest, prepare, quantise},
            noise::{Draw, NoiseSource},
        },
        traits::{Conditioning, Denoiser, ModelParts, Prediction, PreparedPrompt, Row, SamplerKind},
    },
};

use super::{
    case::{Case, steps_below, usizes},
    masks::{exactly_each, mask_mode, masks_by_region},
};

/// Pixels per latent cell.
const DOWNSCALE: usize = 8;
/// Steps of the grid that lists of indexes point into.
const LIST_GRID: usize = 50;
/// What the reference shows where there is no background picture.
const WHITE_PROMPT: &str = "simple white background image";
/// Steps of a picture without regions unless told otherwise.
const DEFAULT_STEPS: u64 = 4;
/// Pixels per window of a panorama, at most.
const PANORAMA_WINDOW: usize = 512;
/// Height and width of a picture unless told otherwise.
const DEFAULT_SIDE: usize = 512;
/// As [`DEFAULT_SIDE`], for SDXL.
const DEFAULT_SIDE_XL: usize = 1024;
/// Width of a panorama unless told otherwise.
const PANORAMA_WIDTH: usize = 2048;
/// How much the reference rescales guided noise of SDXL unless told otherwise.
const DEFAULT_RESCALE: f64 = 0.7;

/// Arguments of a picture with regions.
const CALL_ARGUMENTS: [&str; 22] = [
    "prompts",
    "negative_prompts",
    "suffix",
    "background",
    "background_prompt",
    "background_negative_prompt",
    "height",
    "width",
    "num_inference_steps",
    "guidance_scale",
    "guidance_rescale",
    "prompt_strengths",
    "masks",
    "mask_strengths",
    "mask_stds",
    "use_boolean_mask",
    "do_blend",
    "tile_size",
    "bootstrap_steps",
    "boostrap_mix_steps",
    "bootstrap_leak_sensitivity",
    "preprocess_mask_cover_alpha",
];

/// Kinds `single-call` and `single-xl-call`: regions over a background.
pub(crate) fn call(case: &mut Case, compute: &Compute, sampler: SamplerKind) -> Result<()> {
    only_known(&case.settings["arguments"], &CALL_ARGUMENTS)?;
    let parts = parts(case, compute)?;
    let settings = CallSettings::read(case, sampler);
    let table = table(case, sampler)?;
    check_table(case, &table, sampler)?;

    let masks = settings.masks(case)?;
    let request = settings.mask_request(masks.len())?;
    let planes = mask_planes(case, &settings, &masks, &request, &table)?;
    // The picture is blended under masks of full strength.
    let full_strength = MaskRequest {
        strengths: vec![1.0; masks.len()],
        ..request
    };
    let blurred = prepare(&masks, settings.width, &full_strength, 1).concat();
    let blurred = Tensor::from_vec(
        blurred,
        (masks.len(), 1, settings.height, settings.width),
        &Device::Cpu,
    )?;
    case.check_if_expected("masks_blurred", &blurred)?;
    let has_background = planes.background().iter().any(|&share| share > 0.0);

    let prompts = settings.prompts(case, &parts, has_background, masks.len())?;
    let size = planes.size;
    let white = if case.has_input("vae_noise.white") || settings.bootstrap()?.steps > 0 {
        white_latent(case, &parts, size)?
    } else {
        unused_latent(&parts, size)?
    };
    let background_picture = if has_background {
        Some(settings.background_picture(case, compute)?)
    } else {
        None
    };
    let background = background_picture
        .as_ref()
        .map(|picture| encode(case, &parts, picture, Draw::EncodeBackground(0), size))
        .transpose()?;
    if let Some(background) = &background {
        case.check_if_expected("background_latent", background)?;
    }

    let views = settings.views(size);
    check_views(case, &views)?;
    let composition = Composition {
        table: &table,
        masks: &planes,
        prompts: &prompts,
        white: &white,
        background: background.as_ref(),
        bootstrap: settings.bootstrap()?,
        guidance: settings.guidance(),
        views: &views,
        overlap: Overlap::Averaged,
        rows: Rows::All,
        downscale: DOWNSCALE,
        has_time_ids: parts.spec.has_added_conditioning,
    };
    let step_latents = match sampler {
        SamplerKind::Lcm => "step_latents_before_renoise",
        SamplerKind::EulerTrailing => "step_latents",
    };
    let (latent, mut parts) = paint(case, &composition, parts, background.as_ref(), step_latents)?;

    let decoded = decode(&mut parts, &latent)?;
    case.check_if_expected("decoded_image", &decoded)?;
    let picture = match background_picture {
        Some(background) if settings.is_blended => {
            blended(&decoded, &background, &blurred.to_device(&compute.device)?)?
        }
        _ => decoded,
    };
    check_picture(case, "final_image", &picture)
}

/// Compares a finished picture.
///
/// A background that was resized overshoots 0 to 1 a little, and the reference blends it as it is; what is shown is cut
/// afterwards. Recordings hold either.
fn check_picture(case: &mut Case, name: &str, picture: &Tensor) -> Result<()> {
    let Some(recorded) = case.recorded(name) else {
        return Ok(());
    };
    let values = recorded.flatten_all()?.to_vec1::<f32>()?;
    if values.iter().all(|value| (0.0..=1.0).contains(value)) {
        case.check(name, &picture.clamp(0.0, 1.0)?)
    } else {
        case.check(name, picture)
    }
}

/// Kind `single-sample`: one prompt, no masks.
pub(crate) fn sample(case: &mut Case, compute: &Compute) -> Result<()> {
    let arguments = &case.settings["arguments"];
    only_known(arguments, &[&PROMPT_ARGUMENTS[..], &["batch_size"]].concat())?;
    if arguments["batch_size"].as_u64().unwrap_or(1) != 1 {
        bail!("one picture is made at a time");
    }
    let steps = arguments["num_inference_steps"].as_u64().unwrap_or(DEFAULT_STEPS);
    let table = whole_grid(&case.noise_schedule_of_model()?, steps as usize, SamplerKind::Lcm)?;
    check_table(case, &table, SamplerKind::Lcm)?;
    single_prompt(case, compute, &table, None)
}

/// Kind `single-sample_panorama`: one prompt through overlapping windows.
pub(crate) fn panorama(case: &mut Case, compute: &Compute) -> Result<()> {
    let arguments = &case.settings["arguments"];
    only_known(arguments, &[&PROMPT_ARGUMENTS[..], &["tile_size"]].concat())?;
    let (table, constants) = panorama_tables(case)?;
    let window = match arguments["tile_size"].as_u64() {
        Some(window) => window as usize,
        None => side(arguments, "height", DEFAULT_SIDE)
            .min(side(arguments, "width", PANORAMA_WIDTH))
            .min(PANORAMA_WINDOW),
    };
    check_table(case, &constants, SamplerKind::Lcm)?;
    single_prompt(case, compute, &table, Some(window))
}

/// The slots that a panorama runs through, and those that the pipeline holds.
///
/// They are the same, unless a number of steps is given: then the reference shows the denoiser that grid's timesteps, but
/// combines with the coefficients that it holds.
fn panorama_tables(case: &Case) -> Result<(SlotTable, SlotTable)> {
    let schedule = case.noise_schedule_of_model()?;
    let (grid, indexes) = constructed_steps(case)?;
    let own = slots(&schedule, grid, &indexes, SamplerKind::Lcm)?;
    let Some(steps) = case.settings["arguments"]["num_inference_steps"].as_u64() else {
        return Ok((own.clone(), own));
    };
    let told = lcm::Grid::new(&schedule, steps as usize)?;
    let count = told.timesteps().len();
    if count > own.count() {
        bail!(
            "{count} steps are more than the {} that there are coefficients for",
            own.count()
        );
    }
    let slots = own
        .slots()
        .iter()
        .zip(told.timesteps())
        .map(|(&slot, &timestep)| Slot { timestep, ..slot })
        .collect();
    Ok((SlotTable::new(slots, own.initial_scale)?, own))
}

/// Arguments of a picture without regions.
const PROMPT_ARGUMENTS: [&str; 6] = [
    "prompts",
    "negative_prompts",
    "height",
    "width",
    "num_inference_steps",
    "guidance_scale",
];

fn single_prompt(case: &mut Case, compute: &Compute, table: &SlotTable, window: Option<usize>) -> Result<()> {
    let parts = parts(case, compute)?;
    let arguments = case.settings["arguments"].clone();
    let width = if window.is_some() {
        PANORAMA_WIDTH
    } else {
        DEFAULT_SIDE
    };
    let size = LatentSize {
        height: side(&arguments, "height", DEFAULT_SIDE) / DOWNSCALE,
        width: side(&arguments, "width", width) / DOWNSCALE,
    };
    let positive = encode_all(&parts, &one_or_more(&arguments["prompts"])?)?;
    let negative = encode_all(&parts, &one_or_more(&arguments["negative_prompts"])?)?;
    check_contexts(case, "raw_text_embeds", positive.iter())?;
    check_contexts(case, "raw_uncond_embeds", negative.iter())?;
    let prompts = [GuidedPrompt {
        positive: averaged(&positive)?,
        negative: averaged(&negative)?,
    }];
    check_hidden_states(case, &prompts, true)?;

    let everywhere = vec![1.0_f32; size.area() * table.count()];
    let planes = MaskPlanes::new(size, table.count(), &[&everywhere]);
    let views = match window {
        Some(window) => Views::half_overlapping(size, window / DOWNSCALE),
        None => Views::whole(size),
    };
    check_views(case, &views)?;
    let unused = unused_latent(&parts, size)?;
    let composition = Composition {
        table,
        masks: &planes,
        prompts: &prompts,
        white: &unused,
        background: None,
        bootstrap: Bootstrap {
            steps: 0,
            mix_steps: 0.0,
            leak_sensitivity: 1.0,
            noise: BootstrapNoise::Fresh,
        },
        guidance: ClassifierFree {
            scale: arguments["guidance_scale"].as_f64().unwrap_or(1.0),
            rescale: 0.0,
            is_always_computed: true,
        },
        views: &views,
        overlap: Overlap::Summed,
        rows: Rows::All,
        downscale: DOWNSCALE,
        has_time_ids: false,
    };
    let (latent, mut parts) = paint(case, &composition, parts, None, "step_latents_before_renoise")?;
    let decoded = decode(&mut parts, &latent)?;
    case.check_if_expected("decoded_image", &decoded)?;
    check_picture(case, "final_image", &decoded)
}

/// Paints and compares what the denoiser saw, the latents of the steps and the last one.
fn paint(
    case: &mut Case,
    composition: &Composition<'_>,
    mut parts: ModelParts,
    background: Option<&Tensor>,
    step_latents: &str,
) -> Result<(Tensor, ModelParts)> {
    let size = composition.views.canvas();
    let (channels, device) = (parts.spec.latent_channels, parts.device.clone());
    let mut recorder = Recorder::new(parts.denoiser);
    let mut steps = Steps::default();
    let latent = {
        let mut noise = RecordedNoise(case);
        let initial = noise.draw(Draw::Initial, channels, size, &device)?;
        let start = start_latent(composition.table, background, &initial)?;
        let mut network = Network {
            denoiser: &mut recorder,
            dtype: parts.dtype,
            most_rows: usize::MAX,
        };
        composition.paint(start, &mut network, &mut noise, &mut steps)?
    };
    case.check("final_latent", &latent)?;
    if let Some(expected) = case.recorded(step_latents) {
        steps.0.pop();
        let found = joined(&steps.0, expected)?;
        case.check(step_latents, &found)?;
    }
    recorder.check(case)?;
    parts.denoiser = recorder.denoiser;
    Ok((latent, parts))
}

/// The latents between steps as a case records them; between the steps of a single one there are none.
fn joined(latents: &[Tensor], expected: &Tensor) -> Result<Tensor> {
    if latents.is_empty() && expected.elem_count() == 0 {
        return Ok(expected.clone());
    }
    Ok(Tensor::cat(latents, 0)?)
}

/// Arguments of a call, with the constructor's where they are not given.
struct CallSettings {
    arguments: Value,
    constructor: Value,
    height: usize,
    width: usize,
    is_blended: bool,
    sampler: SamplerKind,
}

impl CallSettings {
    fn read(case: &Case, sampler: SamplerKind) -> Self {
        let arguments = case.settings["arguments"].clone();
        let default = match sampler {
            SamplerKind::Lcm => DEFAULT_SIDE,
            SamplerKind::EulerTrailing => DEFAULT_SIDE_XL,
        };
        Self {
            height: side(&arguments, "height", default),
            width: side(&arguments, "width", default),
            is_blended: arguments["do_blend"].as_bool().unwrap_or(true),
            constructor: case.settings["constructor"].clone(),
            arguments,
            sampler,
        }
    }

    fn value(&self, name: &str, default: &str) -> Result<&Value> {
        let given = &self.arguments[name];
        let value = if given.is_null() {
            &self.constructor[default]
        } else {
            given
        };
        if value.is_null() {
            bail!("case.json has neither {name:?} nor {default:?}");
        }
        Ok(value)
    }

    fn number(&self, name: &str, default: &str) -> Result<f64> {
        self.value(name, default)?
            .as_f64()
            .with_context(|| format!("{name} is no number"))
    }

    /// The masks at the size of the canvas, 0 to 1.
    fn masks(&self, case: &Case) -> Result<Vec<Vec<f32>>> {
        one_or_more(&self.arguments["masks"])?
            .iter()
            .map(|name| {
                let mask = case.input(&format!("mask.{name}"))?;
                let (_, _, height, width) = mask.dims4()?;
                let values = mask.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
                Ok(coverage_resized(
                    &values,
                    (height, width),
                    (self.height, self.width),
                ))
            })
            .collect()
    }

    fn mask_request(&self, count: usize) -> Result<MaskRequest> {
        Ok(MaskRequest {
            cover_alpha: self.number(
                "preprocess_mask_cover_alpha",
                "default_preprocess_mask_cover_alpha",
            )? as f32,
            stds_px: exactly_each(self.value("mask_stds", "default_mask_std")?, count)?,
            strengths: exactly_each(self.value("mask_strengths", "default_mask_strength")?, count)?,
        })
    }

    fn background_picture(&self, case: &Case, compute: &Compute) -> Result<Tensor> {
        match self.arguments["background"].as_str() {
            Some(name) => bicubic(case.input(&format!("image.{name}"))?, self.height, self.width),
            None => white_picture(self, compute),
        }
    }

    /// Encodes all prompts and draws the regions' towards the background's: one for each of `regions`.
    fn prompts(
        &self,
        case: &mut Case,
        parts: &ModelParts,
        has_background: bool,
        regions: usize,
    ) -> Result<Vec<GuidedPrompt>> {
        let texts = one_or_more(&self.arguments["prompts"])?;
        let negative_texts = one_or_more(&self.arguments["negative_prompts"])?;
        if ![1, regions].contains(&texts.len()) {
            bail!("{} prompts do not fit {regions} masks", texts.len());
        }
        if ![1, texts.len()].contains(&negative_texts.len()) {
            bail!(
                "{} negative prompts do not fit {} prompts",
                negative_texts.len(),
                texts.len()
            );
        }
        let text = |name: &str| self.arguments[name].as_str().map(str::to_owned);
        let behind = match (text("background_prompt"), text("background")) {
            (Some(prompt), _) => prompt,
            // The reference asks a captioning model if it has one.
            (None, Some(_)) => String::new(),
            (None, None) => WHITE_PROMPT.to_owned(),
        };
        let negative_behind = text("background_negative_prompt").unwrap_or_default();
        let texts: Vec<String> = match text("suffix") {
            Some(suffix) if has_background => texts
                .into_iter()
                .map(|text| format!("{text}{suffix}{behind}"))
                .collect(),
            _ => texts,
        };
        let positive = encode_all(parts, &texts)?;
        let negative = encode_all(parts, &negative_texts)?;
        let doubles = self.guidance().doubles_rows();
        let mut prompts = if has_background {
            let behind = encode_all(parts, &[behind, negative_behind])?;
            let [behind, negative_behind] = &behind[..] else {
                bail!("two texts give two encodings");
            };
            check_contexts(case, "raw_text_embeds", std::iter::once(behind).chain(&positive))?;
            check_contexts(
                case,
                "raw_uncond_embeds",
                std::iter::once(negative_behind).chain(&negative),
            )?;
            let strengths = exactly_each(
                self.value("prompt_strengths", "default_prompt_strength")?,
                texts.len(),
            )?;
            positive
                .iter()
                .zip(negative.iter().cycle())
                .zip(strengths)
                .map(|((positive, negative), strength)| {
                    Ok(GuidedPrompt {
                        positive: mixed(behind, positive, f64::from(strength))?,
                        negative: mixed(negative_behind, negative, f64::from(strength))?,
                    })
                })
                .collect::<Result<Vec<_>>>()?
        } else {
            check_contexts(case, "raw_text_embeds", positive.iter())?;
            check_contexts(case, "raw_uncond_embeds", negative.iter())?;
            positive
                .into_iter()
                .zip(negative.into_iter().cycle())
                .map(|(positive, negative)| GuidedPrompt { positive, negative })
                .collect()
        };
        // A single prompt is that of every mask.
        if let [prompt] = &prompts[..] {
            prompts = vec![prompt.clone(); regions];
        }
        check_hidden_states(case, &prompts, doubles)?;
        Ok(prompts)
    }

    fn bootstrap(&self) -> Result<Bootstrap> {
        Ok(Bootstrap {
            steps: steps_below(self.number("bootstrap_steps", "default_bootstrap_steps")?),
            mix_steps: self.number("boostrap_mix_steps", "default_boostrap_mix_steps")?,
            leak_sensitivity: self
                .number("bootstrap_leak_sensitivity", "default_bootstrap_leak_sensitivity")?,
            noise: match self.sampler {
                SamplerKind::Lcm => BootstrapNoise::Fresh,
                SamplerKind::EulerTrailing => BootstrapNoise::Initial,
            },
        })
    }

    fn guidance(&self) -> ClassifierFree {
        let is_xl = self.sampler == SamplerKind::EulerTrailing;
        let rescale = self.arguments["guidance_rescale"].as_f64();
        ClassifierFree {
            scale: self.arguments["guidance_scale"].as_f64().unwrap_or(1.0),
            rescale: if is_xl {
                rescale.unwrap_or(DEFAULT_RESCALE)
            } else {
                0.0
            },
            is_always_computed: !is_xl,
        }
    }

    fn views(&self, size: LatentSize) -> Views {
        let default = match self.sampler {
            SamplerKind::Lcm => 768,
            SamplerKind::EulerTrailing => 1024,
        };
        let tile = self.arguments["tile_size"].as_u64().unwrap_or(default) as usize;
        if self.height > tile || self.width > tile {
            Views::half_overlapping(size, tile.div_ceil(DOWNSCALE))
        } else {
            Views::whole(size)
        }
    }
}

fn side(arguments: &Value, name: &str, default: usize) -> usize {
    arguments[name].as_u64().map_or(default, |side| side as usize)
}

/// One text, or a list of them; one empty text if nothing is given.
fn one_or_more(value: &Value) -> Result<Vec<String>> {
    match value {
        Value::Null => Ok(vec![String::new()]),
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Array(list) => list
            .iter()
            .map(|text| text.as_str().map(str::to_owned))
            .collect::<Option<Vec<String>>>()
            .with_context(|| format!("{value} is no list of texts")),
        _ => bail!("{value} is neither a text nor a list of texts"),
    }
}

fn parts(case: &Case, compute: &Compute) -> Result<ModelParts> {
    let ignore = |_: LoadProgress<'_>| {};
    let cancel = false.into();
    let watch = LoadWatch::new(&ignore, &cancel);
    let choice = ModelChoice::plain(ModelSource::Path(case.path("model")?));
    Ok(models::load(&choice, compute, &watch)?.parts)
}

/// Arguments that are not known would be passed over.
fn only_known(arguments: &Value, known: &[&str]) -> Result<()> {
    let given = arguments.as_object().context("case.json has no arguments")?;
    match given.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => bail!("the argument {name:?} is unknown"),
        None => Ok(()),
    }
}

/// A latent that nothing is read from.
fn unused_latent(parts: &ModelParts, size: LatentSize) -> Result<Tensor> {
    Ok(Tensor::zeros(
        (1, parts.spec.latent_channels, size.height, size.width),
        DType::F32,
        &parts.device,
    )?)
}

/// The slots that the call's number of steps, a schedule set before it, or the constructor's list of indexes makes.
fn table(case: &Case, sampler: SamplerKind) -> Result<SlotTable> {
    let schedule = case.noise_schedule_of_model()?;
    if let Some(steps) = case.settings["arguments"]["num_inference_steps"].as_u64() {
        return whole_grid(&schedule, steps as usize, sampler);
    }
    let (grid, indexes) = constructed_steps(case)?;
    slots(&schedule, grid, &indexes, sampler)
}

/// The grid's number of steps, and the indexes into it that the pipeline holds when it is called.
///
/// `schedule_override` is what the reference's method for other schedules was given between construction and call
/// (`t_index_list`, `num_inference_steps`), by name or in this order. What is not given takes the method's defaults:
/// the constructor's list, and a grid of 4 steps. A bare list is taken for one of indexes; those that a grid of 4 lacks
/// point into the constructor's. A constructor without a list (SDXL's) takes all steps of its grid.
fn constructed_steps(case: &Case) -> Result<(usize, Vec<usize>)> {
    let own = &case.settings["constructor"]["t_index_list"];
    let given = &case.settings["schedule_override"];
    let (list, steps) = match given {
        Value::Null if own.is_null() => (None, None),
        Value::Null => return Ok((LIST_GRID, usizes(own)?)),
        Value::Object(fields) => {
            only_known(given, &["t_index_list", "num_inference_steps"])?;
            (fields.get("t_index_list"), fields.get("num_inference_steps"))
        }
        Value::Array(values) if values.iter().all(Value::is_u64) => {
            let indexes = usizes(given)?;
            let fits = indexes.iter().all(|&index| index < DEFAULT_STEPS as usize);
            let grid = if fits { DEFAULT_STEPS as usize } else { LIST_GRID };
            return Ok((grid, indexes));
        }
        Value::Array(values) if values.len() <= 2 => (values.first(), values.get(1)),
        _ => bail!(
            "the schedule_override {given} is neither a list of indexes nor the arguments of a schedule"
        ),
    };
    let list = list.filter(|list| !list.is_null()).unwrap_or(own);
    let steps = match steps {
        None | Some(Value::Null) => DEFAULT_STEPS,
        Some(steps) => steps
            .as_u64()
            .with_context(|| format!("{steps} is no number of steps"))?,
    };
    let indexes = match list {
        Value::Null => (0..steps as usize).collect(),
        list => usizes(list)?,
    };
    Ok((steps as usize, indexes))
}

/// All steps of an inference.
fn whole_grid(schedule: &NoiseSchedule, steps: usize, sampler: SamplerKind) -> Result<SlotTable> {
    slots(schedule, steps, &(0..steps).collect::<Vec<usize>>(), sampler)
}

fn slots(
    schedule: &NoiseSchedule,
    steps: usize,
    indexes: &[usize],
    sampler: SamplerKind,
) -> Result<SlotTable> {
    let indexes: Vec<StepIndex> = indexes.iter().copied().map(StepIndex).collect();
    Ok(match sampler {
        SamplerKind::Lcm => lcm::Grid::new(schedule, steps)?.slots(
            schedule,
            &indexes,
            Prediction::Epsilon,
            BackgroundNoise::Corrected,
        )?,
        SamplerKind::EulerTrailing => {
            euler::Grid::new(schedule, steps)?.slots(&indexes, Prediction::Epsilon)?
        }
    })
}

fn check_table(case: &mut Case, table: &SlotTable, sampler: SamplerKind) -> Result<()> {
    let mut check = |name: &str, value: &dyn Fn(&Slot) -> f64| {
        let values: Vec<f64> = table.slots().iter().map(value).collect();
        case.check_if_expected(name, &Tensor::new(values, &Device::Cpu)?)
    };
    check("timesteps", &|slot| slot.timestep.0)?;
    match sampler {
        SamplerKind::Lcm => {
            check("alpha_prod_t_sqrt", &|slot| slot.noising.signal)?;
            check("beta_prod_t_sqrt", &|slot| slot.noising.noise)?;
            check("c_skip", &|slot| boundary_scalings(slot.timestep).0)?;
            check("c_out", &|slot| boundary_scalings(slot.timestep).1)
        }
        SamplerKind::EulerTrailing => {
            check("sigmas", &|slot| slot.noising.noise)?;
            check("dt", &|slot| slot.result.prediction)?;
            case.check_if_expected(
                "init_noise_sigma",
                &Tensor::new(table.initial_scale, &Device::Cpu)?,
            )
        }
    }
}

fn mask_planes(
    case: &mut Case,
    settings: &CallSettings,
    masks: &[Vec<f32>],
    request: &MaskRequest,
    table: &SlotTable,
) -> Result<MaskPlanes> {
    let mode = mask_mode(&case.settings["constructor"]["mask_type"])?;
    let cut: Vec<Vec<f32>> = prepare(masks, settings.width, request, DOWNSCALE)
        .iter()
        .map(|mask| quantise(mask, mode, table))
        .collect();
    let cut: Vec<&[f32]> = cut.iter().map(Vec::as_slice).collect();
    let size = LatentSize {
        height: settings.height / DOWNSCALE,
        width: settings.width / DOWNSCALE,
    };
    let planes = MaskPlanes::new(size, table.count(), &cut);
    case.check_if_expected("fg_masks", &masks_by_region(&planes)?)?;
    Ok(planes)
}

fn white_picture(settings: &CallSettings, compute: &Compute) -> Result<Tensor> {
    Ok(Tensor::ones(
        (1, 3, settings.height, settings.width),
        DType::F32,
        &compute.device,
    )?)
}

/// A picture `[1, c, h, w]` at another size as the reference interpolates it: cubic convolution with a parameter of -0.75,
/// pixels seen as squares, nothing smoothed beforehand.
fn bicubic(picture: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (_, _, old_height, old_width) = picture.dims4()?;
    if (old_height, old_width) == (height, width) {
        return Ok(picture.clone());
    }
    let rows = bicubic_matrix(old_height, height, picture.device())?;
    let columns = bicubic_matrix(old_width, width, picture.device())?;
    Ok(rows
        .broadcast_matmul(picture)?
        .broadcast_matmul(&columns.t()?.contiguous()?)?)
}

/// `[new, old]`: what each new pixel takes of the old ones.
fn bicubic_matrix(old: usize, new: usize, device: &Device) -> Result<Tensor> {
    const A: f64 = -0.75;
    let near = |x: f64| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    let mut weights = vec![0.0_f32; new * old];
    for (i, row) in weights.chunks_exact_mut(old).enumerate() {
        let place = (i as f64 + 0.5) * old as f64 / new as f64 - 0.5;
        let (first, along) = (place.floor(), place - place.floor());
        for (offset, weight) in [
            (-1.0, far(along + 1.0)),
            (0.0, near(along)),
            (1.0, near(1.0 - along)),
            (2.0, far(2.0 - along)),
        ] {
            let pixel = (first + offset).clamp(0.0, (old - 1) as f64) as usize;
            row[pixel] += weight as f32;
        }
    }
    Ok(Tensor::from_vec(weights, (new, old), device)?)
}

/// White as a latent of this size.
///
/// The reference keeps the largest white that it has encoded and cuts smaller ones from it; its noise has that one's size.
fn white_latent(case: &mut Case, parts: &ModelParts, size: LatentSize) -> Result<Tensor> {
    let (.., height, width) = case.input("vae_noise.white")?.dims4()?;
    let encoded = LatentSize {
        height: height.max(size.height),
        width: width.max(size.width),
    };
    let sides = (1, 3, encoded.height * DOWNSCALE, encoded.width * DOWNSCALE);
    let picture = Tensor::ones(sides, DType::F32, &parts.device)?;
    let white = encode(case, parts, &picture, Draw::EncodeWhite, encoded)?
        .narrow(2, 0, size.height)?
        .narrow(3, 0, size.width)?
        .contiguous()?;
    case.check_if_expected("white_latent", &white)?;
    Ok(white)
}

/// A picture in 0..1 as a latent.
fn encode(case: &Case, parts: &ModelParts, picture: &Tensor, draw: Draw, size: LatentSize) -> Result<Tensor> {
    let noise = RecordedNoise(case)
        .draw(draw, parts.spec.latent_channels, size, &parts.device)?
        .to_dtype(parts.dtype)?;
    let pixels = picture.affine(2.0, -1.0)?.to_dtype(parts.dtype)?;
    Ok(parts.codec.encode(&pixels, Some(&noise))?.to_dtype(DType::F32)?)
}

/// A latent as a picture in 0..1.
fn decode(parts: &mut ModelParts, latent: &Tensor) -> Result<Tensor> {
    let decoded = parts.codec.decode(&latent.to_dtype(parts.dtype)?)?;
    Ok(decoded.to_dtype(DType::F32)?.affine(0.5, 0.5)?.clamp(0.0, 1.0)?)
}

fn encode_all(parts: &ModelParts, texts: &[String]) -> Result<Vec<Conditioning>> {
    let encode = |text: &String| Ok(parts.text_encoder.encode(text)?);
    texts.iter().map(encode).collect()
}

fn check_contexts<'a>(
    case: &mut Case,
    name: &str,
    prompts: impl Iterator<Item = &'a Conditioning>,
) -> Result<()> {
    let contexts: Vec<&Tensor> = prompts.map(|prompt| &prompt.context).collect();
    case.check_if_expected(name, &Tensor::stack(&contexts, 0)?)
}

/// Compares the embeddings of all rows, those of the negative side first.
fn check_hidden_states(case: &mut Case, prompts: &[GuidedPrompt], is_doubled: bool) -> Result<()> {
    let negative = prompts
        .iter()
        .map(|prompt| &prompt.negative)
        .filter(|_| is_doubled);
    let rows: Vec<&Conditioning> = negative
        .chain(prompts.iter().map(|prompt| &prompt.positive))
        .collect();
    check_contexts(case, "encoder_hidden_states", rows.iter().copied())?;
    let pooled: Option<Vec<&Tensor>> = rows.iter().map(|row| row.pooled.as_ref()).collect();
    if let Some(pooled) = pooled {
        case.check_if_expected("text_embeds", &Tensor::stack(&pooled, 0)?)?;
    }
    Ok(())
}

fn check_views(case: &mut Case, views: &Views) -> Result<()> {
    let list = views.list();
    let bounds: Vec<i64> = list
        .iter()
        .flat_map(|view| {
            [
                view.top,
                view.top + view.size.height,
                view.left,
                view.left + view.size.width,
            ]
        })
        .map(|bound| bound as i64)
        .collect();
    case.check_if_expected("views", &Tensor::from_vec(bounds, (list.len(), 4), &Device::Cpu)?)?;
    if case.expects("view_masks") {
        let weights = list
            .iter()
            .map(|view| {
                let weights =
                    Tensor::from_slice(&view.weights, (view.size.height, view.size.width), &Device::Cpu)?;
                let below = views.canvas().height - view.top - view.size.height;
                let right = views.canvas().width - view.left - view.size.width;
                Ok(weights
                    .pad_with_zeros(0, view.top, below)?
                    .pad_with_zeros(1, view.left, right)?)
            })
            .collect::<Result<Vec<Tensor>>>()?;
        case.check("view_masks", &Tensor::stack(&weights, 0)?)?;
    }
    Ok(())
}

/// The draws that the case recorded.
struct RecordedNoise<'a>(&'a Case);

impl NoiseSource for RecordedNoise<'_> {
    fn draw(
        &mut self,
        draw: Draw,
        _channels: usize,
        _size: LatentSize,
        _device: &Device,
    ) -> candle_core::Result<Tensor> {
        let names = match draw {
            // Of these a case has the one that its picture begins with.
            Draw::Initial => vec![
                "initial_add_noise".to_owned(),
                "noise".to_owned(),
                "init_latent".to_owned(),
            ],
            Draw::Bootstrap { step, view } => vec![format!("bootstrap_noise.step{step}.view{view}")],
            Draw::Renoise(step) => vec![
                format!("renoise.after_step{step}"),
                format!("scheduler_step_noise.step{step}"),
            ],
            Draw::EncodeWhite => vec!["vae_noise.white".to_owned()],
            Draw::EncodeBackground(_) => vec!["vae_noise.background".to_owned()],
            Draw::Slot(_) | Draw::Fresh(_) => Vec::new(),
        };
        names
            .iter()
            .find_map(|name| self.0.input(name).ok().cloned())
            .ok_or_else(|| candle_core::Error::Msg(format!("the case recorded no noise for {draw:?}")))
    }
}

/// Keeps the averaged latent of every step.
#[derive(Default)]
struct Steps(Vec<Tensor>);

impl Watch for Steps {
    fn stepped(&mut self, _step: usize, latent: &Tensor) {
        self.0.push(latent.clone());
    }
}

/// A denoiser that remembers its first and its last call.
struct Recorder {
    denoiser: Box<dyn Denoiser>,
    first: Option<DenoiserCall>,
    last: Option<DenoiserCall>,
    /// Of the prompts prepared since the last call.
    time_ids: RefCell<Vec<[f32; 6]>>,
}

#[derive(Clone)]
struct DenoiserCall {
    input: Tensor,
    output: Tensor,
    time_ids: Vec<[f32; 6]>,
}

impl Recorder {
    fn new(denoiser: Box<dyn Denoiser>) -> Self {
        Self {
            denoiser,
            first: None,
            last: None,
            time_ids: RefCell::default(),
        }
    }

    fn check(&self, case: &mut Case) -> Result<()> {
        for (name, call) in [("first", &self.first), ("last", &self.last)] {
            let call = call.as_ref().context("the denoiser was never called")?;
            case.check_if_expected(&format!("debug.unet_in.{name}"), &call.input)?;
            case.check_if_expected(&format!("debug.unet_out.{name}"), &call.output)?;
            let time_ids: Vec<f32> = call.time_ids.concat();
            let time_ids = Tensor::from_vec(time_ids, (call.time_ids.len(), 6), &Device::Cpu)?;
            case.check_if_expected(&format!("debug.time_ids.{name}"), &time_ids)?;
        }
        Ok(())
    }
}

impl Denoiser for Recorder {
    fn prepare(&self, conditioning: &Conditioning) -> candle_core::Result<PreparedPrompt> {
        self.time_ids.borrow_mut().extend(conditioning.time_ids);
        self.denoiser.prepare(conditioning)
    }

    fn predict(&mut self, latents: &Tensor, rows: &[Row<'_>]) -> candle_core::Result<Tensor> {
        let output = self.denoiser.predict(latents, rows)?;
        let call = DenoiserCall {
            input: latents.clone(),
            output: output.clone(),
            time_ids: self.time_ids.take(),
        };
        self.first.get_or_insert_with(|| call.clone());
        self.last = Some(call);
        Ok(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_the_steps_of_a_single_one_there_are_no_latents() {
        let latents = |count: usize| Tensor::zeros((count, 4, 2, 2), DType::F32, &Device::Cpu).unwrap();
        assert_eq!(joined(&[], &latents(0)).unwrap().dims(), [0, 4, 2, 2]);
        assert_eq!(
            joined(&[latents(1), latents(1)], &latents(2)).unwrap().dims(),
            [2, 4, 2, 2]
        );
        assert!(joined(&[], &latents(1)).is_err());
    }
}
