//! Thin lines over the canvas: brush outline, guides, shapes being drawn. Visible on any picture: light over dark.

use eframe::egui::{Align2, Color32, FontId, Painter, Pos2, Rect, Shape, Stroke, pos2, vec2};
use wordbrush_engine::api::CanvasSize;

use super::view::Placement;
use crate::{
    document::RegionLayer,
    paint::{Ink, Point, Symmetry},
};

const DARK: Stroke = Stroke {
    width: 2.5,
    color: Color32::from_black_alpha(140),
};
const LIGHT: Stroke = Stroke {
    width: 1.2,
    color: Color32::WHITE,
};

/// The brush at its true size; an eraser's line is dashed.
pub(super) fn brush_outline(painter: &Painter, placement: &Placement, at: Pos2, size_px: f32, ink: Ink) {
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
    match ink {
        Ink::Paint => {
            painter.circle_stroke(at, radius, LIGHT);
        }
        Ink::Erase => {
            painter.extend(Shape::dashed_line(&circle(at, radius), LIGHT, 5.0, 4.0));
        }
    }
}

fn circle(middle: Pos2, radius: f32) -> Vec<Pos2> {
    let count = (radius * 0.8).clamp(24.0, 256.0) as usize;
    (0..=count)
        .map(|step| {
            let (sin, cos) = (std::f32::consts::TAU * step as f32 / count as f32).sin_cos();
            middle + radius * vec2(cos, sin)
        })
        .collect()
}

/// What a brush is being made into: its solid core, and its figures.
pub(super) fn brush_figures(painter: &Painter, placement: &Placement, at: Pos2, size_px: f32, hardness: f32) {
    let radius = size_px * 0.5 * placement.points_per_pixel();
    let core = radius * hardness;
    if core > 2.5 && hardness < 0.99 {
        painter.circle_stroke(at, core, Stroke::new(1.0, Color32::from_white_alpha(120)));
    }
    let text = format!("{size_px:.0} px · {:.0} %", hardness * 100.0);
    // Below the brush, or inside where that would leave the window.
    let below = at + vec2(0.0, radius + 18.0);
    let place = pos2(below.x, below.y.min(painter.clip_rect().bottom() - 18.0));
    badge(painter, place, Align2::CENTER_CENTER, None, &text);
}

/// The region that a click at this place selects; `None` is the background.
pub(super) fn region_badge(painter: &Painter, at: Pos2, region: Option<&RegionLayer>) {
    let text = region.map_or_else(|| "Background".into(), RegionLayer::title);
    let colour = region.map(|region| {
        let [red, green, blue] = region.colour;
        Color32::from_rgb(red, green, blue)
    });
    let is_left = at.x > painter.clip_rect().center().x;
    let (anchor, x) = if is_left {
        (Align2::RIGHT_TOP, at.x - 10.0)
    } else {
        (Align2::LEFT_TOP, at.x + 14.0)
    };
    badge(painter, pos2(x, at.y + 14.0), anchor, colour, &text);
}

/// A few words on a dark plate, readable on any picture, with a dot of a colour before them.
fn badge(painter: &Painter, at: Pos2, anchor: Align2, dot: Option<Color32>, text: &str) {
    /// Longer names end in an ellipsis.
    const MOST_LETTERS: usize = 40;
    let text = if text.chars().count() > MOST_LETTERS {
        text.chars().take(MOST_LETTERS).chain(['…']).collect()
    } else {
        text.to_owned()
    };
    let galley = painter.layout_no_wrap(text, FontId::proportional(12.0), Color32::WHITE);
    let indent = if dot.is_some() { 16.0 } else { 0.0 };
    let plate = anchor.anchor_size(at, galley.size() + vec2(16.0 + indent, 8.0));
    painter.rect_filled(plate, 6, Color32::from_black_alpha(200));
    if let Some(colour) = dot {
        let middle = pos2(plate.left() + 14.0, plate.center().y);
        painter.circle(
            middle,
            5.0,
            colour,
            Stroke::new(1.0, Color32::from_white_alpha(160)),
        );
    }
    painter.galley(plate.min + vec2(8.0 + indent, 4.0), galley, Color32::WHITE);
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
