//! `wordbrush info`: what a file holds.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{Failure, print, print_json, printable, values};
use crate::storage::{
    open::{self, Opened, ProjectKind},
    palette::Palette,
    parameters::parameters_text,
    project::{ModelRecord, Project},
    safetensors_header::SafetensorsHeader,
};

const EXAMPLES: &str = "\
Examples:
  wordbrush info castle.wordbrush
  wordbrush info castle.png --json | jq .seed
  wordbrush info dreamshaper.safetensors";

/// Print what a project, an .ora, an exported picture, a palette or a model file holds
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct InfoArguments {
    /// The file
    file: PathBuf,
    /// As JSON, for scripts
    #[arg(long)]
    json: bool,
}

/// What is printed, one variant per kind of file.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Report {
    Project(Box<ProjectReport>),
    Palette {
        title: String,
        model: String,
        brushes: Vec<BrushReport>,
    },
    ColourMasks {
        size: [u32; 2],
        colours: Vec<String>,
    },
    Picture {
        size: [u32; 2],
        parameters: Option<String>,
    },
    Model(SafetensorsHeader),
}

#[derive(Serialize)]
struct ProjectReport {
    file_type: &'static str,
    size: [u32; 2],
    seed: u64,
    steps: Vec<u16>,
    bootstrap_steps: u8,
    model: String,
    model_record: Option<ModelRecord>,
    background: BrushReport,
    has_background_image: bool,
    /// How much of the background stays, 1 to 0.
    keep_strength: f32,
    /// The lowest first.
    regions: Vec<RegionReport>,
    has_picture: bool,
    pins: usize,
    /// Those that memory has no room for.
    pins_left_out: usize,
    parameters: String,
}

#[derive(Serialize)]
struct RegionReport {
    id: u64,
    #[serde(flatten)]
    words: BrushReport,
    colour: String,
    visible: bool,
    locked: bool,
    prompt_strength: f32,
    mask_strength: f32,
    mask_std: f32,
    seed: Option<u64>,
    /// Left, top, right, bottom of what is painted, in pixels.
    bounds: Option<[u32; 4]>,
    /// Painted part of the canvas, 0 to 1.
    coverage: f64,
}

#[derive(Serialize)]
struct BrushReport {
    name: String,
    prompt: String,
    negative_prompt: String,
}

pub(super) fn run(arguments: &InfoArguments) -> Result<(), Failure> {
    let report = Report::from_path(&arguments.file)?;
    if arguments.json {
        print_json(&report)
    } else {
        print(|out| report.print(out))
    }
}

impl Report {
    fn from_path(path: &std::path::Path) -> anyhow::Result<Self> {
        let is_model = path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("safetensors"));
        if is_model {
            return Ok(Self::Model(SafetensorsHeader::read(path)?));
        }
        let opened = open::open_path(path)?;
        let file_type = opened.kind_name();
        Ok(match opened {
            Opened::Project { project, kind } => {
                let model_name = match kind {
                    ProjectKind::Scene { model_name, .. } => model_name,
                    _ => None,
                };
                Self::Project(Box::new(ProjectReport::new(file_type, &project, model_name)))
            }
            Opened::Palette(palette) => Self::palette(palette),
            Opened::ColourMasks { masks, picture } => Self::ColourMasks {
                size: [picture.size().width(), picture.size().height()],
                colours: masks.iter().map(|(colour, _)| values::hex(*colour)).collect(),
            },
            Opened::Picture { picture, parameters } => Self::Picture {
                size: [picture.size().width(), picture.size().height()],
                parameters,
            },
        })
    }

    fn palette(palette: Palette) -> Self {
        Self::Palette {
            title: palette.title,
            model: palette.model,
            brushes: palette
                .brushes
                .into_iter()
                .map(|brush| BrushReport {
                    name: brush.words.name,
                    prompt: brush.words.prompt,
                    negative_prompt: brush.words.negative_prompt,
                })
                .collect(),
        }
    }

    fn print(&self, out: &mut impl std::io::Write) -> std::io::Result<()> {
        match self {
            Self::Project(project) => project.print(out),
            Self::Palette {
                title,
                model,
                brushes,
            } => {
                writeln!(out, "palette {title:?} for {model:?}, {} brushes", brushes.len())?;
                for brush in brushes {
                    writeln!(out, "  {}: {}", one_line(&brush.name), one_line(&brush.prompt))?;
                }
                Ok(())
            }
            Self::ColourMasks {
                size: [width, height],
                colours,
            } => {
                writeln!(
                    out,
                    "colour-coded mask, {width} x {height}: {}",
                    colours.join(" ")
                )
            }
            Self::Picture {
                size: [width, height],
                parameters,
            } => {
                writeln!(out, "picture, {width} x {height}, without a canvas of ours")?;
                parameters
                    .iter()
                    .try_for_each(|text| writeln!(out, "{}", printable(text)))
            }
            Self::Model(header) => header.print(out),
        }
    }
}

