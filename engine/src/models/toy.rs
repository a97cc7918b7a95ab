//! A tiny deterministic family without weights, so that everything around a model can be tested in milliseconds.
//!
//! A prompt is a colour (a colour word in it, or else one from its letters). The denoiser pulls every cell towards its
//! prompt's colour and leaves a grain of the noise it started from, so that a picture shows its prompts, its masks and
//! its seed. A latent cell's first three channels are the colour of 8 x 8 pixels.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::{
    LoadedModel,
    traits::{
        Conditioning, Denoiser, ImageCodec, ModelParts, ModelSpec, Prediction, PreparedPrompt, Row,
        SamplerKind, TextEncoder,
    },
};
use crate::{
    Error, Result,
    api::{ModelChoice, ModelSummary, Precision},
    device::Compute,
    schedule::{NoiseSchedule, Timestep},
    tokenizer::PromptTokenizer,
    weights::Adapters,
};

const CHANNELS: usize = 4;
const DOWNSCALE: usize = 8;
/// How much of the noise stays visible.
const GRAIN: f64 = 0.2;

/// Colours that a prompt can name, RGB in -1..1.
const COLOURS: [(&str, [f32; 3]); 9] = [
    ("black", [-1.0, -1.0, -1.0]),
    ("blue", [-0.8, -0.8, 0.8]),
    ("cyan", [-0.8, 0.8, 0.8]),
    ("gray", [0.0, 0.0, 0.0]),
    ("green", [-0.8, 0.8, -0.8]),
    ("magenta", [0.8, -0.8, 0.8]),
    ("red", [0.8, -0.8, -0.8]),
    ("white", [1.0, 1.0, 1.0]),
    ("yellow", [0.8, 0.8, -0.8]),
];

/// The facts of the toy family.
pub fn spec() -> ModelSpec {
    ModelSpec {
        latent_channels: CHANNELS,
        downscale: DOWNSCALE,
        prediction: Prediction::Epsilon,
        native_side: 64,
        largest_side: 256,
        sampler: SamplerKind::Lcm,
        has_added_conditioning: false,
        beta_start: 0.00085,
        beta_end: 0.012,
        train_steps: 1000,
    }
}

/// The toy family with what is known about it.
///
/// # Errors
/// If its tokenizer cannot be made.
pub fn load(choice: &ModelChoice, compute: &Compute) -> Result<LoadedModel> {
    const TOKENS: usize = 77;
    let tokenizer = PromptTokenizer::clip("", None, TOKENS).map_err(|error| Error::UnsupportedModel {
        reason: error.to_string(),
    })?;
    let tokenizer = Arc::new(tokenizer);
    let summary = ModelSummary {
        choice: choice.clone(),
        name: "Toy".to_owned(),
        family: "Toy".to_owned(),
        fingerprint: "0000000000".to_owned(),
        native_side: spec().native_side,
        largest_side: spec().largest_side,
        device: compute.name.clone(),
        precision: Precision::F32,
        parameters: 0,
        tokenizer: Arc::clone(&tokenizer),
    };
    let parts = ModelParts {
        spec: spec(),
        text_encoder: Arc::new(ToyTextEncoder {
            tokenizer,
            device: compute.device.clone(),
        }),
        denoiser: Box::new(ToyDenoiser::default()),
        codec: Box::new(ToyCodec),
        device: compute.device.clone(),
        dtype: DType::F32,
        adapters: Adapters::default(),
        rebuild: None,
    };
    Ok(LoadedModel { parts, summary })
}

/// The colour that a prompt stands for, RGB in -1..1.
pub fn colour_of_prompt(prompt: &str) -> [f32; 3] {
    let named = prompt
        .split(|c: char| !c.is_alphanumeric())
        .find_map(|word| COLOURS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name)));
    named.map_or_else(
        || {
            // FNV-1a.
            let hash = prompt.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
            [0, 16, 32].map(|shift| ((hash >> shift) & 0xff) as f32 / 127.5 - 1.0)
        },
        |(_, colour)| *colour,
    )
}

/// Prompts to colours: a context of one token, `[1, 3]`.
struct ToyTextEncoder {
    tokenizer: Arc<PromptTokenizer>,
    device: Device,
}

