//! How the stream runs; values that cannot be wrong once they exist.

use serde::{Deserialize, Serialize};

use super::model::{DeviceChoice, ModelChoice, Precision};
use crate::Error;

/// The steps of the 50-step grid that the stream takes, noisiest first: strictly rising indexes below 50.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<u16>", into = "Vec<u16>")]
pub struct StepList(Vec<u16>);

impl StepList {
    /// Length of the grid the indexes point into.
    pub const GRID: u16 = 50;

    /// From indexes into the grid.
    ///
    /// # Errors
    /// If the list is empty, does not rise, or leaves the grid.
    pub fn new(indexes: Vec<u16>) -> Result<Self, Error> {
        let rises = indexes.windows(2).all(|pair| pair[0] < pair[1]);
        let inside = indexes.iter().all(|&index| index < Self::GRID);
        if !indexes.is_empty() && rises && inside {
            Ok(Self(indexes))
        } else {
            Err(Error::StepList { indexes })
        }
    }

    /// A good list of `count` steps (1 to 50); other counts take the nearest possible one.
    ///
    /// Five steps give the reference's list `[0, 4, 12, 25, 37]`; other counts follow the same curve.
    pub fn with_count(count: usize) -> Self {
        let count = count.clamp(1, Self::GRID as usize);
        const CURVE: [f64; 6] = [0.0, 4.0, 12.0, 25.0, 37.0, 50.0];
        let mut indexes = Vec::with_capacity(count);
        for step in 0..count {
            let position = step as f64 * 5.0 / count as f64;
            let (whole, part) = (position.floor() as usize, position.fract());
            let on_curve = (CURVE[whole] + (CURVE[whole + 1] - CURVE[whole]) * part).round() as u16;
            let lowest = indexes.last().map_or(0, |last: &u16| last + 1);
            let highest = Self::GRID - (count - step) as u16;
            indexes.push(on_curve.clamp(lowest, highest));
        }
        Self(indexes)
    }

    /// The indexes, noisiest first.
    pub fn indexes(&self) -> &[u16] {
        &self.0
    }

    /// Number of steps, `T`.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl Default for StepList {
    fn default() -> Self {
        Self::with_count(5)
    }
}

impl TryFrom<Vec<u16>> for StepList {
    type Error = Error;

    fn try_from(indexes: Vec<u16>) -> Result<Self, Error> {
        Self::new(indexes)
    }
}

impl From<StepList> for Vec<u16> {
    fn from(list: StepList) -> Self {
        list.0
    }
}

/// How the negative prompt takes part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Guidance {
    /// Not at all; what few-step models are made for.
    #[default]
    None,
    /// Every row is computed twice.
    Full {
        /// Guidance scale; above 1 it has an effect.
        scale: f32,
    },
    /// The stock noise stands in for the negative side.
    #[serde(rename = "self")]
    SelfNegative {
        /// Guidance scale.
        scale: f32,
        /// Weight of the stock noise.
        delta: f32,
    },
    /// As `SelfNegative`, with a computed negative side at the noisiest step only.
    Initialize {
        /// Guidance scale.
        scale: f32,
        /// Weight of the stock noise.
        delta: f32,
    },
}

impl Guidance {
    /// Whether negative prompts have a part in the picture.
    pub fn takes_negative_prompts(self) -> bool {
        match self {
            Self::None | Self::SelfNegative { .. } => false,
            Self::Full { scale } | Self::Initialize { scale, .. } => scale > 1.0,
        }
    }
}

/// How a soft mask is cut at each noise level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaskMode {
    /// A pixel joins at the first step whose noise level is below its coverage.
    #[default]
    Discrete,
    /// As `Discrete`, with a soft last step.
    SemiContinuous,
    /// Linear between neighbouring noise levels.
    Continuous,
}

/// What happens to half-finished pictures when an edit arrives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EditPolicy {
    /// They go on with the edit; frames never stop.
    #[default]
    FlowThrough,
    /// They are thrown away and the pipeline is filled anew, as the reference does.
    Flush,
}

/// What the stream does when nothing is edited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PictureMode {
    /// Fixed noise: the picture converges and the engine rests.
    #[default]
    Held,
    /// New noise at every step: endless variation.
    Dream,
}

/// Which noise level the background of unfinished slots gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackgroundNoise {
    /// The level of the slot's next timestep.
    #[default]
    Corrected,
    /// The schedule index taken for a timestep, as the reference does: a nearly clean background.
    Reference,
}

