//! Shows what denoising regions on a part of the canvas does: paints the same scene with each setting, with the time of
//! the passes and the difference from whole rows.
//!
//! `cargo run --release -p wordbrush-engine --example crop_cpu -- --side 512 --output crops.png`
#![allow(clippy::print_stdout, reason = "the result goes to standard output")]

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

use anyhow::Result;
use clap::Parser;
use wordbrush_engine::{
    api::{
        Background, CanvasSize, DeviceChoice, FrameKind, Mask, ModelChoice, ModelSource, PassOrder, Picture,
        Region, RegionCrop, RegionId, Revision, Scene, Seed, StreamSettings,
    },
    low_level::{Compute, LoadWatch, models, stream::Session, traits::Conditioning},
};

#[derive(Parser)]
struct Arguments {
    /// A model folder; the embedded model if there is none.
    #[arg(long)]
    model: Option<PathBuf>,
    /// Side of the canvas in pixels.
    #[arg(long, default_value_t = 512)]
    side: u32,
    /// A PNG: one row a setting (off, auto, on), one column a seed.
    #[arg(long)]
    output: Option<PathBuf>,
}

const SEEDS: [u64; 3] = [1, 2, 3];

/// Words with a disc each: centre and radius as parts of the side.
const REGIONS: [(&str, f64, f64, f64); 4] = [
    ("a blue sky", 0.5, 0.25, 0.8),
    ("grass", 0.5, 1.0, 0.55),
    ("a red house", 0.3, 0.6, 0.17),
    ("a large tree", 0.75, 0.5, 0.2),
];

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let source = arguments
        .model
        .clone()
        .map_or(ModelSource::Pocket, ModelSource::Path);
    let compute = Compute::choose(DeviceChoice::Cpu, None)?;
    let watch = AtomicBool::new(false);
    let choice = ModelChoice::plain(source);
    let model = models::load(&choice, &compute, &LoadWatch::new(&|_progress| {}, &watch))?;
    let mut parts = model.parts;
    let mut prompts = BTreeMap::new();
    for (words, ..) in REGIONS {
        prompts.insert(words.to_owned(), Arc::new(parts.text_encoder.encode(words)?));
    }
    let find = |prompt: &str| -> Option<Arc<Conditioning>> { prompts.get(prompt).cloned() };
    let mut rows: Vec<Vec<Picture>> = Vec::new();
    for crop in [RegionCrop::Off, RegionCrop::Auto, RegionCrop::On] {
        let mut row = Vec::new();
        let mut best = f64::MAX;
        for seed in SEEDS {
            let mut session = Session::new(&parts);
            session.apply(Revision(1), &scene(&arguments, seed, crop)?, &find, &parts)?;
            let start = Instant::now();
            let latent = loop {
                let outcome = session.step(&mut *parts.denoiser)?;
                if let (Some(latent), FrameKind::Complete) = (outcome.latent, outcome.kind) {
                    break latent;
                }
            };
            best = best.min(start.elapsed().as_secs_f64() * 1e3);
            row.push(session.picture(&parts.codec.decode(&latent)?)?);
        }
        let whole = rows.first().unwrap_or(&row);
        let likeness: Vec<String> = row
            .iter()
            .zip(whole)
            .map(|(a, b)| format!("{:.1}", psnr(a, b)))
            .collect();
        println!(
            "{crop:?}: {best:.1} ms a picture, PSNR {} dB",
            likeness.join(", ")
        );
        rows.push(row);
    }
    if let Some(output) = arguments.output {
        save(&rows, arguments.side as usize, output)?;
    }
    Ok(())
}

fn scene(arguments: &Arguments, seed: u64, crop: RegionCrop) -> Result<Scene> {
    let size = CanvasSize::new(arguments.side, arguments.side)?;
    let regions = (1..).zip(REGIONS).map(|(number, (words, x, y, radius))| {
        let side = f64::from(arguments.side);
        let coverage: Vec<u8> = (0..size.area())
            .map(|pixel| {
                let column = (pixel % size.width() as usize) as f64 / side - x;
                let row = (pixel / size.width() as usize) as f64 / side - y;
                if column.hypot(row) < radius { 255 } else { 0 }
            })
            .collect();
        let mask = Mask::from_coverage(size, &coverage)?;
        Ok(Region {
            mask_std_px: 8.0,
            ..Region::new(RegionId(number), words, mask)
        })
    });
    Ok(Scene {
        size,
        background: Background::default(),
        regions: regions.collect::<Result<_>>()?,
        seed: Seed(seed),
        settings: StreamSettings {
            pass_order: PassOrder::Sequential,
            region_crop: crop,
            ..StreamSettings::default()
        },
    })
}

fn psnr(a: &Picture, b: &Picture) -> f64 {
    let pairs = a.rgba().iter().zip(b.rgba());
    let squares: f64 = pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    // A quarter of the values is opacity, which is always the same.
    -10.0 * (squares / (0.75 * a.rgba().len() as f64) / 255.0_f64.powi(2)).log10()
}

fn save(rows: &[Vec<Picture>], side: usize, output: PathBuf) -> Result<()> {
    let columns = rows.first().map_or(0, Vec::len);
    let mut bytes = Vec::new();
    for row in rows {
        for line in 0..side {
            for picture in row {
                bytes.extend_from_slice(&picture.rgba()[line * side * 4..][..side * 4]);
            }
        }
    }
    let (width, height) = ((columns * side) as u32, (rows.len() * side) as u32);
    let mut encoder = png::Encoder::new(std::fs::File::create(output)?, width, height);
    encoder.set_color(png::ColorType::Rgba);
    encoder.write_header()?.write_image_data(&bytes)?;
    Ok(())
}
