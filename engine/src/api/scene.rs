//! The canvas as the engine sees it: a background, regions above it, and the stream's settings.

use serde::{Deserialize, Serialize};

use super::{geometry::CanvasSize, mask::Mask, picture::Picture, settings::StreamSettings};

/// Names a region for as long as it lives; the app chooses the numbers and never uses one twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RegionId(pub u64);

/// Where noise begins. The same seed gives the same picture on every machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seed(pub u64);

/// Everything that decides what the picture shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// Canvas size in pixels; every mask has this size.
    pub size: CanvasSize,
    /// What no region covers.
    pub background: Background,
    /// Regions in painting order: the last lies on top.
    pub regions: Vec<Region>,
    /// Noise of the whole canvas.
    pub seed: Seed,
    /// How the stream runs.
    pub settings: StreamSettings,
}

/// What shows where no region is painted.
#[derive(Clone, Debug, PartialEq)]
pub struct Background {
    /// What the background shows.
    pub prompt: String,
    /// What it must not show.
    pub negative_prompt: String,
    /// The picture behind everything, fitted to the canvas; white if there is none.
    pub image: Option<Picture>,
    /// How much of the picture stays, 1 (all of it) to 0 (none: the prompt alone paints the background).
    pub keep_strength: f32,
}

impl Default for Background {
    /// White, and it stays white.
    fn default() -> Self {
        Self {
            prompt: String::new(),
            negative_prompt: String::new(),
            image: None,
            keep_strength: 1.0,
        }
    }
}

/// A part of the canvas that is bound to a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// Tells regions apart from one scene to the next.
    pub id: RegionId,
    /// What it shows.
    pub prompt: String,
    /// What it must not show.
    pub negative_prompt: String,
    /// How much of its own prompt it takes, 0 (the background's) to 1 (its own).
    pub prompt_strength: f32,
    /// Where it is painted.
    pub mask: Mask,
    /// Weight of the mask, 0 to 1.
    pub mask_strength: f32,
    /// Edge softness: standard deviation of the mask's blur in pixels.
    pub mask_std_px: f32,
    /// Its own noise inside the mask; the canvas' noise if there is none.
    pub seed: Option<Seed>,
}

impl Region {
    /// A region at full strength, with sharp edges and the canvas' noise.
    pub fn new(id: RegionId, prompt: impl Into<String>, mask: Mask) -> Self {
        Self {
            id,
            prompt: prompt.into(),
            negative_prompt: String::new(),
            prompt_strength: 1.0,
            mask,
            mask_strength: 1.0,
            mask_std_px: 0.0,
            seed: None,
        }
    }
}
