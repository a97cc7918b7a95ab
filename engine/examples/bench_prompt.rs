//! Measures the way from a changed prompt to its keys and values, on a diffusers folder: the text encoder, the plain one on
//! candle and the processor's own, and what the denoiser prepares of the result. Best milliseconds, as they passed and as
//! the calling thread ran them.
//!
//! `cargo run --release -p wordbrush-engine --example bench_prompt -- --model assets/pocket/model`
#![allow(clippy::print_stdout, reason = "the result goes to standard output")]

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

use anyhow::{Context as _, Result};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use clap::Parser;
use wordbrush_engine::low_level::{
    Compute, LoadWatch,
    models::{
        cpu::{CpuPrecision, cpu_denoiser, cpu_text_encoder},
        folder::{ModelFolder, TextNetwork},
        traits::Conditioning,
    },
    ops::Workers,
};

#[derive(Parser)]
struct Arguments {
    /// A folder with `text_encoder` and `tokenizer`, and with `unet` if keys and values are to be measured.
    #[arg(long)]
    model: PathBuf,
    /// Threads of the processor's own kernels; candle's are set by `RAYON_NUM_THREADS`.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Prompts.
    #[arg(long, default_value_t = 10)]
    repeat: usize,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let (compute, never) = (Compute::cpu(), AtomicBool::new(false));
    let watch = LoadWatch::new(&|_progress| {}, &never);
    let folder = ModelFolder::on_disk(&arguments.model, &compute, &watch);
    let workers = Arc::new(Workers::new(arguments.threads));
    let read = |part: &str, file: &str| -> Result<(Vec<u8>, VarBuilder<'static>)> {
        let folder = arguments.model.join(part);
        let config = std::fs::read(folder.join("config.json")).context("no config.json")?;
        let weights = std::fs::read(folder.join(file)).context("no weights")?;
        Ok((
            config,
            VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)?,
        ))
    };

    let plain = folder.text_encoder(TextNetwork::First)?;
    let tokenizer = Arc::clone(plain.tokenizer());
    let encode = |words: &str| Ok(plain.encode_prompt(words)?.last.squeeze(0)?);
    let context = measure_encoder("candle", &encode, &arguments)?;
    drop(plain);
    for precision in [CpuPrecision::F32, CpuPrecision::Bf16] {
        let (config, weights) = read("text_encoder", "model.safetensors")?;
        let (tokenizer, workers) = (Arc::clone(&tokenizer), Arc::clone(&workers));
        // Files of transformers name the network; those of its later versions do not.
        let weights = if weights.contains_tensor("text_model.final_layer_norm.weight") {
            weights.pp("text_model")
        } else {
            weights
        };
        let own = cpu_text_encoder(&config, tokenizer, weights, precision, workers)?;
        let encode = |words: &str| Ok(own.encode(words)?.context);
        let encoded = measure_encoder(&format!("{precision:?}"), &encode, &arguments)?;
        let (error, size) = (mean_square(&(encoded - &context)?)?, mean_square(&context)?);
        println!("    relative error {:.1e}", (error / size).sqrt());
    }
    if arguments.model.join("unet").exists() {
        let (config, weights) = read("unet", "diffusion_pytorch_model.safetensors")?;
        let denoiser = cpu_denoiser(&config, weights, CpuPrecision::Bf16, workers)?;
        let conditioning = Conditioning {
            context,
            pooled: None,
            time_ids: None,
        };
        measure("keys and values", &arguments, |_| {
            denoiser.prepare(&conditioning)?;
            Ok(())
        })?;
    }
    Ok(())
}

fn mean_square(tensor: &Tensor) -> Result<f32> {
    Ok(tensor.sqr()?.mean_all()?.to_scalar()?)
}

/// Answers with the context of one more prompt.
fn measure_encoder(
    name: &str,
    encode: &dyn Fn(&str) -> Result<Tensor>,
    arguments: &Arguments,
) -> Result<Tensor> {
    measure(&format!("encoding, {name}"), arguments, |number| {
        encode(&format!("a boat on the sea, number {number}"))?;
        Ok(())
    })?;
    encode("a boat on the sea at night")
}

fn measure(name: &str, arguments: &Arguments, mut job: impl FnMut(usize) -> Result<()>) -> Result<()> {
    let (mut best, mut own) = (f64::MAX, f64::MAX);
    for number in 0..arguments.repeat {
        let (start, before) = (Instant::now(), own_millis());
        job(number)?;
        best = best.min(start.elapsed().as_secs_f64() * 1e3);
        own = own.min(own_millis() - before);
    }
    println!("{name}: {best:.2} ms, own {own:.2} ms");
    Ok(())
}

/// Milliseconds that the calling thread has run; zero where the system does not tell.
fn own_millis() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos: f64 = text
        .split(' ')
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0.0);
    nanos / 1e6
}