impl ProjectReport {
    fn new(file_type: &'static str, project: &Project, model_name: Option<String>) -> Self {
        let document = &project.document;
        let area = document.size.area() as f64;
        let regions = document
            .regions
            .iter()
            .map(|region| RegionReport {
                id: region.id.0,
                words: BrushReport {
                    name: region.name.clone(),
                    prompt: region.prompt.clone(),
                    negative_prompt: region.negative_prompt.clone(),
                },
                colour: values::hex(region.colour),
                visible: region.visible,
                locked: region.locked,
                prompt_strength: region.prompt_strength,
                mask_strength: region.mask_strength,
                mask_std: region.mask_std_px,
                seed: region.seed.map(|seed| seed.0),
                bounds: region
                    .mask
                    .bounds()
                    .map(|rect| [rect.x0, rect.y0, rect.x1, rect.y1]),
                coverage: region.mask.to_coverage().into_iter().map(f64::from).sum::<f64>() / 255.0 / area,
            })
            .collect();
        Self {
            file_type,
            size: [document.size.width(), document.size.height()],
            seed: document.seed.0,
            steps: document.settings.steps.indexes().to_vec(),
            bootstrap_steps: document.settings.bootstrap_steps,
            model: model_name.unwrap_or_else(|| values::model_name(&document.model)),
            model_record: project.model_record.clone(),
            background: BrushReport {
                name: "Background".to_owned(),
                prompt: document.background.prompt.clone(),
                negative_prompt: document.background.negative_prompt.clone(),
            },
            has_background_image: document.background.image.is_some(),
            keep_strength: document.background.keep_strength,
            regions,
            has_picture: project.last_frame.is_some(),
            pins: project.pins.len(),
            pins_left_out: project.pins_left_out,
            parameters: parameters_text(project),
        }
    }

    fn print(&self, out: &mut impl std::io::Write) -> std::io::Result<()> {
        let [width, height] = self.size;
        writeln!(
            out,
            "{}, {width} x {height}, seed {}, {} steps, model {}",
            self.file_type,
            self.seed,
            self.steps.len(),
            one_line(&self.model)
        )?;
        if let Some(record) = &self.model_record {
            writeln!(
                out,
                "painted by {} ({}, {})",
                one_line(&record.name),
                one_line(&record.family),
                one_line(&record.fingerprint)
            )?;
        }
        if self.pins > 0 {
            writeln!(out, "{} pinned states", self.pins)?;
        }
        if self.pins_left_out > 0 {
            let count = self.pins_left_out;
            writeln!(out, "{count} more pinned states, for which memory has no room")?;
        }
        writeln!(out, "regions, the uppermost first:")?;
        for region in self.regions.iter().rev() {
            let hidden = if region.visible { "" } else { " (hidden)" };
            let name = match one_line(&region.words.name) {
                name if name.is_empty() => "-".to_owned(),
                name => name,
            };
            writeln!(
                out,
                "  {} {:>5.1} %  {name}: {}{hidden}",
                region.colour,
                region.coverage * 100.0,
                one_line(&region.words.prompt)
            )?;
        }
        let image = if self.has_background_image {
            " (with a picture)"
        } else {
            ""
        };
        let kept = match self.keep_strength {
            1.0 => String::new(),
            strength => format!(" (kept at {:.0} %)", strength * 100.0),
        };
        writeln!(
            out,
            "  background      {}{image}{kept}",
            one_line(&self.background.prompt)
        )
    }
}

/// A text of a file in one line of a listing.
fn one_line(text: &str) -> String {
    printable(text).replace('\n', " ")
}
