//! Measures the processor's networks on a diffusers folder: best and median milliseconds of each stage, as JSON.
//!
//! `cargo run --release -p wordbrush-engine --example bench_cpu -- --model assets/pocket/model`
#![allow(clippy::print_stdout, reason = "the result goes to standard output")]

use std::{path::PathBuf, sync::Arc, time::Instant};

use anyhow::{Context as _, Result, anyhow};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use clap::Parser;
use wordbrush_engine::low_level::{
    models::{
        cpu::{CpuPrecision, cpu_denoiser, cpu_tiny_autoencoder},
        traits::{Conditioning, Row},
    },
    ops::{Isa, Workers},
};

#[derive(Parser)]
struct Arguments {
    /// A folder with `unet` and `vae`.
    #[arg(long)]
    model: PathBuf,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// `f32` or `bf16`.
    #[arg(long, default_value = "f32")]
    precision: String,
    /// Calls of each stage.
    #[arg(long, default_value_t = 15)]
    repeat: usize,
    /// Stages, as `rows x latent side`, `decode x latent side`, or `part x latent side`: decoding where an eighth of the
    /// side, in a corner, is another.
    #[arg(
        long,
        default_value = "1x32,3x32,15x32,1x64,decodex32,decodex64",
        value_delimiter = ','
    )]
    stages: Vec<String>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let precision = match arguments.precision.as_str() {
        "bf16" => CpuPrecision::Bf16,
        _ => CpuPrecision::F32,
    };
    let workers = Arc::new(Workers::new(arguments.threads));
    let device = Device::Cpu;
    let part = |name: &str| -> Result<(Vec<u8>, VarBuilder<'static>)> {
        let folder = arguments.model.join(name);
        let config = std::fs::read(folder.join("config.json")).context("no config.json")?;
        let weights =
            std::fs::read(folder.join("diffusion_pytorch_model.safetensors")).context("no weights")?;
        let weights = VarBuilder::from_buffered_safetensors(weights, DType::F32, &device)?;
        Ok((config, weights))
    };
    let (config, weights) = part("unet")?;
    let json: serde_json::Value = serde_json::from_slice(&config)?;
    let width = json["cross_attention_dim"]
        .as_u64()
        .context("no cross_attention_dim")? as usize;
    let mut denoiser = cpu_denoiser(&config, weights, precision, Arc::clone(&workers))?;
    let (config, weights) = part("vae")?;
    let mut codec = cpu_tiny_autoencoder(&config, weights, precision, workers)?;
    let context = Tensor::randn(0_f32, 1.0, (32, width), &device)?;
    let prompt = denoiser.prepare(&Conditioning {
        context,
        pooled: None,
        time_ids: None,
    })?;

    let mut results = serde_json::Map::new();
    for stage in &arguments.stages {
        let (what, side) = stage.split_once('x').context("a stage is written 15x32")?;
        let side: usize = side.parse()?;
        let rows = what.parse().unwrap_or(1);
        // Two in turn: a latent that was just decoded would not be computed again.
        let mut latents = [(); 2].map(|()| Tensor::randn(0_f32, 1.0, (rows, 4, side, side), &device));
        if let ("part", [Ok(one), Ok(other)]) = (what, &mut latents) {
            let changed = (side / 8).max(1);
            let corner = Tensor::randn(0_f32, 1.0, (1, 4, changed, changed), &device)?;
            *other = one.slice_assign(&[0..1, 0..4, 0..changed, 0..changed], &corner)?;
        }
        let row = Row {
            timestep: 499.0,
            prompt: &prompt,
        };
        let rows = vec![row; rows];
        let mut millis = Vec::new();
        let mut own = Vec::new();
        for turn in 0..arguments.repeat {
            let latents = latents[turn % 2].as_ref().map_err(|error| anyhow!("{error}"))?;
            let start = Instant::now();
            let before = own_millis();
            if what == "decode" || what == "part" {
                codec.decode(latents)?;
            } else {
                denoiser.predict(latents, &rows)?;
            }
            millis.push(start.elapsed().as_secs_f64() * 1e3);
            own.push(own_millis() - before);
        }
        own.sort_by(f64::total_cmp);
        millis.sort_by(f64::total_cmp);
        let (best, median) = (millis[0], millis[millis.len() / 2]);
        results.insert(
            stage.clone(),
            serde_json::json!({ "best": best, "median": median, "own": own[0] }),
        );
    }
    let report = serde_json::json!({
        "threads": arguments.threads,
        "precision": arguments.precision,
        "instructions": Isa::best().name(),
        "millis": results,
    });
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}

/// Milliseconds that the calling thread has run: with one thread, what a stage costs however busy the machine is.
/// Zero where the system does not tell.
fn own_millis() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos: f64 = text
        .split(' ')
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0.0);
    nanos / 1e6
}
