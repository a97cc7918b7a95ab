//! Thin lines over the canvas: brush outline, guides, shapes being drawn. Visible on any picture: light over dark.

use eframe::egui::{Color32, Painter, Pos2, Rect, Shape, Stroke, pos2};
use wordbrush_engine::api::CanvasSize;

use super::view::Placement;
use crate::paint::{Point, Symmetry};

const DARK: Stroke = Stroke {
    width: 2.5,
    color: Color32::from_black_alpha(140),
};
const LIGHT: Stroke = Stroke {
    width: 1.2,
    color: Color32::WHITE,
};

/// The brush at its true size.
pub(super) fn brush_outline(painter: &Painter, placement: &Placement, at: Pos2, size_px: f32) {
    let radius = size_px * 0.5 * placement.points_per_pixel();
    if radius < 2.5 {
        // Too small to see: a little cross around it.
        for (dx, dy) in [(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)] {
            let arm = [
                pos2(at.x + 3.0 * dx, at.y + 3.0 * dy),
                pos2(at.x + 7.0 * dx, at.y + 7.0 * dy),
            ];
            painter.line_segment(arm, DARK);
            painter.line_segment(arm, LIGHT);
        }
        return;
    }
    painter.circle_stroke(at, radius, DARK);
    painter.circle_stroke(at, radius, LIGHT);
}

/// A line through canvas points, closed or open, dashed so that it reads as not yet painted.
pub(super) fn shape_preview(painter: &Painter, placement: &Placement, points: &[Point], is_closed: bool) {
    let mut path: Vec<Pos2> = points
        .iter()
        .map(|&point| placement.screen_from_canvas(point))
        .collect();
    if is_closed {
        path.extend(path.first().copied());
    }
    if path.len() > 1 {
        painter.add(Shape::line(path.clone(), DARK));
        painter.extend(Shape::dashed_line(&path, LIGHT, 5.0, 4.0));
    }
}

/// The axes of symmetry.
pub(super) fn symmetry_guides(
    painter: &Painter,
    placement: &Placement,
    canvas: CanvasSize,
    symmetry: Symmetry,
) {
    let (width, height) = (canvas.width() as f32, canvas.height() as f32);
    let (x, y) = (width / 2.0, height / 2.0);
    let upright = ([x, 0.0], [x, height]);
    let level = ([0.0, y], [width, y]);
    let lines = match symmetry {
        Symmetry::Off => vec![],
        Symmetry::Vertical => vec![upright],
        Symmetry::Horizontal => vec![level],
        Symmetry::Both => vec![upright, level],
        Symmetry::Radial(_) => {
            let reach = x.min(y);
            (0..symmetry.copies())
                .map(|turn| {
                    let (sin, cos) =
                        (std::f32::consts::TAU * turn as f32 / symmetry.copies() as f32).sin_cos();
                    ([x, y], [x + reach * sin, y - reach * cos])
                })
                .collect()
        }
    };
    let guide = Stroke::new(1.0, Color32::from_rgba_unmultiplied(90, 200, 255, 170));
    for (from, to) in lines {
        painter.line_segment(
            [
                placement.screen_from_canvas(from),
                placement.screen_from_canvas(to),
            ],
            guide,
        );
    }
}

/// The line between the two pictures of a wipe, with a grip in its middle.
pub(super) fn wipe_line(painter: &Painter, rect: Rect, x: f32) {
    let line = [pos2(x, rect.top()), pos2(x, rect.bottom())];
    painter.line_segment(line, Stroke::new(3.0, Color32::from_black_alpha(120)));
    painter.line_segment(line, LIGHT);
    let grip = pos2(x, rect.center().y);
    painter.circle(grip, 9.0, Color32::from_black_alpha(170), LIGHT);
    for side in [-1.0, 1.0] {
        let tip = pos2(grip.x + 5.0 * side, grip.y);
        for dy in [-3.0, 3.0] {
            painter.line_segment([pos2(grip.x + 2.0 * side, grip.y + dy), tip], LIGHT);
        }
    }
}