/// In which order the rows of a picture are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PassOrder {
    /// Whichever a short measurement at start finds sooner.
    #[default]
    Auto,
    /// All noise levels in one batch: a frame at every step.
    StreamBatch,
    /// One noise level after the other: the earliest answer to an edit.
    Sequential,
}

/// On how much of the canvas a region is denoised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegionCrop {
    /// On all of it, as the reference does.
    Off,
    /// On a part around its mask where the canvas is larger than what the model was trained for, and the part is not
    /// smaller than that: models put too many or too small things on larger canvases.
    #[default]
    Auto,
    /// On a part around its mask, of at least half the side that the model was trained for. Takes the least time; regions
    /// see less of their surroundings.
    On,
}

/// What shows where no region has its pixel yet, but regions together cover it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gaps {
    /// The region with the most coverage there.
    #[default]
    Closed,
    /// The background, as in the reference: its white stays around soft edges.
    Background,
}

/// What is an object of its own, and which of them are rolled to the middle of the canvas while they are denoised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Centring {
    /// Each separate patch of a region is an object; those are rolled that do not reach from border to border.
    #[default]
    Patches,
    /// Each region is an object, also where it lies in several patches; those are rolled that do not reach from border to
    /// border.
    Objects,
    /// Each region is an object, and all are rolled, as in the reference: a sky that is rolled has the ground above it.
    Always,
}

/// How the stream runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StreamSettings {
    /// Which noise levels are in flight.
    pub steps: StepList,
    /// Part of the negative prompts.
    pub guidance: Guidance,
    /// How soft masks are cut.
    pub mask_mode: MaskMode,
    /// Steps in which each region is denoised alone against white, `0` for none.
    pub bootstrap_steps: u8,
    /// How many of the first steps mix white into the background (a fraction mixes partly).
    pub bootstrap_mix_steps: f32,
    /// What is left of a mask under another one, 0 to 1; 0 turns it off.
    pub cover_alpha: f32,
    /// What an edit does to pictures in flight.
    pub edits: EditPolicy,
    /// Hold the picture or dream on.
    pub picture: PictureMode,
    /// Noise of the background.
    pub background_noise: BackgroundNoise,
    /// Order of the passes.
    pub pass_order: PassOrder,
    /// How much of the canvas a region sees.
    #[serde(skip_serializing_if = "is_default")]
    pub region_crop: RegionCrop,
    /// What shows between regions with soft edges.
    #[serde(skip_serializing_if = "is_default")]
    pub gaps: Gaps,
    /// What is an object of its own, and centred.
    #[serde(skip_serializing_if = "is_default")]
    pub centring: Centring,
}

/// Left out of files, so that earlier versions can read them.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Default for StreamSettings {
    fn default() -> Self {
        Self {
            steps: StepList::default(),
            guidance: Guidance::default(),
            mask_mode: MaskMode::default(),
            bootstrap_steps: 1,
            bootstrap_mix_steps: 1.0,
            cover_alpha: 0.3,
            edits: EditPolicy::default(),
            picture: PictureMode::default(),
            background_noise: BackgroundNoise::default(),
            pass_order: PassOrder::default(),
            region_crop: RegionCrop::default(),
            gaps: Gaps::default(),
            centring: Centring::default(),
        }
    }
}

/// What an engine is started with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EngineConfig {
    /// Loaded at once; `None` waits for a command.
    pub model: Option<ModelChoice>,
    /// Where to compute.
    pub device: DeviceChoice,
    /// Number format of the weights; `None` takes the device's best.
    pub precision: Option<Precision>,
    /// Threads the CPU path may use; `None` takes all but leaves the window its share by priority.
    pub threads: Option<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_steps_are_the_reference_list() {
        assert_eq!(StepList::with_count(5).indexes(), [0, 4, 12, 25, 37]);
    }

    #[test]
    fn every_count_gives_a_valid_list() {
        for count in 1..=50 {
            let list = StepList::with_count(count);
            assert_eq!(list.count(), count);
            assert!(
                StepList::new(list.indexes().to_vec()).is_ok(),
                "{count}: {list:?}"
            );
        }
    }

    #[test]
    fn lists_that_do_not_rise_or_leave_the_grid_are_refused() {
        for bad in [vec![], vec![4, 4], vec![5, 1], vec![0, 50]] {
            assert!(StepList::new(bad).is_err());
        }
    }
}
