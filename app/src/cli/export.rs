//! `wordbrush export`: one kind of file into another, without painting.

use std::{ffi::OsStr, path::PathBuf};

use anyhow::{anyhow, bail};
use clap::{Args, ValueEnum};

use super::{Failure, check_are_not_inputs, say, values};
use crate::storage::{
    atomic::{PreviousVersion, write_bytes_atomically},
    export::{PictureFormat, export_picture},
    masks,
    open::{self, Opened, ProjectKind},
    ora,
    palette::{Demo, Palette},
    palette_library, pictures,
    project::Project,
    project_file,
};

const EXAMPLES: &str = "\
Examples:
  wordbrush export castle.wordbrush -o castle.ora      layers for Krita, GIMP, MyPaint
  wordbrush export castle.png -o castle.wordbrush      restore the project from an exported picture
  wordbrush export castle.wordbrush -o castle.jpg --quality 85
  wordbrush export castle.wordbrush --masks -o masks/  one grey PNG per region, and colours.png
  wordbrush export castle.wordbrush --masks -o all.png colour-coded masks in one picture
  wordbrush export castle.wordbrush -o brushes.json    the palette, for the demos: --demo sdxl

A picture is the one last seen; `wordbrush render` paints it anew.";

/// Convert to a project, an .ora, a picture, masks or a palette
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExportArguments {
    /// A project, an .ora, one of our exported pictures, a scene .json, or a palette
    file: PathBuf,
    /// The file to write (.wordbrush, .ora, .png, .jpg, .webp, .json), or a folder for --masks
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Write masks instead of the picture
    #[arg(long)]
    masks: bool,
    /// Quality of .jpg and .webp pictures, 1 to 100 (.webp is lossless at 100, .png always)
    #[arg(long, default_value_t = 92, value_name = "Q", value_parser = clap::value_parser!(u8).range(1..=100))]
    quality: u8,
    /// The demo that a palette is written for
    #[arg(long, value_enum, default_value = "sd15", value_name = "DEMO")]
    demo: DemoName,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DemoName {
    Sd15,
    Sdxl,
    Sd3,
    Streaming,
}

impl From<DemoName> for Demo {
    fn from(name: DemoName) -> Self {
        match name {
            DemoName::Sd15 => Self::Sd15,
            DemoName::Sdxl => Self::Sdxl,
            DemoName::Sd3 => Self::Sd3,
            DemoName::Streaming => Self::Streaming,
        }
    }
}

/// What the output's name asks for.
enum Target {
    Project,
    OpenRaster,
    Picture(PictureFormat),
    Palette,
    MaskFolder,
    CodedMask,
}

pub(super) fn run(arguments: &ExportArguments) -> Result<(), Failure> {
    let output = &arguments.output;
    let Some(target) = Target::new(arguments) else {
        let possible = if arguments.masks {
            "be a folder or end in .png"
        } else {
            "end in .wordbrush, .ora, .png, .jpg, .webp or .json"
        };
        return Err(Failure::Usage(format!(
            "the output must {possible}: {}",
            output.display()
        )));
    };
    let mut inputs = vec![arguments.file.clone()];
    let project = match open::open_path(&arguments.file)? {
        Opened::Project { mut project, kind } => {
            if let ProjectKind::Scene { model_name, pictures } = kind {
                inputs.extend(pictures);
                name_model(&mut project, model_name.as_deref(), arguments);
            }
            project
        }
        Opened::Palette(palette) if matches!(target, Target::Palette) => {
            check_are_not_inputs(std::slice::from_ref(output), &inputs)?;
            return Ok(write_palette(&palette, arguments)?);
        }
        other => {
            return Err(Failure::Failed(anyhow!(
                "it is a {}, which holds no canvas to export: {}",
                other.kind_name(),
                arguments.file.display()
            )));
        }
    };
    let outputs = match target {
        Target::MaskFolder => masks::exported_files(&project.document, output),
        _ => vec![output.clone()],
    };
    check_are_not_inputs(&outputs, &inputs)?;
    write(&project, &target, arguments)?;
    let holds_pins = matches!(target, Target::Project | Target::OpenRaster);
    if holds_pins && project.pins_left_out > 0 {
        say(&format!(
            "wordbrush: {} pinned states are not in the output, as memory has no room for them: keep {}",
            project.pins_left_out,
            arguments.file.display()
        ));
    }
    Ok(())
}

/// Writes a scene's model into the project that was made of it.
fn name_model(project: &mut Project, name: Option<&str>, arguments: &ExportArguments) {
    let Some(name) = name else { return };
    match values::model_from_name(name, open::start_of_paths(&arguments.file)) {
        Ok(model) => project.document.model = model,
        // A canvas can be converted without the model that is to paint it.
        Err(error) => say(&format!(
            "wordbrush: the output names the pocket model instead: {error:#}"
        )),
    }
}

impl Target {
    fn new(arguments: &ExportArguments) -> Option<Self> {
        let output = &arguments.output;
        let extension = output
            .extension()
            .and_then(OsStr::to_str)
            .map(str::to_ascii_lowercase);
        let is_named_as_folder = output.as_os_str().as_encoded_bytes().ends_with(b"/");
        match (arguments.masks, extension.as_deref()) {
            (true, _) if is_named_as_folder => Some(Self::MaskFolder),
            (true, Some("png")) => Some(Self::CodedMask),
            (true, None) => Some(Self::MaskFolder),
            (true, Some(_)) => output.is_dir().then_some(Self::MaskFolder),
            (false, Some("wordbrush")) => Some(Self::Project),
            (false, Some("ora")) => Some(Self::OpenRaster),
            (false, Some("json")) => Some(Self::Palette),
            (false, _) => PictureFormat::from_path(output, arguments.quality).map(Self::Picture),
        }
    }
}

fn write(project: &Project, target: &Target, arguments: &ExportArguments) -> anyhow::Result<()> {
    let output = &arguments.output;
    match target {
        Target::Project => project_file::save(project, output),
        Target::OpenRaster => ora::save(project, output),
        Target::Palette => write_palette(&Palette::from_document(&project.document), arguments),
        Target::MaskFolder => masks::export_masks(&project.document, output).map(drop),
        Target::CodedMask => {
            let png = pictures::png_from_picture(&masks::colour_coded(&project.document)?)?;
            write_bytes_atomically(output, PreviousVersion::Discard, &png)
        }
        Target::Picture(_) if project.last_frame.is_none() => bail!(
            "it has no finished picture yet: paint one with `wordbrush render {} -o {}`",
            arguments.file.display(),
            output.display()
        ),
        Target::Picture(format) => export_picture(project, *format, output),
    }
}

fn write_palette(palette: &Palette, arguments: &ExportArguments) -> anyhow::Result<()> {
    palette_library::save(palette, arguments.demo.into(), &arguments.output)
}
