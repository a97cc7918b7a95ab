//! `wordbrush render`: a picture without a window.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use wordbrush_engine::api::{
    CanvasSize, Command, DeviceChoice, EngineConfig, JobId, NoticeLevel, PassOrder, Picture, RenderJob,
    Revision, RunState, Scene, Seed, Status, StepList,
};

use super::{
    Failure, check_are_not_inputs,
    headless::{Headless, phase_text},
    say, values,
};
use crate::{
    document::Document,
    storage::{
        atomic::check_writable,
        export::{self, PictureFormat},
        open::{self, Opened, ProjectKind},
        pictures::{scale_mask, scale_picture},
        project::Project,
    },
};

const EXAMPLES: &str = "\
Examples:
  wordbrush render castle.wordbrush -o castle.png
  wordbrush render scene.json -o out.webp --seed 7 --steps 4
  wordbrush render scene.json -o big.png --size 1024x768
  wordbrush render scene.json -o dream.png --frames 24     writes dream-0001.png to dream-0024.png

The same seed gives the same bytes on the CPU, whatever the number of threads.";

/// Render a project, an .ora, an exported picture or a scene .json without a window
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RenderArguments {
    /// A project, an .ora, one of our exported pictures, or a scene .json
    file: PathBuf,
    /// The picture to write (.png, .jpg or .webp)
    #[arg(short, long, value_name = "OUT.png")]
    output: PathBuf,
    /// Another model than the file names: pocket, a name from `wordbrush models list`, a folder or a .safetensors file
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Number of steps
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u8).range(1..=i64::from(StepList::GRID)))]
    steps: Option<u8>,
    /// Another seed than the file's
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = values::parse_seed)]
    seed: Option<Seed>,
    /// Another size; masks and background are scaled to it
    #[arg(long, value_name = "WxH", allow_hyphen_values = true, value_parser = values::parse_size)]
    size: Option<CanvasSize>,
    /// Where to compute: auto, cpu, cuda, cuda:N or metal
    #[arg(long, default_value = "auto", value_name = "DEVICE", value_parser = values::parse_device)]
    device: DeviceChoice,
    /// Write this many consecutive frames of the stream, numbered, instead of the finished picture
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    frames: Option<u32>,
    /// CPU threads; all if left out
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Quality of .jpg and .webp pictures, 1 to 100 (.webp is lossless at 100, .png always)
    #[arg(long, default_value_t = 92, value_name = "Q", value_parser = clap::value_parser!(u8).range(1..=100))]
    quality: u8,
}

pub(super) fn run(arguments: &RenderArguments) -> Result<(), Failure> {
    let Some(format) = PictureFormat::from_path(&arguments.output, arguments.quality) else {
        return Err(Failure::Usage(format!(
            "the output must end in .png, .jpg or .webp: {}",
            arguments.output.display()
        )));
    };
    let (mut project, inputs) = load(arguments)?;
    let outputs = arguments.outputs();
    check_are_not_inputs(&outputs, &inputs)?;
    if let Some(first) = outputs.first() {
        // Rather now than after minutes of painting.
        check_writable(first)?;
    }
    apply(arguments, &mut project.document);
    let scene = project.document.scene();
    if let Some(size) = arguments.size {
        scale_document(&mut project.document, size).context("cannot scale the canvas")?;
    }
    let mut engine = Headless::start(EngineConfig {
        model: Some(project.document.model.clone()),
        device: arguments.device,
        precision: None,
        threads: arguments.threads.map(usize::from),
    })?;
    match arguments.frames {
        None => {
            let picture = finished_picture(&mut engine, scene, project.document.size)?;
            write(&mut project, &engine, picture, format, &arguments.output)?;
        }
        Some(_) => write_frames(&mut engine, &mut project, format, &outputs)?,
    }
    report(&mut engine);
    Ok(())
}

impl RenderArguments {
    /// What is written: the picture, or the frames in their order.
    fn outputs(&self) -> Vec<PathBuf> {
        match self.frames {
            None => vec![self.output.clone()],
            Some(count) => (1..=count).map(|number| numbered(&self.output, number)).collect(),
        }
    }
}

