//! Filled shapes with smooth edges, and how they join a mask.

use serde::{Deserialize, Serialize};
use wordbrush_engine::api::{CanvasSize, Mask};

use super::Point;

/// What a shape does with the mask it is drawn on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShapeMode {
    /// Adds the shape.
    #[default]
    Add,
    /// Cuts the shape out.
    Subtract,
    /// Leaves only what lies inside the shape.
    Intersect,
    /// The shape alone.
    Replace,
}

/// Joins a shape with a mask of the same canvas.
///
/// Masks of different canvases do not join; the first is returned.
#[must_use]
pub fn combined(mask: &Mask, shape: &Mask, mode: ShapeMode) -> Mask {
    if mask.size() != shape.size() {
        return mask.clone();
    }
    let join = |a: u8, b: u8| match mode {
        ShapeMode::Add => a.max(b),
        ShapeMode::Subtract => a.min(255 - b),
        ShapeMode::Intersect => a.min(b),
        ShapeMode::Replace => b,
    };
    let mut out = mask.clone();
    let (columns, rows) = mask.tile_grid();
    for (column, row) in (0..rows).flat_map(|row| (0..columns).map(move |column| (column, row))) {
        match (mask.tile(column, row), shape.tile(column, row), mode) {
            (None, None, _)
            | (Some(_), None, ShapeMode::Add | ShapeMode::Subtract)
            | (None, _, ShapeMode::Subtract | ShapeMode::Intersect) => {}
            (Some(_), None, ShapeMode::Intersect | ShapeMode::Replace) => out.set_tile(column, row, None),
            (_, Some(shape), ShapeMode::Replace) | (None, Some(shape), ShapeMode::Add) => {
                out.set_tile(column, row, Some(shape.clone()));
            }
            (Some(_), Some(shape), _) => {
                for (a, &b) in out.tile_mut(column, row).iter_mut().zip(shape.iter()) {
                    *a = join(*a, b);
                }
            }
        }
    }
    out.trim();
    out
}

