//! Shows what bf16 products do to pictures: paints the same prompts in `f32` and in bf16 and compares them.
//!
//! `cargo run --release -p wordbrush-engine --example precision_cpu -- --output compare.png`
#![allow(clippy::print_stdout, reason = "the result goes to standard output")]

use std::{path::PathBuf, sync::atomic::AtomicBool};

use anyhow::Result;
use candle_core::{Device, Tensor};
use clap::Parser;
use wordbrush_engine::{
    api::{DeviceChoice, ModelChoice, ModelSource, Precision},
    low_level::{
        Compute, LoadWatch,
        models::{self, LoadedModel, traits::Row},
    },
};

#[derive(Parser)]
struct Arguments {
    /// A model folder; the embedded model if there is none.
    #[arg(long)]
    model: Option<PathBuf>,
    /// What to paint.
    #[arg(
        long,
        default_value = "sunset,night sky,an apple,grass,a red brick wall,a boat on the sea"
    )]
    prompts: String,
    /// Side of a picture in latent cells.
    #[arg(long, default_value_t = 32)]
    side: usize,
    /// A PNG with `f32` above and bf16 below.
    #[arg(long)]
    output: Option<PathBuf>,
}

/// Timesteps of the steps 0, 4, 12, 25 and 37 of fifty.
const TIMESTEPS: [usize; 5] = [999, 919, 759, 499, 259];

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let source = arguments.model.map_or(ModelSource::Pocket, ModelSource::Path);
    let choice = ModelChoice::plain(source);
    let load = |precision| -> Result<LoadedModel> {
        let compute = Compute::choose(DeviceChoice::Cpu, Some(precision))?;
        Ok(models::load(
            &choice,
            &compute,
            &LoadWatch::new(&|_progress| {}, &AtomicBool::new(false)),
        )?)
    };
    let (mut exact, mut fast) = (load(Precision::F32)?, load(Precision::Bf16)?);
    let prompts: Vec<_> = arguments.prompts.split(',').collect();
    let mut columns = Vec::new();
    for (index, prompt) in prompts.iter().enumerate() {
        let noise = noise(index as u64, arguments.side)?;
        let exact = paint(&mut exact, prompt, &noise)?;
        let fast = paint(&mut fast, prompt, &noise)?;
        let squares = (&exact - &fast)?.sqr()?.mean_all()?.to_scalar::<f32>()?;
        println!("{prompt}: {:.1} dB", -10.0 * squares.log10());
        columns.push(Tensor::cat(&[exact, fast], 1)?);
    }
    if let Some(output) = arguments.output {
        let picture = Tensor::cat(&columns, 2)?;
        let (_, height, width) = picture.dims3()?;
        let bytes = (picture * 255.0)?.round()?.to_dtype(candle_core::DType::U8)?;
        let bytes: Vec<u8> = bytes.permute((1, 2, 0))?.flatten_all()?.to_vec1()?;
        let mut encoder = png::Encoder::new(std::fs::File::create(output)?, width as u32, height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.write_header()?.write_image_data(&bytes)?;
    }
    Ok(())
}

/// Noise for every step, the same for both precisions.
fn noise(seed: u64, side: usize) -> Result<Vec<Tensor>> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    };
    let mut normal = || {
        let (radius, angle) = ((-2.0 * uniform().ln()).sqrt(), std::f64::consts::TAU * uniform());
        (radius * angle.cos()) as f32
    };
    let mut tensor = || {
        let numbers: Vec<f32> = (0..4 * side * side).map(|_| normal()).collect();
        Ok(Tensor::from_vec(numbers, (1, 4, side, side), &Device::Cpu)?)
    };
    (0..TIMESTEPS.len()).map(|_| tensor()).collect()
}

/// Five steps of a consistency model that predicts velocity; `[3, h, w]` in 0 to 1.
fn paint(model: &mut LoadedModel, prompt: &str, noise: &[Tensor]) -> Result<Tensor> {
    let parts = &mut model.parts;
    let conditioning = parts.text_encoder.encode(prompt)?;
    let prepared = parts.denoiser.prepare(&conditioning)?;
    let spec = &parts.spec;
    let alpha = |timestep: usize| -> f64 {
        let (first, last) = (spec.beta_start.sqrt(), spec.beta_end.sqrt());
        (0..=timestep)
            .map(|t| 1.0 - (first + (last - first) * t as f64 / (spec.train_steps - 1) as f64).powi(2))
            .product()
    };
    let mut clean = noise[0].zeros_like()?;
    for (step, &timestep) in TIMESTEPS.iter().enumerate() {
        let (signal, spread) = (alpha(timestep).sqrt(), (1.0 - alpha(timestep)).sqrt());
        let noisy = match step {
            0 => noise[0].clone(),
            _ => ((&clean * signal)? + (&noise[step] * spread)?)?,
        };
        let row = Row {
            timestep: timestep as f64,
            prompt: &prepared,
        };
        let velocity = parts.denoiser.predict(&noisy, &[row])?;
        clean = ((noisy * signal)? - (velocity * spread)?)?;
    }
    let picture = parts.codec.decode(&clean)?.squeeze(0)?;
    Ok((picture * 0.5)?.affine(1.0, 0.5)?.clamp(0.0, 1.0)?)
}
