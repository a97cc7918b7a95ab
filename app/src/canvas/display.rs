//! What the canvas is asked to show and which tool it holds; plain settings.

use eframe::egui::{Rect, pos2};
use serde::{Deserialize, Serialize};

use crate::paint::ShapeMode;

/// What a press on the canvas does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tool {
    /// Paints the region.
    #[default]
    Brush,
    /// Takes paint away.
    Eraser,
    /// Fills a patch.
    Fill,
    /// Draws around an area by hand.
    Lasso,
    /// Draws a rectangle; a square with Shift.
    Rectangle,
    /// Draws an ellipse; a circle with Shift.
    Ellipse,
    /// Selects the region under the cursor.
    Pick,
}

/// How the shape and fill tools work.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AreaSettings {
    /// What a shape does with the mask; Ctrl held subtracts.
    pub shape_mode: ShapeMode,
    /// What the fill tool looks at.
    pub fill_source: FillSource,
    /// How alike is alike, 0 to 1.
    pub fill_tolerance: f32,
}

/// What decides how far a fill goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FillSource {
    /// The region's own mask: closed shapes are filled.
    #[default]
    Mask,
    /// Colours of the picture, as far as they are connected.
    Picture,
    /// Colours of the picture, wherever they are.
    EveryColour,
}

impl Default for AreaSettings {
    fn default() -> Self {
        Self {
            shape_mode: ShapeMode::default(),
            fill_source: FillSource::default(),
            fill_tolerance: 0.15,
        }
    }
}

/// How the canvas is shown.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CanvasDisplay {
    /// One picture or two, and which.
    pub layout: CanvasLayout,
    /// How regions are marked.
    pub overlay_mode: OverlayMode,
    /// How strongly regions colour the picture, 0 to 1.
    pub overlay_opacity: f32,
    /// Whether regions carry hatching, so that colour is not needed to tell them apart.
    pub is_hatched: bool,
}

impl Default for CanvasDisplay {
    fn default() -> Self {
        Self {
            layout: CanvasLayout::default(),
            overlay_mode: OverlayMode::default(),
            overlay_opacity: 0.35,
            is_hatched: false,
        }
    }
}

/// How regions are marked over the picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OverlayMode {
    /// Filled with their colours.
    #[default]
    Filled,
    /// A line around each.
    Outlines,
    /// Not at all.
    Off,
}

/// A picture that the canvas can show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// What the engine painted.
    #[default]
    Result,
    /// The masks in their full colours.
    Masks,
    /// The picture behind everything.
    Background,
}

/// One picture or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CanvasLayout {
    /// One picture.
    Single(Layer),
    /// Two, one on each side of a line that can be dragged.
    Wipe(Layer, Layer),
    /// Two, each with the whole canvas.
    SideBySide(Layer, Layer),
}

impl Default for CanvasLayout {
    fn default() -> Self {
        Self::Single(Layer::default())
    }
}

/// A part of the window that shows one picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pane {
    pub(super) layer: Layer,
    /// Where the view is placed.
    pub(super) view_rect: Rect,
    /// Which part of it is drawn.
    pub(super) clip: Rect,
}

impl CanvasLayout {
    /// The panes within `rect`; `wipe` is where the line stands, 0 (left) to 1.
    pub(super) fn panes(self, rect: Rect, wipe: f32) -> Vec<Pane> {
        let pane = |layer, view_rect, clip| Pane {
            layer,
            view_rect,
            clip,
        };
        match self {
            Self::Single(layer) => vec![pane(layer, rect, rect)],
            Self::Wipe(left, right) => {
                let (left_rect, right_rect) = split(rect, wipe_x(rect, wipe));
                vec![pane(left, rect, left_rect), pane(right, rect, right_rect)]
            }
            Self::SideBySide(left, right) => {
                let (left_rect, right_rect) = split(rect, rect.center().x.round());
                vec![
                    pane(left, left_rect, left_rect),
                    pane(right, right_rect, right_rect),
                ]
            }
        }
    }
}

pub(super) fn wipe_x(rect: Rect, wipe: f32) -> f32 {
    rect.left() + (rect.width() * wipe.clamp(0.0, 1.0)).round()
}

fn split(rect: Rect, x: f32) -> (Rect, Rect) {
    (
        Rect::from_min_max(rect.min, pos2(x, rect.bottom())),
        Rect::from_min_max(pos2(x, rect.top()), rect.max),
    )
}
