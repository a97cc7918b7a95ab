//! Paints every canvas of the gallery, with the embedded model or another, and writes its picture for the gallery.
//!
//! ```text
//! cargo run --release -p wordbrush --example paint_samples -- --model assets/pocket/model assets/samples
//! ```
//!
//! `--full` writes PNGs of the whole canvas instead, to look at.
#![expect(clippy::print_stdout, reason = "the example tells what it does")]

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context as _, Result};
use clap::Parser;
use image::{DynamicImage, ImageFormat, RgbaImage, imageops::FilterType};
use wordbrush::samples::{SAMPLES, document};
use wordbrush_engine::{
    api::{ModelChoice, ModelSource, Seed},
    low_level::{Compute, LoadProgress, LoadWatch, models, pipeline::render, stream::Session},
};

/// Paints the gallery.
#[derive(Parser)]
struct Options {
    /// Where the pictures go.
    out: PathBuf,
    /// A diffusers folder; the embedded model if left out.
    #[arg(long)]
    model: Option<PathBuf>,
    /// Other bootstrap steps than the canvases', to compare.
    #[arg(long)]
    bootstrap: Option<u8>,
    /// Another seed than the canvases', to choose one.
    #[arg(long)]
    seed: Option<u64>,
    /// Whole canvases as PNG.
    #[arg(long)]
    full: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    std::fs::create_dir_all(&options.out)?;
    let ignore = |_: LoadProgress<'_>| {};
    let cancel = false.into();
    let watch = LoadWatch::new(&ignore, &cancel);
    let source = options.model.map_or(ModelSource::Pocket, ModelSource::Path);
    let model = models::load(&ModelChoice::plain(source), &Compute::cpu(), &watch)?;
    let mut parts = model.parts;
    for sample in SAMPLES {
        let mut document = document(sample);
        if let Some(steps) = options.bootstrap {
            document.settings.bootstrap_steps = steps;
        }
        if let Some(seed) = options.seed {
            document.seed = Seed(seed);
        }
        let scene = document.scene();
        let encoder = Arc::clone(&parts.text_encoder);
        let encode = |prompt: &str| {
            Ok(Arc::new(
                encoder.encode(prompt).expect("the samples' prompts are short"),
            ))
        };
        let cells = Session::new(&parts).cells_per_call();
        let picture = render(
            &mut parts,
            &scene,
            scene.size,
            cells,
            &encode,
            &mut |_, _| {},
            &|| false,
        )?;
        let (width, height) = (picture.size().width(), picture.size().height());
        let whole = RgbaImage::from_raw(width, height, picture.rgba().to_vec())
            .context("a picture has four bytes a pixel")?;
        let whole = DynamicImage::ImageRgba8(whole);
        let name = sample.name.to_lowercase().replace(' ', "-");
        let path = if options.full {
            let path = options.out.join(format!("{name}.png"));
            whole.save(&path)?;
            path
        } else {
            let path = options.out.join(format!("{name}.jpg"));
            let small = whole.resize_exact(width / 2, height / 2, FilterType::Triangle);
            small.to_rgb8().save_with_format(&path, ImageFormat::Jpeg)?;
            path
        };
        println!("{}", path.display());
    }
    Ok(())
}