/// The canvas, and the files that it was read from.
fn load(arguments: &RenderArguments) -> anyhow::Result<(Project, Vec<PathBuf>)> {
    let Opened::Project { mut project, kind } = open::open_path(&arguments.file)? else {
        bail!("it holds no canvas to render: {}", arguments.file.display());
    };
    let (model_name, mut inputs) = match kind {
        ProjectKind::Scene { model_name, pictures } => (model_name, pictures),
        _ => (None, Vec::new()),
    };
    inputs.push(arguments.file.clone());
    if let Some(name) = &arguments.model {
        project.document.model = values::model_from_name(name, Path::new("."))?;
        project.model_record = None;
    } else if let Some(name) = model_name {
        let folder = open::start_of_paths(&arguments.file);
        project.document.model = values::model_from_name(&name, folder)?;
    } else {
        values::find_again(&mut project.document.model)?;
    }
    Ok((*project, inputs))
}

fn apply(arguments: &RenderArguments, document: &mut Document) {
    if let Some(seed) = arguments.seed {
        document.seed = seed;
    }
    if let Some(steps) = arguments.steps {
        document.settings.steps = StepList::with_count(usize::from(steps));
    }
}

fn scale_document(document: &mut Document, size: CanvasSize) -> anyhow::Result<()> {
    let factor = (size.area() as f64 / document.size.area() as f64).sqrt() as f32;
    if let Some(image) = &document.background.image {
        document.background.image = Some(scale_picture(image, size)?);
    }
    for region in &mut document.regions {
        region.mask = scale_mask(&region.mask, size)?;
        region.mask_std_px = (region.mask_std_px * factor).min(100.0);
    }
    document.size = size;
    Ok(())
}

fn finished_picture(engine: &mut Headless, scene: Scene, size: CanvasSize) -> anyhow::Result<Picture> {
    // How many steps there are is not known yet; a bar of none would be drawn full.
    let bar = progress_bar(1);
    let job = RenderJob {
        id: JobId(1),
        scene,
        size,
    };
    let picture = engine.render(job, |status, steps| {
        bar.set_message(phase_text(&status.phase));
        bar.set_length(steps.total.max(1).into());
        bar.set_position(steps.done.into());
    });
    bar.finish_and_clear();
    picture
}

fn write_frames(
    engine: &mut Headless,
    project: &mut Project,
    format: PictureFormat,
    outputs: &[PathBuf],
) -> anyhow::Result<()> {
    let bar = progress_bar(outputs.len() as u64);
    engine.send(Command::Run(RunState::Paused));
    let mut scene = project.document.scene();
    // A choice by measurement could round differently from one run to the next.
    if scene.settings.pass_order == PassOrder::Auto {
        scene.settings.pass_order = PassOrder::StreamBatch;
    }
    engine.send(Command::SetScene(Revision(1), Box::new(scene)));
    for output in outputs {
        engine.send(Command::Step);
        let frame = engine.wait_for_frame(
            &mut |status: &Status| bar.set_message(phase_text(&status.phase)),
            |frame| frame.revision == Revision(1),
        )?;
        write(project, engine, frame.picture, format, output)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

/// `out.png` becomes `out-0001.png`.
fn numbered(output: &Path, number: u32) -> PathBuf {
    let mut name = output.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{number:04}."));
    name.push(output.extension().unwrap_or_default());
    output.with_file_name(name)
}

fn write(
    project: &mut Project,
    engine: &Headless,
    picture: Picture,
    format: PictureFormat,
    output: &Path,
) -> anyhow::Result<()> {
    if let Some(summary) = engine.model() {
        project.model_record = Some(summary.into());
    }
    project.last_frame = Some(picture);
    export::export_picture(project, format, output)
}

/// Tells what works differently than asked.
pub(super) fn report(engine: &mut Headless) {
    for notice in engine.take_notices() {
        if notice.level == NoticeLevel::Warning {
            say(&format!("wordbrush: {}", notice.text));
        }
    }
}

/// Drawn on a terminal only.
pub(super) fn progress_bar(length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:24} {wide_bar} {pos}/{len} {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style)
}
