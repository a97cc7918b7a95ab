//! A drag on the canvas, from press to release.

use std::sync::Arc;

use eframe::egui::{PointerButton, Pos2};
use wordbrush_engine::api::{CanvasSize, Mask, RegionId};

use super::{CanvasAction, display::Tool, scene::Scene};
use crate::{
    document::{Edit, Gesture, MaskTiles},
    paint::{BrushSettings, Ink, PenSample, Point, Stroke, ellipse_outline, rectangle_outline},
};

/// A drag from press to release.
pub(super) struct Drag {
    pub(super) kind: DragKind,
    pub(super) button: PointerButton,
    /// The pane it began in, by its place among them; it stays there when it leaves that pane.
    pub(super) pane: usize,
    pub(super) last_position: Pos2,
}

pub(super) enum DragKind {
    Stroke(Box<LiveStroke>),
    Shape(DrawnShape),
    /// Resizes the brush, or draws a straight line if the pointer does not move.
    BrushSize {
        start: Pos2,
        brush: BrushSettings,
        has_moved: bool,
        pressure: f32,
    },
    Pan,
    Zoom {
        anchor: Pos2,
    },
    Rotate,
    Wipe,
    /// A tap of a finger: done when it is lifted, for a second one would make it something else.
    Tap(CanvasAction),
}

/// A stroke in progress.
pub(super) struct LiveStroke {
    pub(super) stroke: Stroke,
    pub(super) gesture: Gesture,
    pub(super) label: &'static str,
    /// The mask with all of the stroke so far.
    pub(super) mask: Mask,
    pub(super) last_sample: PenSample,
    /// When it began, on egui's clock.
    pub(super) begun_secs: f64,
    pub(super) is_trailing: bool,
}

/// A shape in progress.
pub(super) struct DrawnShape {
    pub(super) tool: Tool,
    pub(super) region: RegionId,
    pub(super) points: Vec<Point>,
    /// On a canvas of another size the points mean other places.
    pub(super) canvas: CanvasSize,
    pub(super) is_constrained: bool,
    pub(super) is_subtracting: bool,
}

impl DrawnShape {
    /// Its line as it would be if the pointer were let go now.
    pub(super) fn outline(&self) -> Vec<Point> {
        let (Some(&start), Some(&end)) = (self.points.first(), self.points.last()) else {
            return Vec::new();
        };
        let end = if self.is_constrained {
            squared(start, end)
        } else {
            end
        };
        match self.tool {
            Tool::Rectangle => rectangle_outline(start, end),
            Tool::Ellipse => ellipse_outline(start, end),
            _ => self.points.clone(),
        }
    }

    /// What the history calls it.
    pub(super) fn label(&self) -> &'static str {
        match self.tool {
            Tool::Rectangle => "Rectangle",
            Tool::Ellipse => "Ellipse",
            _ => "Lasso",
        }
    }
}

/// The corner that makes a square of the rectangle between two corners.
fn squared(start: Point, end: Point) -> Point {
    let (dx, dy) = (end[0] - start[0], end[1] - start[1]);
    let side = dx.abs().max(dy.abs());
    [start[0] + side.copysign(dx), start[1] + side.copysign(dy)]
}

impl LiveStroke {
    /// Begins on a mask.
    pub(super) fn begin(scene: &Scene<'_>, region: RegionId, mask: Mask, sample: PenSample) -> Self {
        let inputs = scene.inputs;
        let (ink, label) = if inputs.tool == Tool::Eraser {
            (Ink::Erase, "Eraser stroke")
        } else {
            (Ink::Paint, "Brush stroke")
        };
        let stroke = Stroke::begin(
            region,
            mask.clone(),
            inputs.brush,
            ink,
            inputs.symmetry,
            scene.canvas_middle(),
            sample,
        );
        Self {
            stroke,
            gesture: Gesture::fresh(),
            label,
            mask,
            last_sample: sample,
            begun_secs: sample.time_secs,
            is_trailing: inputs.brush.stabiliser > 0.0,
        }
    }

    /// Hands over the tiles that changed since the last time.
    pub(super) fn flush(&mut self, actions: &mut Vec<CanvasAction>) {
        let Some(change) = self.stroke.take_changes() else {
            return;
        };
        lay_tiles(&mut self.mask, &change);
        actions.push(CanvasAction::Edit {
            edit: Edit::MaskTiles(change),
            label: self.label,
            gesture: Some(self.gesture),
        });
    }

    /// Hands over the rest of a stroke that is over; answers with the mask as it is now.
    pub(super) fn hand_over(mut self, actions: &mut Vec<CanvasAction>) -> (RegionId, Mask) {
        self.flush(actions);
        let region = self.stroke.region();
        actions.push(CanvasAction::StrokeEnded {
            region,
            gesture: self.gesture,
            ink: Arc::new(self.stroke.into_ink()),
        });
        actions.push(CanvasAction::EndGesture);
        (region, self.mask)
    }
}

fn lay_tiles(mask: &mut Mask, change: &MaskTiles) {
    for tile in &change.tiles {
        mask.set_tile(tile.column, tile.row, tile.data.clone());
    }
}
