//! Shapes in parts of the canvas: 0 to 1 from the left top corner.

use std::f32::consts::TAU;

/// A shape, by its formula.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// Everything above a wavy line.
    Above { y: f32, wave: f32 },
    /// Everything below a wavy line.
    Below { y: f32, wave: f32 },
    /// An ellipse by its centre and radii.
    Ellipse { x: f32, y: f32, rx: f32, ry: f32 },
    /// A rectangle by its edges.
    Rectangle { x0: f32, y0: f32, x1: f32, y1: f32 },
    /// A door with a round top, by the middle of its sill.
    Arch { x: f32, y: f32, width: f32, height: f32 },
}

impl Shape {
    /// Coverage of a pixel, 0 to 1, with an edge about a pixel wide.
    pub(super) fn coverage_at(&self, column: usize, row: usize, width: usize, height: usize) -> f32 {
        let x = (column as f32 + 0.5) / width as f32;
        let y = (row as f32 + 0.5) / height as f32;
        let distance_px = self.distance(x, y) * height as f32;
        (0.5 - distance_px).clamp(0.0, 1.0)
    }

    /// Roughly how far a point is outside (inside: below 0), in canvas heights.
    fn distance(&self, x: f32, y: f32) -> f32 {
        match *self {
            Self::Above { y: line, wave } => y - line - ripple(x, wave),
            Self::Below { y: line, wave } => line + ripple(x, wave) - y,
            Self::Ellipse { x: cx, y: cy, rx, ry } => {
                (((x - cx) / rx).hypot((y - cy) / ry) - 1.0) * rx.min(ry)
            }
            Self::Rectangle { x0, y0, x1, y1 } => (x0 - x).max(x - x1).max(y0 - y).max(y - y1),
            Self::Arch {
                x: middle,
                y: sill,
                width,
                height,
            } => {
                let radius = width / 2.0;
                let door = Self::Rectangle {
                    x0: middle - radius,
                    y0: sill - height + radius,
                    x1: middle + radius,
                    y1: sill,
                };
                let top = Self::Ellipse {
                    x: middle,
                    y: sill - height + radius,
                    rx: radius,
                    ry: radius,
                };
                door.distance(x, y).min(top.distance(x, y))
            }
        }
    }
}

fn ripple(x: f32, wave: f32) -> f32 {
    wave * ((x * 1.3 + 0.15) * TAU).sin() + wave * 0.4 * ((x * 3.1 + 0.4) * TAU).sin()
}