impl TextEncoder for ToyTextEncoder {
    fn encode(&self, prompt: &str) -> candle_core::Result<Conditioning> {
        Ok(Conditioning {
            context: Tensor::new(&[colour_of_prompt(prompt)], &self.device)?,
            pooled: None,
            time_ids: None,
        })
    }

    fn tokenizer(&self) -> Arc<PromptTokenizer> {
        Arc::clone(&self.tokenizer)
    }
}

/// Pulls cells towards colours.
pub struct ToyDenoiser {
    schedule: NoiseSchedule,
}

impl Default for ToyDenoiser {
    fn default() -> Self {
        Self {
            schedule: NoiseSchedule::of_model(&spec()),
        }
    }
}

/// What [`Denoiser::prepare`] makes of a context: the colour as a latent cell.
struct Cell([f32; CHANNELS]);

impl Denoiser for ToyDenoiser {
    fn prepare(&self, conditioning: &Conditioning) -> candle_core::Result<PreparedPrompt> {
        let colour = conditioning
            .context
            .get(0)?
            .to_dtype(DType::F32)?
            .to_vec1::<f32>()?;
        let [red, green, blue] = colour[..] else {
            candle_core::bail!("the toy's context holds a colour, not {} numbers", colour.len());
        };
        Ok(PreparedPrompt(Arc::new(Cell([red, green, blue, 0.0]))))
    }

    fn predict(&mut self, latents: &Tensor, rows: &[Row<'_>]) -> candle_core::Result<Tensor> {
        let count = rows.len();
        let mut cells = Vec::with_capacity(count * CHANNELS);
        let (mut signals, mut noises) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for row in rows {
            let Some(cell) = row.prompt.0.downcast_ref::<Cell>() else {
                candle_core::bail!("a prompt was prepared by another denoiser");
            };
            cells.extend_from_slice(&cell.0);
            let noising = self.schedule.noising(Timestep(row.timestep));
            signals.push(noising.signal as f32);
            noises.push(noising.noise as f32);
        }
        let device = latents.device();
        let per_row = |values| Tensor::from_vec(values, (count, 1, 1, 1), device);
        let cells = Tensor::from_vec(cells, (count, CHANNELS, 1, 1), device)?;
        let clean = (latents.tanh()? * GRAIN)?.broadcast_add(&cells)?;
        (latents - clean.broadcast_mul(&per_row(signals)?)?)?.broadcast_div(&per_row(noises)?)
    }
}

/// Colours are pixels, made smaller.
pub struct ToyCodec;

impl ImageCodec for ToyCodec {
    fn encode(&self, pictures: &Tensor, _noise: Option<&Tensor>) -> candle_core::Result<Tensor> {
        pictures.avg_pool2d(DOWNSCALE)?.pad_with_zeros(1, 0, CHANNELS - 3)
    }

    fn decode(&mut self, latents: &Tensor) -> candle_core::Result<Tensor> {
        let (_, _, height, width) = latents.dims4()?;
        latents
            .narrow(1, 0, 3)?
            .contiguous()?
            .upsample_nearest2d(height * DOWNSCALE, width * DOWNSCALE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_a_colour_and_stays_the_same() {
        assert_eq!(colour_of_prompt("a Red, red rose"), [0.8, -0.8, -0.8]);
        assert_eq!(colour_of_prompt("a tree"), colour_of_prompt("a tree"));
        assert_ne!(colour_of_prompt("a tree"), colour_of_prompt("a house"));
    }

    #[test]
    fn the_predicted_noise_leads_to_the_colour() {
        let mut denoiser = ToyDenoiser::default();
        let conditioning = Conditioning {
            context: Tensor::new(&[colour_of_prompt("red")], &Device::Cpu).unwrap(),
            pooled: None,
            time_ids: None,
        };
        let prompt = denoiser.prepare(&conditioning).unwrap();
        let latent = Tensor::zeros((1, 4, 2, 2), DType::F32, &Device::Cpu).unwrap();
        let row = Row {
            timestep: 499.0,
            prompt: &prompt,
        };
        let epsilon = denoiser.predict(&latent, &[row]).unwrap();
        let noising = denoiser.schedule.noising(Timestep(499.0));
        let clean = ((latent - (epsilon * noising.noise).unwrap()).unwrap() / noising.signal).unwrap();
        let cell = clean.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!((cell[0] - 0.8).abs() < 1e-5 && (cell[4] + 0.8).abs() < 1e-5);
    }
}
