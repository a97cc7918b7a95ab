//! The engine without a window: paints a sky, grass and a tree, streams, and writes PNGs.
//!
//! ```text
//! cargo run --release -p wordbrush-engine --example headless -- OUT_DIR
//! cargo run --release -p wordbrush-engine --example headless -- OUT_DIR --figures
//! ```
//!
//! `--figures` writes the pictures of docs/ALGORITHM.md instead.
#![expect(clippy::print_stdout, reason = "the example tells what it does")]

use std::{
    cell::RefCell,
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use anyhow::{Context as _, Result};
use clap::Parser;
use wordbrush_engine::{
    api::{
        Background, BackgroundNoise, CanvasSize, EditPolicy, FrameKind, Mask, ModelChoice, ModelSource,
        PassOrder, Picture, Region, RegionId, Revision, Scene, Seed, StreamSettings,
    },
    low_level::{
        Compute, LoadProgress, LoadWatch, models,
        stream::Session,
        traits::{Conditioning, ModelParts},
    },
};

/// Streams a painted scene without a window.
#[derive(Parser)]
struct Options {
    /// Where PNGs go.
    out: PathBuf,
    /// A model folder or checkpoint instead of the embedded model.
    #[arg(long)]
    model: Option<PathBuf>,
    /// Side of the canvas in pixels.
    #[arg(long, default_value_t = 256)]
    side: u32,
    /// Write the pictures of docs/ALGORITHM.md.
    #[arg(long)]
    figures: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    std::fs::create_dir_all(&options.out)?;
    let source = options.model.map_or(ModelSource::Pocket, ModelSource::Path);
    let ignore = |_: LoadProgress<'_>| {};
    let cancel = false.into();
    let watch = LoadWatch::new(&ignore, &cancel);
    let model = models::load(&ModelChoice::plain(source), &Compute::cpu(), &watch)?;
    println!("{} on {}", model.summary.name, model.summary.device);
    let mut stream = Stream::new(model.parts);
    let size = CanvasSize::new(options.side, options.side)?;
    if options.figures {
        background_noise_figure(&mut stream, size, &options.out)?;
        edits_figure(&mut stream, size, &options.out)
    } else {
        frames(&mut stream, size, &options.out)
    }
}

/// A model with a session and the prompts it has encoded.
struct Stream {
    parts: ModelParts,
    session: Session,
    prompts: RefCell<BTreeMap<String, Arc<Conditioning>>>,
    revision: u64,
}

impl Stream {
    fn new(parts: ModelParts) -> Self {
        Self {
            session: Session::new(&parts),
            parts,
            prompts: RefCell::default(),
            revision: 0,
        }
    }

    /// Forgets everything that was streamed.
    fn restart(&mut self) {
        self.session = Session::new(&self.parts);
    }

    fn apply(&mut self, scene: &Scene) -> Result<()> {
        self.revision += 1;
        let lookup = |prompt: &str| {
            if let Some(known) = self.prompts.borrow().get(prompt) {
                return Some(Arc::clone(known));
            }
            let encoded = Arc::new(self.parts.text_encoder.encode(prompt).ok()?);
            self.prompts
                .borrow_mut()
                .insert(prompt.to_owned(), Arc::clone(&encoded));
            Some(encoded)
        };
        self.session
            .apply(Revision(self.revision), scene, &lookup, &self.parts)?;
        Ok(())
    }

    /// One step, and its picture if it has one.
    fn step(&mut self) -> Result<Option<(Picture, FrameKind)>> {
        let outcome = self.session.step(self.parts.denoiser.as_mut())?;
        let Some(latent) = outcome.latent else {
            return Ok(None);
        };
        let decoded = self.parts.codec.decode(&latent.to_dtype(self.parts.dtype)?)?;
        Ok(Some((self.session.picture(&decoded)?, outcome.kind)))
    }

    /// Steps until nothing changes any more.
    fn settle(&mut self) -> Result<Picture> {
        loop {
            let picture = self.step()?;
            if self.session.is_settled() {
                return Ok(picture.context("a settled stream has a picture")?.0);
            }
        }
    }
}

/// Streams the landscape and writes every frame.
fn frames(stream: &mut Stream, size: CanvasSize, out: &Path) -> Result<()> {
    stream.apply(&landscape(size)?)?;
    for step in 0.. {
        let start = Instant::now();
        let picture = stream.step()?;
        let millis = start.elapsed().as_millis();
        if let Some((picture, kind)) = picture {
            let path = out.join(format!("frame{step}.png"));
            write_png(&path, &picture)?;
            println!("step {step}: {kind:?} after {millis} ms, {}", path.display());
        }
        if stream.session.is_settled() {
            break;
        }
    }
    Ok(())
}

/// The landscape with the background noised as it should be, and as the reference does.
fn background_noise_figure(stream: &mut Stream, size: CanvasSize, out: &Path) -> Result<()> {
    let mut pictures = Vec::new();
    for noise in [BackgroundNoise::Corrected, BackgroundNoise::Reference] {
        let mut scene = landscape(size)?;
        scene.settings.background_noise = noise;
        scene.background.image = Some(dusk(size)?);
        scene.regions.retain(|region| region.id != SKY);
        stream.restart();
        stream.apply(&scene)?;
        pictures.push(stream.settle()?);
    }
    write_png(&out.join("background-noise.png"), &side_by_side(&pictures)?)
}

/// The frames after an edit: flowing through above, flushed below.
fn edits_figure(stream: &mut Stream, size: CanvasSize, out: &Path) -> Result<()> {
    for (edits, name) in [
        (EditPolicy::FlowThrough, "edit-flow-through.png"),
        (EditPolicy::Flush, "edit-flush.png"),
    ] {
        let mut scene = landscape(size)?;
        scene.settings.pass_order = PassOrder::StreamBatch;
        scene.settings.edits = edits;
        stream.restart();
        stream.apply(&scene)?;
        let mut pictures = vec![stream.settle()?];
        for region in &mut scene.regions {
            if region.id == GRASS {
                "sea".clone_into(&mut region.prompt);
            }
        }
        stream.apply(&scene)?;
        while !stream.session.is_settled() {
            pictures.extend(stream.step()?.map(|(picture, _)| picture));
        }
        write_png(&out.join(name), &side_by_side(&pictures)?)?;
    }
    Ok(())
}

const SKY: RegionId = RegionId(1);
const GRASS: RegionId = RegionId(2);
const TREE: RegionId = RegionId(3);

/// Sky above, grass below, a tree in the middle.
fn landscape(size: CanvasSize) -> Result<Scene> {
    let (width, height) = (f64::from(size.width()), f64::from(size.height()));
    let painted = |inside: &dyn Fn(f64, f64) -> bool| {
        let coverage: Vec<u8> = (0..size.area())
            .map(|i| {
                let (x, y) = (i as u32 % size.width(), i as u32 / size.width());
                if inside(f64::from(x) / width, f64::from(y) / height) {
                    255
                } else {
                    0
                }
            })
            .collect();
        Mask::from_coverage(size, &coverage)
    };
    let region = |id, prompt: &str, mask| Region {
        id,
        prompt: prompt.to_owned(),
        negative_prompt: String::new(),
        prompt_strength: 1.0,
        mask,
        mask_strength: 1.0,
        mask_std_px: 8.0,
        seed: None,
    };
    Ok(Scene {
        size,
        background: Background::default(),
        regions: vec![
            region(SKY, "sky", painted(&|_, y| y < 0.6)?),
            region(GRASS, "grass", painted(&|_, y| y >= 0.6)?),
            region(TREE, "tree", painted(&|x, y| (x - 0.5).hypot(y - 0.48) < 0.28)?),
        ],
        seed: Seed(7),
        settings: StreamSettings::default(),
    })
}

/// A soft gradient from blue to orange.
fn dusk(size: CanvasSize) -> Result<Picture> {
    let rgba: Vec<u8> = (0..size.height())
        .flat_map(|y| {
            let down = f64::from(y) / f64::from(size.height());
            let mix = |top: f64, bottom: f64| (top + (bottom - top) * down) as u8;
            [mix(60.0, 250.0), mix(80.0, 170.0), mix(170.0, 90.0), 255].repeat(size.width() as usize)
        })
        .collect();
    Ok(Picture::new(size, rgba)?)
}

/// Pictures of one size in a row.
fn side_by_side(pictures: &[Picture]) -> Result<Picture> {
    let size = pictures.first().context("no picture")?.size();
    let stride = size.width() as usize * 4;
    let rgba: Vec<u8> = (0..size.height() as usize)
        .flat_map(|y| {
            pictures
                .iter()
                .flat_map(move |picture| picture.rgba()[y * stride..][..stride].iter().copied())
        })
        .collect();
    let wide = CanvasSize::new(size.width() * pictures.len() as u32, size.height())?;
    Ok(Picture::new(wide, rgba)?)
}

fn write_png(path: &Path, picture: &Picture) -> Result<()> {
    let file = std::fs::File::create(path).with_context(|| format!("writing {}", path.display()))?;
    let mut encoder = png::Encoder::new(
        std::io::BufWriter::new(file),
        picture.size().width(),
        picture.size().height(),
    );
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header()?.write_image_data(picture.rgba())?;
    Ok(())
}
