//! What the painter makes: canvas, background, regions, settings. Plain data; no window, no threads, no GPU.
//!
//! Cloning is cheap (masks and pictures are shared, copy-on-write), so a clone is the snapshot that saving,
//! history and the engine take.
//!
//! A [`Document`] changes only through an [`Edit`], which [`Document::apply`] answers with the edit that takes it
//! back. [`History`] keeps those answers: one entry per stroke or slider drag, bounded by bytes.

mod colour;
mod edit;
mod history;
mod resize;

use std::{borrow::Cow, sync::Arc};

use wordbrush_engine::api::{
    Background, CanvasSize, Mask, ModelChoice, ModelSource, Region, RegionId, Scene, Seed, StreamSettings,
    TileData,
};

pub use colour::region_colour;
pub use edit::{BackgroundField, Edit, MaskTile, MaskTiles, RegionField, SizedMask};
pub use history::{EntryNumber, Gesture, History, Label};
pub use resize::{ResizeMode, ResizedCanvas};

/// A whole canvas with everything that makes its picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Canvas size in pixels; every mask has it.
    pub size: CanvasSize,
    /// What no region covers.
    pub background: Background,
    /// Regions in painting order: the last lies on top (panels show it first).
    pub regions: Vec<RegionLayer>,
    /// Noise of the whole canvas.
    pub seed: Seed,
    /// How the stream runs.
    pub settings: StreamSettings,
    /// Which model paints it.
    pub model: ModelChoice,
    /// The number the next new region gets; numbers are never used twice.
    pub next_region_id: u64,
}

/// A region as the painter sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionLayer {
    /// Tells regions apart for as long as the document lives.
    pub id: RegionId,
    /// Shown in the list; the prompt is shown where it is empty.
    pub name: String,
    /// Colour of its overlay, sRGB.
    pub colour: [u8; 3],
    /// What it shows.
    pub prompt: String,
    /// What it must not show.
    pub negative_prompt: String,
    /// Where it is painted.
    pub mask: Mask,
    /// Whether it takes part in the picture.
    pub visible: bool,
    /// Whether its mask is protected from tools.
    pub locked: bool,
    /// 0.5 to 1.
    pub prompt_strength: f32,
    /// 0.5 to 1.
    pub mask_strength: f32,
    /// Edge softness in pixels, 0 to 100.
    pub mask_std_px: f32,
    /// Own noise, or the canvas'.
    pub seed: Option<Seed>,
}

/// What a tool or a panel works on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Target {
    /// The background.
    #[default]
    Background,
    /// A region.
    Region(RegionId),
}

impl Document {
    /// An empty canvas on a white background.
    pub fn new(size: CanvasSize) -> Self {
        Self {
            size,
            background: Background::default(),
            regions: Vec::new(),
            seed: Seed::default(),
            settings: StreamSettings::default(),
            model: ModelChoice::plain(ModelSource::Pocket),
            next_region_id: 1,
        }
    }

    /// A region by its id.
    pub fn region(&self, id: RegionId) -> Option<&RegionLayer> {
        self.regions.iter().find(|region| region.id == id)
    }

    /// Where a region stands in painting order, 0 at the bottom.
    pub fn position(&self, id: RegionId) -> Option<usize> {
        self.regions.iter().position(|region| region.id == id)
    }

    /// The topmost visible region that is painted at a pixel, the one a painter means by pointing there.
    pub fn region_at(&self, x: u32, y: u32) -> Option<RegionId> {
        self.regions
            .iter()
            .rev()
            .find(|region| region.visible && region.mask.coverage(x, y) >= 128)
            .map(|region| region.id)
    }

    /// Bytes of mask tiles and of the background picture that this document has and `other` does not share: what it
    /// costs to keep this one beside that.
    pub fn bytes_beside(&self, other: Option<&Self>) -> usize {
        let new_tiles = |region: &RegionLayer| {
            let other = other.and_then(|other| other.region(region.id));
            let (columns, rows) = region.mask.tile_grid();
            let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (column, row)));
            let is_new = |&(column, row): &(u32, u32)| match region.mask.tile(column, row) {
                None => false,
                Some(tile) => other
                    .and_then(|other| other.mask.tile(column, row))
                    .is_none_or(|other| !Arc::ptr_eq(other, tile)),
            };
            places.filter(is_new).count()
        };
        let tiles: usize = self.regions.iter().map(new_tiles).sum();
        let other_image = other.and_then(|other| other.background.image.as_ref());
        let image = self.background.image.as_ref();
        let new_image = image.filter(|image| other_image.is_none_or(|other| !image.is_same(other)));
        tiles * size_of::<TileData>() + new_image.map_or(0, |image| image.rgba().len())
    }

    /// What the engine is to paint: the visible regions.
    pub fn scene(&self) -> Scene {
        Scene {
            size: self.size,
            background: self.background.clone(),
            regions: self
                .regions
                .iter()
                .filter(|region| region.visible)
                .map(RegionLayer::to_region)
                .collect(),
            seed: self.seed,
            settings: self.settings.clone(),
        }
    }
}

impl RegionLayer {
    /// What to call it: its name, its prompt where it has none, its number where it has neither.
    pub fn title(&self) -> Cow<'_, str> {
        let title = if self.name.is_empty() {
            self.prompt.trim()
        } else {
            self.name.trim()
        };
        if title.is_empty() {
            format!("Untitled {}", self.id.0).into()
        } else {
            title.into()
        }
    }

    /// A new, unpainted region with default strengths.
    pub fn new(id: RegionId, size: CanvasSize, colour: [u8; 3], prompt: &str) -> Self {
        Self {
            id,
            name: String::new(),
            colour,
            prompt: prompt.to_owned(),
            negative_prompt: String::new(),
            mask: Mask::new(size),
            visible: true,
            locked: false,
            prompt_strength: 1.0,
            mask_strength: 1.0,
            mask_std_px: 8.0,
            seed: None,
        }
    }

    fn to_region(&self) -> Region {
        Region {
            id: self.id,
            prompt: self.prompt.clone(),
            negative_prompt: self.negative_prompt.clone(),
            prompt_strength: self.prompt_strength,
            mask: self.mask.clone(),
            mask_strength: self.mask_strength,
            mask_std_px: self.mask_std_px,
            seed: self.seed,
        }
    }
}
