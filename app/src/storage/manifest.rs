//! The written form of a project without its pixels: plain records, and the rules that make a document of them.
//!
//! Pixels live in *blobs*, PNG files that the manifest refers to by name. Where blobs are kept (a zip, a text chunk)
//! is not known here.

use std::{collections::BTreeSet, path::PathBuf};

use anyhow::ensure;
use serde::{Deserialize, Serialize};
use wordbrush_engine::api::{
    Background, CanvasSize, Mask, ModelChoice, ModelSource, Picture, RegionId, Seed, StreamSettings,
};

use super::{
    blobs::OverBudget,
    project::{ModelRecord, Pin, Project},
};
use crate::document::{Document, RegionLayer, region_colour};

/// What a manifest calls itself.
pub(super) const FORMAT_NAME: &str = "wordbrush";
/// The version that this program writes; older ones are brought up by `migrate`.
pub const FORMAT_VERSION: u32 = 1;
/// More regions than anyone paints, fewer than a made-up file could ask for.
pub(super) const MAX_REGIONS: usize = 4096;
const MAX_PINS: usize = 1024;

/// Everything of a project but its pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) format: String,
    pub(super) version: u32,
    /// What wrote it; for people, never for decisions.
    #[serde(default)]
    pub(super) program: String,
    pub(super) canvas: CanvasRecord,
    #[serde(default)]
    pub(super) model: Option<ModelRecord>,
    #[serde(default)]
    pub(super) last_frame: Option<String>,
    #[serde(default)]
    pub(super) pins: Vec<PinRecord>,
}

/// A document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct CanvasRecord {
    pub(super) size: CanvasSize,
    #[serde(default)]
    pub(super) seed: Seed,
    pub(super) model: ModelChoice,
    #[serde(default)]
    pub(super) settings: StreamSettings,
    #[serde(default)]
    pub(super) background: BackgroundRecord,
    #[serde(default)]
    pub(super) regions: Vec<RegionRecord>,
    #[serde(default)]
    pub(super) next_region_id: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct BackgroundRecord {
    pub(super) prompt: String,
    pub(super) negative_prompt: String,
    pub(super) image: Option<String>,
    pub(super) keep_strength: f32,
}

impl Default for BackgroundRecord {
    fn default() -> Self {
        Self::of(&Background::default(), None)
    }
}

impl BackgroundRecord {
    pub(super) fn of(background: &Background, image: Option<String>) -> Self {
        Self {
            prompt: background.prompt.clone(),
            negative_prompt: background.negative_prompt.clone(),
            image,
            keep_strength: background.keep_strength,
        }
    }

