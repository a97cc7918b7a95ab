//! Measures the networks of Stable Diffusion 1.5 on a card, call by call, against the card's own matrix rate.
//!
//! ```text
//! cargo run --release -p wordbrush-engine --features cuda,cudnn --example bench_card > card.jsonl
//! ```
//!
//! Prints a line of JSON for the card, one for each kind of call as soon as it was measured, and one for what became of
//! recordings: what was measured before it is stopped is not lost.
//!
//! Made-up weights: the time does not depend on them. Every call is waited for, so that times are those of the work and
//! not of handing it over. `WORDBRUSH_KERNELS=plain` measures candle's own kernels and cuDNN instead of ours.
#![expect(clippy::print_stdout, reason = "the report is what this program is for")]

use std::{sync::atomic::AtomicBool, time::Instant};

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
use clap::{Parser, ValueEnum};
use wordbrush_engine::{
    CardState,
    api::{DeviceChoice, ModelChoice, ModelSource, Precision},
    card_state,
    low_level::{
        Compute, LoadProgress, LoadWatch, dtype_of, matrix_gflops, models,
        traits::{Conditioning, ModelParts, Row},
    },
};

/// Measures rows per second, achieved FLOP/s and decoding.
#[derive(Parser)]
struct Arguments {
    /// Where to compute.
    #[arg(long, value_enum, default_value_t = DeviceName::Cuda)]
    device: DeviceName,
    /// Number format.
    #[arg(long, value_enum, default_value_t = TypeName::F16)]
    dtype: TypeName,
    /// Latent sizes in cells, width x height.
    #[arg(long, num_args = 1.., default_values = ["64x64", "96x64", "240x96"])]
    sizes: Vec<String>,
    /// Rows of a call.
    #[arg(long, num_args = 1.., default_values_t = [1, 3, 4, 5, 8, 12, 15, 32, 40])]
    rows: Vec<usize>,
    /// Calls of which the best counts, after two; the fourth call of all is recorded, so that five measure recordings, too.
    #[arg(long, default_value_t = 10)]
    repeat: usize,
    /// Side of the matrices whose product is the card's own rate.
    #[arg(long, default_value_t = 8192)]
    side: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum DeviceName {
    Cpu,
    Cuda,
}

#[derive(Clone, Copy, ValueEnum)]
enum TypeName {
    F32,
    F16,
    Bf16,
}

fn main() -> Result<()> {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .init();
    let arguments = Arguments::parse();
    let device = match arguments.device {
        DeviceName::Cpu => DeviceChoice::Cpu,
        DeviceName::Cuda => DeviceChoice::Cuda(0),
    };
    let precision = match arguments.dtype {
        TypeName::F32 => Precision::F32,
        TypeName::F16 => Precision::F16,
        TypeName::Bf16 => Precision::Bf16,
    };
    let compute = Compute::choose(device, Some(precision))?;
    let ignore = |_: LoadProgress<'_>| {};
    let cancel = AtomicBool::new(false);
    let watch = LoadWatch::new(&ignore, &cancel);
    let choice = ModelChoice::plain(ModelSource::RandomSd15);
    let mut parts = models::load(&choice, &compute, &watch)?.parts;
    let dtype = dtype_of(precision);
    let peak = matrix_gflops(&compute.device, dtype, arguments.side, arguments.repeat)? / 1e3;
    let conditioning = Conditioning {
        context: Tensor::zeros((77, 768), parts.dtype, &parts.device)?,
        pooled: None,
        time_ids: None,
    };
    println!(
        "{}",
        serde_json::json!({
            "device": compute.name, "precision": format!("{precision:?}"), "matrix_rate_teraflops": peak,
            "kernels": card_state().map(|state| state.kernels),
        })
    );
    for size in &arguments.sizes {
        let sides: Vec<usize> = size.split('x').map(str::parse).collect::<Result<_, _>>()?;
        ensure!(
            sides.len() == 2 && sides.iter().all(|&side| side >= 8),
            "sizes are written 64x64"
        );
        let (width, height) = (sides[0], sides[1]);
        let latent =
            Tensor::randn(0_f32, 1.0, (1, 4, height, width), &parts.device)?.to_dtype(parts.dtype)?;
        let decode_ms = best_ms(&parts.device, arguments.repeat, || {
            parts.codec.decode(&latent)?;
            Ok(())
        })?;
        for &rows in &arguments.rows {
            let launched_before = launched();
            let denoise_ms = denoise_ms(&mut parts, &conditioning, (height, width), rows, arguments.repeat)?;
            let teraflops = rows as f64 * teraflop_of_row(height, width) / (denoise_ms / 1e3);
            println!(
                "{}",
                serde_json::json!({
                    "width": width * 8, "height": height * 8, "rows": rows,
                    "denoise_ms": denoise_ms, "decode_ms": decode_ms,
                    "rows_per_second": rows as f64 / (denoise_ms / 1e3),
                    "teraflops": teraflops, "share_of_matrix_rate": teraflops / peak,
                    "launched": launched() - launched_before,
                })
            );
        }
    }
    println!(
        "{}",
        serde_json::json!({ "recordings": card_state().map(|state| state.recordings) })
    );
    Ok(())
}

/// Launches of recorded calls so far.
fn launched() -> u64 {
    card_state().map_or(0, |CardState { recordings, .. }| recordings.launched)
}

/// Milliseconds of the best of some calls, after two that compile and allocate.
fn best_ms(device: &Device, repeat: usize, mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best = f64::INFINITY;
    for turn in 0..repeat + 2 {
        device.synchronize()?;
        let start = Instant::now();
        call()?;
        device.synchronize()?;
        if turn >= 2 {
            best = best.min(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(best)
}

fn denoise_ms(
    parts: &mut ModelParts,
    conditioning: &Conditioning,
    (height, width): (usize, usize),
    rows: usize,
    repeat: usize,
) -> Result<f64> {
    let latents =
        Tensor::randn(0_f32, 1.0, (rows, 4, height, width), &parts.device)?.to_dtype(parts.dtype)?;
    let prompt = parts.denoiser.prepare(conditioning)?;
    let rows: Vec<Row<'_>> = (0..rows)
        .map(|row| Row {
            timestep: 999.0 - 20.0 * row as f64,
            prompt: &prompt,
        })
        .collect();
    let device = parts.device.clone();
    best_ms(&device, repeat, || {
        parts.denoiser.predict(&latents, &rows)?;
        Ok(())
    })
}

/// Operations of Stable Diffusion 1.5's denoiser on one latent, in 10^12: two for a multiplication with its addition.
///
/// Counted over its convolutions, matrices and attentions; a prompt's keys and values are computed once and not here.
fn teraflop_of_row(height: usize, width: usize) -> f64 {
    const CONTEXT: f64 = 77.0;
    let (mut macs, mut h, mut w) = (0.0, height, width);
    let conv = |cells: f64, from: f64, to: f64, taps: f64| cells * from * to * taps;
    let resnet = |cells: f64, from: f64, to: f64| {
        let shortcut = if from == to {
            0.0
        } else {
            conv(cells, from, to, 1.0)
        };
        conv(cells, from, to, 9.0) + conv(cells, to, to, 9.0) + shortcut + 1280.0 * to
    };
    let transformer = |cells: f64, c: f64| {
        let itself = 4.0 * cells * c * c + 2.0 * cells * cells * c;
        let prompt = 2.0 * cells * c * c + 2.0 * cells * CONTEXT * c;
        let feed_forward = 12.0 * cells * c * c;
        2.0 * cells * c * c + itself + prompt + feed_forward
    };
    let levels = [320.0, 640.0, 1280.0, 1280.0];
    macs += conv((h * w) as f64, 4.0, 320.0, 9.0);
    let mut sides = Vec::new();
    let mut from = 320.0;
    let mut skips = vec![320.0];
    for (level, &to) in levels.iter().enumerate() {
        let cells = (h * w) as f64;
        sides.push((h, w));
        for _ in 0..2 {
            macs += resnet(cells, from, to);
            if level < 3 {
                macs += transformer(cells, to);
            }
            from = to;
            skips.push(to);
        }
        if level < 3 {
            (h, w) = (h.div_ceil(2), w.div_ceil(2));
            macs += conv((h * w) as f64, to, to, 9.0);
            skips.push(to);
        }
    }
    let cells = (h * w) as f64;
    macs += 2.0 * resnet(cells, from, from) + transformer(cells, from);
    for (level, &to) in levels.iter().enumerate().rev() {
        let (h, w) = sides[level];
        let cells = (h * w) as f64;
        for _ in 0..3 {
            macs += resnet(cells, from + skips.pop().unwrap_or(0.0), to);
            if level < 3 {
                macs += transformer(cells, to);
            }
            from = to;
        }
        if level > 0 {
            let (h, w) = sides[level - 1];
            macs += conv((h * w) as f64, to, to, 9.0);
        }
    }
    macs += conv((height * width) as f64, 320.0, 4.0, 9.0);
    2.0 * macs / 1e12
}
