//! What a file holds: the document, and what belongs to it without making the picture.

use serde::{Deserialize, Serialize};
use wordbrush_engine::api::{ModelSummary, Picture};

use crate::document::Document;

/// A document with everything that is kept with it. Cloning is cheap, as it is for the document.
#[derive(Clone, Debug, PartialEq)]
pub struct Project {
    /// The canvas.
    pub document: Document,
    /// What painted it, to find the same model again.
    pub model_record: Option<ModelRecord>,
    /// The picture as it was last seen.
    pub last_frame: Option<Picture>,
    /// States the painter pinned in the history strip, oldest first.
    pub pins: Vec<Pin>,
    /// How many pinned states its file has beyond those, for which memory had no room.
    pub pins_left_out: usize,
}

/// Names a model beyond its path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelRecord {
    /// Name as shown to the user.
    pub name: String,
    /// Family, such as "Stable Diffusion 1.5".
    pub family: String,
    /// First ten hex digits that tell weights apart, see [`ModelSummary::fingerprint`].
    pub fingerprint: String,
}

/// A pinned state of the history strip.
#[derive(Clone, Debug, PartialEq)]
pub struct Pin {
    /// Name the painter gave it; may be empty.
    pub name: String,
    /// The canvas as it was.
    pub document: Document,
    /// The picture as it was.
    pub picture: Option<Picture>,
}

impl Project {
    /// A project that is nothing but its document.
    pub fn new(document: Document) -> Self {
        Self {
            document,
            model_record: None,
            last_frame: None,
            pins: Vec::new(),
            pins_left_out: 0,
        }
    }
}

impl From<&ModelSummary> for ModelRecord {
    fn from(summary: &ModelSummary) -> Self {
        Self {
            name: summary.name.clone(),
            family: summary.family.clone(),
            fingerprint: summary.fingerprint.clone(),
        }
    }
}