    /// The background with its picture; values out of range are brought into it.
    pub(super) fn with_image(self, image: Option<Picture>) -> Background {
        Background {
            prompt: self.prompt,
            negative_prompt: self.negative_prompt,
            image,
            keep_strength: self.keep_strength.clamp(0.0, 1.0),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RegionRecord {
    pub(super) id: RegionId,
    #[serde(default)]
    pub(super) name: String,
    /// `#rrggbb`; a missing one is chosen by index.
    #[serde(default)]
    pub(super) colour: Option<String>,
    #[serde(default)]
    pub(super) prompt: String,
    #[serde(default)]
    pub(super) negative_prompt: String,
    /// Blob with the coverage; nothing is painted where it is missing.
    #[serde(default)]
    pub(super) mask: Option<String>,
    #[serde(default = "yes")]
    pub(super) visible: bool,
    #[serde(default)]
    pub(super) locked: bool,
    #[serde(default = "one")]
    pub(super) prompt_strength: f32,
    #[serde(default = "one")]
    pub(super) mask_strength: f32,
    #[serde(default)]
    pub(super) mask_std: f32,
    #[serde(default)]
    pub(super) seed: Option<Seed>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct PinRecord {
    #[serde(default)]
    pub(super) name: String,
    pub(super) canvas: CanvasRecord,
    #[serde(default)]
    pub(super) picture: Option<String>,
}

fn yes() -> bool {
    true
}

fn one() -> f32 {
    1.0
}

/// Takes pixels on the way into a file and answers with the blob's name.
pub(super) trait BlobSink {
    fn store_mask(&mut self, mask: &Mask) -> anyhow::Result<String>;
    fn store_picture(&mut self, picture: &Picture) -> anyhow::Result<String>;
    /// Fails if a [`BlobSource`] would not give back all that was stored so far.
    fn check_amount(&self) -> anyhow::Result<()>;
}

/// Gives pixels back on the way out of a file.
pub(super) trait BlobSource {
    fn mask(&mut self, name: &str, canvas: CanvasSize) -> anyhow::Result<Mask>;
    fn picture(&mut self, name: &str) -> anyhow::Result<Picture>;
}

impl Manifest {
    /// Fails for what [`Self::into_project`] would refuse.
    pub(super) fn from_project(project: &Project, blobs: &mut impl BlobSink) -> anyhow::Result<Self> {
        ensure!(
            project.pins.len() <= MAX_PINS,
            "there are {} pinned states, a file takes {MAX_PINS}: unpin some",
            project.pins.len()
        );
        let canvas = CanvasRecord::from_document(&project.document, blobs)?;
        let last_frame = project.last_frame.as_ref();
        let last_frame = last_frame
            .map(|picture| blobs.store_picture(picture))
            .transpose()?;
        // Without the pins: those that memory has no room for are left out on the way back.
        blobs.check_amount()?;
        let pins = project
            .pins
            .iter()
            .map(|pin| {
                Ok(PinRecord {
                    name: pin.name.clone(),
                    canvas: CanvasRecord::from_document(&pin.document, blobs)?,
                    picture: pin
                        .picture
                        .as_ref()
                        .map(|picture| blobs.store_picture(picture))
                        .transpose()?,
                })
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self {
            format: FORMAT_NAME.to_owned(),
            version: FORMAT_VERSION,
            program: program_name(),
            canvas,
            model: project.model_record.clone(),
            last_frame,
            pins,
        })
    }

    pub(super) fn into_project(self, blobs: &mut impl BlobSource) -> anyhow::Result<Project> {
        ensure!(
            self.pins.len() <= MAX_PINS,
            "it has {} pins, {MAX_PINS} are possible",
            self.pins.len()
        );
        // The canvas before the pins: it must open, however many states were pinned.
        let document = self.canvas.into_document(blobs)?;
        let last_frame = self.last_frame.map(|name| blobs.picture(&name)).transpose()?;
        let mut pins = Vec::with_capacity(self.pins.len());
        let mut pins_left_out = 0;
        for pin in self.pins {
            match pin.into_pin(blobs) {
                Ok(pin) => pins.push(pin),
                Err(error) if error.is::<OverBudget>() => pins_left_out += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(Project {
            document,
            model_record: self.model,
            last_frame,
            pins,
            pins_left_out,
        })
    }

    /// Takes out what a picture that is passed on should not tell: folders of this machine.
    pub(super) fn without_local_paths(mut self) -> Self {
        for canvas in std::iter::once(&mut self.canvas).chain(self.pins.iter_mut().map(|pin| &mut pin.canvas))
        {
            for path in paths_of(&mut canvas.model) {
                *path = path.file_name().map(Into::into).unwrap_or_default();
            }
        }
        self
    }
}

impl PinRecord {
    fn into_pin(self, blobs: &mut impl BlobSource) -> anyhow::Result<Pin> {
        Ok(Pin {
            name: self.name,
            document: self.canvas.into_document(blobs)?,
            picture: self.picture.map(|name| blobs.picture(&name)).transpose()?,
        })
    }
}

impl CanvasRecord {
    pub(super) fn from_document(document: &Document, blobs: &mut impl BlobSink) -> anyhow::Result<Self> {
        ensure!(
            document.regions.len() <= MAX_REGIONS,
            "there are {} regions, a file takes {MAX_REGIONS}: remove some",
            document.regions.len()
        );
        let mut regions = Vec::with_capacity(document.regions.len());
        for region in &document.regions {
            let mask = if region.mask.is_empty() {
                None
            } else {
                Some(blobs.store_mask(&region.mask)?)
            };
            regions.push(RegionRecord::from_region(region, mask));
        }
        let image = &document.background.image;
        let image = image
            .as_ref()
            .map(|picture| blobs.store_picture(picture))
            .transpose()?;
        Ok(Self {
            size: document.size,
            seed: document.seed,
            model: written_model(&document.model),
            settings: document.settings.clone(),
            background: BackgroundRecord::of(&document.background, image),
            regions,
            next_region_id: document.next_region_id,
        })
    }

    pub(super) fn into_document(self, blobs: &mut impl BlobSource) -> anyhow::Result<Document> {
        ensure!(
            self.regions.len() <= MAX_REGIONS,
            "it has {} regions, {MAX_REGIONS} are possible",
            self.regions.len()
        );
        let ids: BTreeSet<RegionId> = self.regions.iter().map(|region| region.id).collect();
        ensure!(
            ids.len() == self.regions.len(),
            "two regions have the same number"
        );
        let size = self.size;
        let regions = self
            .regions
            .into_iter()
            .enumerate()
            .map(|(index, region)| region.into_region(index, size, blobs))
            .collect::<anyhow::Result<_>>()?;
        let image = self.background.image.as_deref();
        let image = image.map(|name| blobs.picture(name)).transpose()?;
        Ok(Document {
            size,
            background: self.background.with_image(image),
            regions,
            seed: self.seed,
            settings: self.settings,
            model: self.model,
            next_region_id: ids
                .last()
                .map_or(1, |last| last.0.saturating_add(1))
                .max(self.next_region_id),
        })
    }
}

impl RegionRecord {
    pub(super) fn from_region(region: &RegionLayer, mask: Option<String>) -> Self {
        Self {
            id: region.id,
            name: region.name.clone(),
            colour: Some(hex_from_colour(region.colour)),
            prompt: region.prompt.clone(),
            negative_prompt: region.negative_prompt.clone(),
            mask,
            visible: region.visible,
            locked: region.locked,
            prompt_strength: region.prompt_strength,
            mask_strength: region.mask_strength,
            mask_std: region.mask_std_px,
            seed: region.seed,
        }
    }

    fn into_region(
        self,
        index: usize,
        size: CanvasSize,
        blobs: &mut impl BlobSource,
    ) -> anyhow::Result<RegionLayer> {
        let mask = match &self.mask {
            Some(name) => blobs.mask(name, size)?,
            None => Mask::new(size),
        };
        Ok(self.with_mask(index, mask))
    }

    /// The region with its pixels; values out of range are brought into it.
    pub(super) fn with_mask(self, index: usize, mask: Mask) -> RegionLayer {
        let colour = self.colour.as_deref().and_then(colour_from_hex);
        RegionLayer {
            id: self.id,
            name: self.name,
            colour: colour.unwrap_or_else(|| region_colour(index)),
            prompt: self.prompt,
            negative_prompt: self.negative_prompt,
            mask,
            visible: self.visible,
            locked: self.locked,
            prompt_strength: self.prompt_strength.clamp(0.0, 1.0),
            mask_strength: self.mask_strength.clamp(0.0, 1.0),
            mask_std_px: self.mask_std.clamp(0.0, 100.0),
            seed: self.seed,
        }
    }
}

/// A model as it is written. JSON has no paths that are no text: a canvas that does not find its model again is better
/// than one that cannot be saved.
pub(super) fn written_model(model: &ModelChoice) -> ModelChoice {
    let mut model = model.clone();
    for path in paths_of(&mut model) {
        if path.to_str().is_none() {
            *path = path.to_string_lossy().into_owned().into();
        }
    }
    model
}

fn paths_of(model: &mut ModelChoice) -> impl Iterator<Item = &mut PathBuf> {
    let source = match &mut model.source {
        ModelSource::Path(path) => Some(path),
        _ => None,
    };
    let loras = model.loras.iter_mut().map(|lora| &mut lora.path);
    source
        .into_iter()
        .chain(loras)
        .chain(model.tiny_autoencoder.as_mut())
}

/// Name and version, as written into files.
pub(crate) fn program_name() -> String {
    format!("Wordbrush {}", env!("CARGO_PKG_VERSION"))
}

/// `#rrggbb`.
pub(crate) fn hex_from_colour([red, green, blue]: [u8; 3]) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// From `#rrggbb`.
pub(crate) fn colour_from_hex(text: &str) -> Option<[u8; 3]> {
    let digits = text
        .strip_prefix('#')
        .filter(|digits| digits.len() == 6 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
    let value = u32::from_str_radix(digits, 16).ok()?;
    Some([(value >> 16) as u8, (value >> 8) as u8, value as u8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_survive_their_written_form() {
        assert_eq!(
            colour_from_hex(&hex_from_colour([1, 0xAB, 255])),
            Some([1, 0xAB, 255])
        );
        for bad in ["", "#12345", "123456", "#12345g", "#+12345", "#ééé"] {
            assert_eq!(colour_from_hex(bad), None, "{bad}");
        }
    }
}
