//! Recognises what a file is by looking into it, whatever its name: the one way in for drops, "open" and scripts.

use std::{
    fs::File,
    io::{ErrorKind, Read as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, bail, ensure};
use wordbrush_engine::api::{Mask, Picture};

use super::{
    bounded_json, export, masks, palette::Palette, project::Project, project_file, scene_file::SceneFile,
    segments,
};

/// More than any file of ours; keeps a mistaken drop of a film from filling memory.
pub(super) const MAX_FILE_BYTES: u64 = 2 << 30;
/// More than any palette or scene, both of which are words and numbers only.
const MAX_JSON_BYTES: usize = 32 << 20;

/// What was opened, and so what is the sensible thing to do with it.
#[derive(Clone, Debug, PartialEq)]
pub enum Opened {
    /// Replaces the canvas.
    Project {
        /// The canvas and what is kept with it.
        project: Box<Project>,
        /// What kind of file it came from.
        kind: ProjectKind,
    },
    /// Brushes to be added to the library or the canvas.
    Palette(Palette),
    /// Masks of a colour-coded picture, the largest first; offer them as new regions.
    ColourMasks {
        /// A colour and its mask, in the picture's own size.
        masks: Vec<([u8; 3], Mask)>,
        /// The picture itself, in case it was meant as one.
        picture: Picture,
    },
    /// A picture of anyone; offer it as the background.
    Picture {
        /// The picture.
        picture: Picture,
        /// Its `parameters` text, if another program wrote one.
        parameters: Option<String>,
    },
}

/// The kinds of files that hold a whole canvas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProjectKind {
    /// A `.wordbrush` project; saving goes back to it.
    Project,
    /// OpenRaster, ours or another program's.
    OpenRaster,
    /// An exported picture.
    Export,
    /// A scene written by hand.
    Scene {
        /// The model by the name that the scene gives it; look it up before painting.
        model_name: Option<String>,
        /// The files of its masks and its background.
        pictures: Vec<PathBuf>,
    },
}

impl Opened {
    /// A short name of the kind, for listings.
    pub fn kind_name(&self) -> &'static str {
        match self {
            Self::Project { kind, .. } => match kind {
                ProjectKind::Project => "project",
                ProjectKind::OpenRaster => "OpenRaster",
                ProjectKind::Export => "exported picture",
                ProjectKind::Scene { .. } => "scene",
            },
            Self::Palette(_) => "palette",
            Self::ColourMasks { .. } => "colour-coded mask",
            Self::Picture { .. } => "picture",
        }
    }
}

/// Where relative paths in a file start: at its folder, or at the current one if it comes through a pipe.
pub fn start_of_paths(path: &Path) -> &Path {
    let folder = path.parent().filter(|_| path.is_file());
    folder.unwrap_or_else(|| Path::new("."))
}

/// Opens a file; see [`start_of_paths`] for those in a scene.
///
/// # Errors
/// If it cannot be read, is damaged, or is nothing that can be opened.
pub fn open_path(path: &Path) -> anyhow::Result<Opened> {
    read_bounded(path)
        .and_then(|bytes| open_bytes(&bytes, start_of_paths(path)))
        .with_context(|| format!("cannot open {}", path.display()))
}

/// Opens what was dropped or pasted; paths in a scene start at `folder`.
///
/// # Errors
/// If it is damaged, or is nothing that can be opened.
pub fn open_bytes(bytes: &[u8], folder: &Path) -> anyhow::Result<Opened> {
    if bytes.starts_with(b"PK\x03\x04") {
        return open_archive(bytes);
    }
    if is_picture(bytes) {
        return open_picture(bytes);
    }
    let text = std::str::from_utf8(bytes)
        .ok()
        .map(|text| text.trim_start_matches('\u{feff}').trim_start());
    match text {
        Some(text) if text.starts_with('{') => open_json(text, folder),
        Some("") => bail!("it is empty"),
        _ => bail!("it is no project, .ora, picture, palette or scene"),
    }
}

/// A file, or a pipe, and the length that it claims to have.
pub(super) fn open_file(path: &Path) -> anyhow::Result<(File, u64)> {
    let file = File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => anyhow!("there is no such file"),
        ErrorKind::PermissionDenied => anyhow!("you may not read it"),
        _ => error.into(),
    })?;
    let metadata = file.metadata()?;
    ensure!(!metadata.is_dir(), "it is a folder");
    Ok((file, metadata.len()))
}

/// The bytes of a file, or of a pipe, if they are not too many.
pub(super) fn read_bounded(path: &Path) -> anyhow::Result<Vec<u8>> {
    let (file, length) = open_file(path)?;
    let check = |length: u64| {
        ensure!(
            length <= MAX_FILE_BYTES,
            "it is too large: {} GB can be read",
            MAX_FILE_BYTES >> 30
        );
        Ok(())
    };
    check(length)?;
    // What devices and pipes say of their length, and what files said a moment ago, need not be so.
    let mut bytes = Vec::with_capacity(usize::try_from(length)?);
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    check(bytes.len() as u64)?;
    Ok(bytes)
}

fn is_picture(bytes: &[u8]) -> bool {
    bytes.starts_with(segments::PNG_SIGNATURE)
        || bytes.starts_with(&[0xFF, 0xD8, 0xFF])
        || (bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP"))
}

fn open_archive(bytes: &[u8]) -> anyhow::Result<Opened> {
    let (project, kind) = if super::ora::is_ora(bytes) {
        (super::ora::from_bytes(bytes)?, ProjectKind::OpenRaster)
    } else {
        (project_file::from_bytes(bytes)?, ProjectKind::Project)
    };
    Ok(Opened::Project {
        project: Box::new(project),
        kind,
    })
}

fn open_picture(bytes: &[u8]) -> anyhow::Result<Opened> {
    let export = export::read_picture(bytes)?;
    if let Some(project) = export.project {
        return Ok(Opened::Project {
            project: Box::new(project),
            kind: ProjectKind::Export,
        });
    }
    // Lossy pictures have no exact colours.
    let is_lossless = bytes.starts_with(segments::PNG_SIGNATURE);
    if let Some(masks) = is_lossless
        .then(|| masks::from_colour_coded(&export.picture))
        .flatten()
    {
        return Ok(Opened::ColourMasks {
            masks,
            picture: export.picture,
        });
    }
    Ok(Opened::Picture {
        picture: export.picture,
        parameters: export.parameters,
    })
}

fn open_json(text: &str, folder: &Path) -> anyhow::Result<Opened> {
    ensure!(
        text.len() <= MAX_JSON_BYTES,
        "it is too large for a palette or a scene"
    );
    let value = bounded_json::from_slice(text.as_bytes()).context("its JSON is damaged")?;
    if value.get("prompt_names").is_some() || value.get("prompts").is_some() {
        return Ok(Opened::Palette(Palette::from_value(&value)?));
    }
    // From the text, so that an error tells line and column.
    let scene = SceneFile::parse(text)?;
    Ok(Opened::Project {
        project: Box::new(Project::new(scene.load(folder)?)),
        kind: ProjectKind::Scene {
            pictures: scene.pictures(folder).collect(),
            model_name: scene.model,
        },
    })
}