/// Corners of the rectangle between two opposite corners.
pub fn rectangle_outline([x0, y0]: Point, [x1, y1]: Point) -> Vec<Point> {
    vec![[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
}

/// Points around the ellipse that fills the rectangle between two opposite corners.
pub fn ellipse_outline([x0, y0]: Point, [x1, y1]: Point) -> Vec<Point> {
    let (centre, radius) = (
        [f32::midpoint(x0, x1), f32::midpoint(y0, y1)],
        [(x1 - x0).abs() / 2.0, (y1 - y0).abs() / 2.0],
    );
    // So many that the polygon is nowhere more than a hundredth of a pixel off.
    let points = (radius[0].max(radius[1]).max(1.0).sqrt() * 23.0).clamp(16.0, 2048.0) as usize;
    (0..points)
        .map(|i| {
            let (sin, cos) = (std::f32::consts::TAU * i as f32 / points as f32).sin_cos();
            [centre[0] + radius[0] * cos, centre[1] + radius[1] * sin]
        })
        .collect()
}

/// A closed polygon, filled, with smooth edges; loops in a lasso are filled, too.
///
/// Every pixel's coverage is the exact area of the polygon in it, found by adding up the signed area that each
/// edge leaves to its right. Points that are not numbers are left out.
pub fn polygon_mask(size: CanvasSize, outline: &[Point]) -> Mask {
    let outline: Vec<Point> = outline
        .iter()
        .filter(|point| point.iter().all(|value| value.is_finite()))
        .map(|point| point.map(|value| value.clamp(-1e5, 1e5)))
        .collect();
    let (width, height) = (size.width() as usize, size.height() as usize);
    let Some((top, bottom)) = vertical_extent(&outline, height) else {
        return Mask::new(size);
    };
    let mut coverage = vec![0; size.area()];
    let edges: Vec<(Point, Point)> = outline
        .iter()
        .zip(outline.iter().cycle().skip(1))
        .map(|(&a, &b)| (a, b))
        .filter(|(a, b)| a[1] != b[1])
        .collect();
    // Edges by their first row, so that each row looks only at those that cross it.
    let mut waiting: Vec<_> = edges;
    waiting.sort_by(|a, b| first_row(b).total_cmp(&first_row(a)));
    let mut crossing: Vec<(Point, Point)> = Vec::new();
    let mut deltas = vec![0.0_f32; width + 2];
    for y in top..bottom {
        let row_end = (y + 1) as f32;
        while waiting.last().is_some_and(|edge| first_row(edge) < row_end) {
            crossing.extend(waiting.pop());
        }
        crossing.retain(|(a, b)| a[1].max(b[1]) > y as f32);
        deltas.fill(0.0);
        for &(a, b) in &crossing {
            add_edge(&mut deltas, width, y as f32, a, b);
        }
        let mut area = 0.0;
        for (out, delta) in coverage[y * width..(y + 1) * width].iter_mut().zip(&deltas) {
            area += delta;
            *out = (area.abs().min(1.0) * 255.0).round() as u8;
        }
    }
    Mask::from_coverage(size, &coverage).expect("coverage was made for this size")
}

fn first_row((a, b): &(Point, Point)) -> f32 {
    a[1].min(b[1])
}

fn vertical_extent(outline: &[Point], height: usize) -> Option<(usize, usize)> {
    if outline.len() < 3 {
        return None;
    }
    let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
    for point in outline {
        low = low.min(point[1]);
        high = high.max(point[1]);
    }
    let top = low.max(0.0) as usize;
    let bottom = high.ceil().clamp(0.0, height as f32) as usize;
    (top < bottom).then_some((top, bottom))
}

/// Adds what one edge changes in the row that starts at `y`: the running sum of `deltas` is the signed area.
fn add_edge(deltas: &mut [f32], width: usize, y: f32, a: Point, b: Point) {
    let (sign, top, bottom) = if a[1] < b[1] { (1.0, a, b) } else { (-1.0, b, a) };
    let slope = (bottom[0] - top[0]) / (bottom[1] - top[1]);
    let from_y = top[1].max(y);
    let to_y = bottom[1].min(y + 1.0);
    if from_y >= to_y {
        return;
    }
    let at = |level: f32| top[0] + (level - top[1]) * slope;
    let limit = width as f32;
    let (x0, x1) = (at(from_y), at(to_y));
    let (left, right) = (x0.min(x1), x0.max(x1));
    let height = sign * (to_y - from_y);
    // Beyond the left border the edge fills whole rows; beyond the right one it changes nothing.
    let (left_in, right_in) = (left.clamp(0.0, limit), right.clamp(0.0, limit));
    let span = right - left;
    if span < 1e-6 {
        let cell = left_in as usize;
        let inside = 1.0 - (left_in - cell as f32);
        deltas[cell] += height * inside;
        deltas[cell + 1] += height * (1.0 - inside);
        return;
    }
    let part = |from: f32, to: f32| height * (to - from) / span;
    if left < 0.0 {
        deltas[0] += part(left, right.min(0.0));
    }
    let mut x = left_in;
    while x < right_in {
        let cell = x as usize;
        let next = ((cell + 1) as f32).min(right_in);
        let share = part(x, next);
        let inside = (cell + 1) as f32 - f32::midpoint(x, next);
        deltas[cell] += share * inside;
        deltas[cell + 1] += share * (1.0 - inside);
        x = next;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn size(width: u32, height: u32) -> CanvasSize {
        CanvasSize::new(width, height).unwrap()
    }

    fn area(mask: &Mask) -> f32 {
        mask.to_coverage()
            .iter()
            .map(|&value| f32::from(value) / 255.0)
            .sum()
    }

    #[test]
    fn a_rectangle_covers_its_pixels_exactly() {
        let mask = polygon_mask(size(20, 20), &rectangle_outline([2.0, 3.5], [10.25, 7.0]));
        assert_eq!(mask.coverage(2, 4), 255);
        assert_eq!(mask.coverage(1, 4), 0);
        assert_eq!(mask.coverage(10, 4), 64);
        assert_eq!(mask.coverage(5, 3), 128);
        assert_eq!(mask.coverage(5, 7), 0);
    }

    #[test]
    fn an_ellipse_has_its_area_in_every_direction() {
        for (a, b) in [([10.0, 20.0], [90.0, 60.0]), ([90.0, 60.0], [10.0, 20.0])] {
            let mask = polygon_mask(size(100, 100), &ellipse_outline(a, b));
            let expected = std::f32::consts::PI * 40.0 * 20.0;
            assert!((area(&mask) / expected - 1.0).abs() < 0.002);
        }
    }

    #[test]
    fn shapes_that_reach_beyond_the_canvas_are_cut() {
        let mask = polygon_mask(size(70, 70), &rectangle_outline([-500.0, -3.0], [500.0, 900.0]));
        assert_eq!(mask, Mask::full(size(70, 70)));
        let half = polygon_mask(
            size(10, 10),
            &[[-10.0, 0.0], [10.0, 0.0], [10.0, 10.0], [-10.0, 10.0]],
        );
        assert_eq!(half, Mask::full(size(10, 10)));
        let left = polygon_mask(size(10, 10), &rectangle_outline([-9.0, 0.0], [-1.0, 10.0]));
        assert!(left.is_empty());
        let right = polygon_mask(size(10, 10), &rectangle_outline([11.0, 0.0], [19.0, 10.0]));
        assert!(right.is_empty());
    }

    #[test]
    fn a_triangle_over_the_left_border_keeps_its_area_inside() {
        let mask = polygon_mask(size(20, 20), &[[-10.0, 0.0], [10.0, 0.0], [-10.0, 20.0]]);
        // Inside lies the triangle (0, 0), (10, 0), (0, 10).
        assert!((area(&mask) - 50.0).abs() < 0.3, "{}", area(&mask));
    }

    #[test]
    fn both_loops_of_an_eight_are_filled() {
        let eight = [[10.0, 10.0], [50.0, 30.0], [50.0, 10.0], [10.0, 30.0]];
        let mask = polygon_mask(size(60, 40), &eight);
        assert_eq!(mask.coverage(12, 20), 255);
        assert_eq!(mask.coverage(47, 20), 255);
        assert_eq!(mask.coverage(30, 12), 0);
    }

    #[test]
    fn modes_join_as_sets_do() {
        let canvas = size(130, 70);
        let left = polygon_mask(canvas, &rectangle_outline([0.0, 0.0], [80.0, 70.0]));
        let right = polygon_mask(canvas, &rectangle_outline([50.0, 0.0], [130.0, 70.0]));
        let at = |mode, x| combined(&left, &right, mode).coverage(x, 9);
        for (mode, expected) in [
            (ShapeMode::Add, [255, 255, 255]),
            (ShapeMode::Subtract, [255, 0, 0]),
            (ShapeMode::Intersect, [0, 255, 0]),
            (ShapeMode::Replace, [0, 255, 255]),
        ] {
            assert_eq!([at(mode, 20), at(mode, 60), at(mode, 100)], expected, "{mode:?}");
        }
        let other = Mask::full(size(64, 64));
        assert_eq!(combined(&left, &other, ShapeMode::Replace), left);
    }

    proptest! {
        #[test]
        fn any_lasso_is_filled_without_harm(
            points in proptest::collection::vec(any::<(f32, f32)>(), 0..20),
            near in proptest::collection::vec((-40f32..120.0, -40f32..120.0), 0..20),
        ) {
            let outline: Vec<Point> = points.into_iter().chain(near).map(|(x, y)| [x, y]).collect();
            let mask = polygon_mask(size(80, 65), &outline);
            prop_assert!(mask.bounds().is_none_or(|bounds| bounds.x1 <= 80 && bounds.y1 <= 65));
        }

        #[test]
        fn a_triangle_has_its_area(
            a in (1f32..79.0, 1f32..64.0), b in (1f32..79.0, 1f32..64.0), c in (1f32..79.0, 1f32..64.0)
        ) {
            let mask = polygon_mask(size(80, 65), &[[a.0, a.1], [b.0, b.1], [c.0, c.1]]);
            let exact = ((b.0 - a.0) * (c.1 - a.1) - (c.0 - a.0) * (b.1 - a.1)).abs() / 2.0;
            // Each of at most 300 border pixels is rounded to a 255th.
            prop_assert!((area(&mask) - exact).abs() < 0.6, "{} {exact}", area(&mask));
        }
    }
}
