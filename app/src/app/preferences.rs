//! What the user likes, kept between sessions.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{keymap::KeyPreset, panels::tools::ToolSettings};

/// Which theme is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ThemeChoice {
    /// For dark surroundings.
    #[default]
    Dark,
    /// For bright surroundings.
    Light,
    /// As the desktop has it.
    System,
}

/// Theme, sizes and what is open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Preferences {
    /// Dark, light, or the desktop's.
    pub theme: ThemeChoice,
    /// Size of text and controls, 0.75 to 2.
    pub scale: f32,
    /// A scale that is being dragged.
    #[serde(skip)]
    pub pending_scale: Option<f32>,
    /// Threads for models on the processor; all if there is no number.
    pub threads: Option<usize>,
    /// Which program's keys are in use.
    pub keys: KeyPreset,
    /// Whether the performance panel is shown.
    pub shows_performance: bool,
    /// Whether the history strip is shown.
    pub shows_history: bool,
    /// The tool in hand and how the canvas is shown.
    pub tools: ToolSettings,
    /// Whether something was painted with this program before; until then it says how.
    pub has_painted: bool,
    /// Where pictures were exported to last.
    pub export_folder: Option<PathBuf>,
}

impl Default for Preferences {
    fn default() -> Self {
        Self {
            theme: ThemeChoice::Dark,
            scale: 1.0,
            pending_scale: None,
            threads: None,
            keys: KeyPreset::default(),
            shows_performance: false,
            shows_history: true,
            tools: ToolSettings::default(),
            has_painted: false,
            export_folder: None,
        }
    }
}
