//! Bucket fill and choice by colour.

use wordbrush_engine::api::{CanvasSize, Mask, Picture};

/// How far coverage may stand still on the way up or down a soft edge, in pixels. Where a wide brush's edge is gentle, a
/// step of one in 255 is some pixels wide; a line that was drawn with less than full coverage is wider, and an end.
const WIDEST_STEP_PX: usize = 12;

/// Which way a patch goes on beyond its tolerance, over the soft edge that stopped it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slope {
    /// Up to the ridge of the line around it, for a patch that is to be painted.
    Up,
    /// Down to the valley around it, for one that is to be cut out.
    Down,
}

/// Fills the patch of the mask around a pixel that is connected and about equally covered.
///
/// `tolerance` (0 to 255) is how far coverage may differ from that under the pixel. From there the patch goes on as long
/// as coverage rises, or falls, away from it: else what was painted with a soft brush would keep a pale seam, and what was
/// cut out a ghost of its outline. It ends on the ridge of a line that was drawn around it and never runs down behind
/// that. Returns the patch alone; empty beyond the canvas.
pub fn fill_on_mask(mask: &Mask, [x, y]: [u32; 2], tolerance: u8, slope: Slope) -> Mask {
    let size = mask.size();
    if x >= size.width() || y >= size.height() {
        return Mask::new(size);
    }
    let mut heights = mask.to_coverage();
    if slope == Slope::Down {
        for height in &mut heights {
            *height = 255 - *height;
        }
    }
    let seed = heights[y as usize * size.width() as usize + x as usize];
    let mut patch = flooded(size, [x, y], |index| heights[index].abs_diff(seed) <= tolerance);
    climb(&mut patch, &heights, size);
    Mask::from_coverage(size, &patch).expect("the patch was made for this size")
}

/// Fills the connected patch of a picture around a pixel whose colour is about the same.
///
/// The picture is stretched over the canvas. `tolerance` is 0 (the very same colour) to 1 (any).
pub fn fill_by_colour(picture: &Picture, canvas: CanvasSize, [x, y]: [u32; 2], tolerance: f32) -> Mask {
    let Some(seed) = colour_at(picture, canvas, [x, y]) else {
        return Mask::new(canvas);
    };
    let limit = squared_limit(tolerance);
    let lookup = Lookup::new(picture, canvas);
    let mut patch = flooded(canvas, [x, y], |index| {
        distance(lookup.colour(index), seed) <= limit
    });
    grow_by_one(&mut patch, canvas);
    Mask::from_coverage(canvas, &patch).expect("the patch was made for this size")
}

/// Everything in a picture whose colour is about `colour`, wherever it is, fading out towards the tolerance.
pub fn select_colour(picture: &Picture, canvas: CanvasSize, colour: [u8; 3], tolerance: f32) -> Mask {
    let limit = squared_limit(tolerance).max(1) as f32;
    let lookup = Lookup::new(picture, canvas);
    let coverage: Vec<u8> = (0..canvas.area())
        .map(|index| {
            let part = (distance(lookup.colour(index), colour) as f32 / limit).sqrt();
            // Solid for the nearer half of the tolerance, then down to nothing.
            ((2.0 - 2.0 * part).clamp(0.0, 1.0) * 255.0).round() as u8
        })
        .collect();
    Mask::from_coverage(canvas, &coverage).expect("coverage was made for this size")
}

/// Colour of the picture, stretched over the canvas, at a canvas pixel; `None` beyond the canvas.
pub fn colour_at(picture: &Picture, canvas: CanvasSize, [x, y]: [u32; 2]) -> Option<[u8; 3]> {
    (x < canvas.width() && y < canvas.height()).then(|| {
        let index = y as usize * canvas.width() as usize + x as usize;
        Lookup::new(picture, canvas).colour(index)
    })
}

/// Colours of a picture by canvas pixel.
struct Lookup<'a> {
    rgba: &'a [u8],
    columns: Vec<usize>,
    rows: Vec<usize>,
}

impl<'a> Lookup<'a> {
    fn new(picture: &'a Picture, canvas: CanvasSize) -> Self {
        let nearest = |canvas: u32, picture: u32| {
            (0..canvas)
                .map(|i| (u64::from(i) * u64::from(picture) / u64::from(canvas)) as usize)
                .collect()
        };
        let size = picture.size();
        let rows: Vec<usize> = nearest(canvas.height(), size.height());
        Self {
            rgba: picture.rgba(),
            columns: nearest(canvas.width(), size.width()),
            rows: rows.into_iter().map(|row| row * size.width() as usize).collect(),
        }
    }

    fn colour(&self, index: usize) -> [u8; 3] {
        let width = self.columns.len();
        let at = (self.rows[index / width] + self.columns[index % width]) * 4;
        [self.rgba[at], self.rgba[at + 1], self.rgba[at + 2]]
    }
}

/// Squared distance of two colours, weighted as the eye weighs red, green and blue; at most 9 * 255².
fn distance(a: [u8; 3], b: [u8; 3]) -> u32 {
    let squared = |channel: usize| u32::from(a[channel].abs_diff(b[channel])).pow(2);
    2 * squared(0) + 4 * squared(1) + 3 * squared(2)
}

fn squared_limit(tolerance: f32) -> u32 {
    let tolerance = if tolerance.is_nan() {
        0.0
    } else {
        tolerance.clamp(0.0, 1.0)
    };
    (tolerance * tolerance * (9 * 255 * 255) as f32) as u32
}

/// 255 for every pixel that can be reached from `start` through pixels that belong.
///
/// Whole runs of a row are filled at once and only their neighbours above and below looked at, so that the stack
/// stays short even on the largest canvas.
fn flooded(size: CanvasSize, [x, y]: [u32; 2], belongs: impl Fn(usize) -> bool) -> Vec<u8> {
    let (width, height) = (size.width() as usize, size.height() as usize);
    let mut filled = vec![0; size.area()];
    let mut starts = vec![(x as usize, y as usize)];
    while let Some((x, y)) = starts.pop() {
        let line = y * width;
        if filled[line + x] != 0 || !belongs(line + x) {
            continue;
        }
        let mut from = x;
        while from > 0 && filled[line + from - 1] == 0 && belongs(line + from - 1) {
            from -= 1;
        }
        let mut to = x + 1;
        while to < width && filled[line + to] == 0 && belongs(line + to) {
            to += 1;
        }
        filled[line + from..line + to].fill(255);
        let neighbours = [y.checked_sub(1), Some(y + 1).filter(|&y| y < height)];
        for other in neighbours.into_iter().flatten() {
            let line = other * width;
            let mut was_open = false;
            for x in from..to {
                let is_open = filled[line + x] == 0 && belongs(line + x);
                if is_open && !was_open {
                    starts.push((x, other));
                }
                was_open = is_open;
            }
        }
    }
    filled
}

/// Lets a patch take in every pixel around it to which heights rise without a fall.
fn climb(patch: &mut [u8], heights: &[u8], size: CanvasSize) {
    let around = |index| neighbours(index, size);
    let mut front: Vec<usize> = (0..patch.len())
        .filter(|&index| patch[index] > 0 && around(index).any(|next| patch[next] == 0))
        .collect();
    // Pixels of which it was found out already whether they are a step of the slope.
    let mut is_looked_at = vec![false; patch.len()];
    while let Some(index) = front.pop() {
        for next in around(index) {
            if patch[next] > 0 || heights[next] <= heights[index] {
                continue;
            }
            patch[next] = 255;
            front.push(next);
        }
        for on_step in step_at(index, patch, heights, &mut is_looked_at, size) {
            patch[on_step] = 255;
            front.push(on_step);
        }
    }
}

/// The pixels near `start`, which is part of the patch, that are as high and not yet part of it, if the slope goes on behind
/// them; none on a ridge.
fn step_at(
    start: usize,
    patch: &[u8],
    heights: &[u8],
    is_looked_at: &mut [bool],
    size: CanvasSize,
) -> Vec<usize> {
    let height = heights[start];
    if height == 255 {
        return Vec::new();
    }
    let mut step = vec![start];
    let mut goes_on = false;
    let mut ring = 0..1;
    for _ in 0..=WIDEST_STEP_PX {
        for place in ring.clone() {
            for next in neighbours(step[place], size) {
                // Whether or not somebody has been there before.
                goes_on |= heights[next] > height;
                let is_new = heights[next] == height && patch[next] == 0;
                if is_new && !std::mem::replace(&mut is_looked_at[next], true) {
                    step.push(next);
                }
            }
        }
        ring = ring.end..step.len();
    }
    if goes_on { step.split_off(1) } else { Vec::new() }
}

fn grow_by_one(patch: &mut [u8], size: CanvasSize) {
    let before = patch.to_vec();
    for (index, out) in patch.iter_mut().enumerate() {
        if *out == 0 && neighbours(index, size).any(|neighbour| before[neighbour] > 0) {
            *out = 255;
        }
    }
}

/// The pixels left, right, above and below of one.
fn neighbours(index: usize, size: CanvasSize) -> impl Iterator<Item = usize> {
    let width = size.width() as usize;
    let x = index % width;
    [
        (x > 0).then(|| index - 1),
        (x + 1 < width).then(|| index + 1),
        index.checked_sub(width),
        Some(index + width).filter(|&below| below < size.area()),
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    use wordbrush_engine::api::RegionId;

    use super::*;
    use crate::paint::{
        BrushSettings, Ink, PenSample, Point, ShapeMode, Stroke, Symmetry, combined, ellipse_outline,
        polygon_mask, rectangle_outline,
    };

    fn size(width: u32, height: u32) -> CanvasSize {
        CanvasSize::new(width, height).unwrap()
    }

    fn ring(canvas: CanvasSize) -> Mask {
        let outer = polygon_mask(canvas, &ellipse_outline([10.0, 10.0], [90.0, 90.0]));
        let inner = polygon_mask(canvas, &ellipse_outline([20.0, 20.0], [80.0, 80.0]));
        combined(&outer, &inner, ShapeMode::Subtract)
    }

    /// A mask that a brush of 48 pixels has painted along a line.
    fn stroke(canvas: CanvasSize, hardness: f32, line: &[Point]) -> Mask {
        let sample = |&position: &Point| PenSample {
            position,
            pressure: 1.0,
            time_secs: 0.0,
        };
        let brush = BrushSettings {
            hardness,
            ..BrushSettings::default()
        };
        let mask = Mask::new(canvas);
        let (first, rest) = line.split_first().unwrap();
        let (ink, middle) = (Ink::Paint, [0.0; 2]);
        let mut stroke = Stroke::begin(
            RegionId(1),
            mask.clone(),
            brush,
            ink,
            Symmetry::Off,
            middle,
            sample(first),
        );
        for point in rest {
            stroke.push(sample(point));
        }
        stroke.into_ink().over(&mask)
    }

    /// Distance of a pixel's middle from a point.
    fn distance_from([x, y]: Point, pixel: [u32; 2]) -> f32 {
        (pixel[0] as f32 + 0.5 - x).hypot(pixel[1] as f32 + 0.5 - y)
    }

    #[test]
    fn a_ring_drawn_with_a_soft_brush_is_filled_up_to_its_ridge_and_not_beyond() {
        let canvas = size(300, 300);
        let mut line = ellipse_outline([50.0, 50.0], [250.0, 250.0]);
        line.push(line[0]);
        for hardness in [0.8, 0.4, 0.0] {
            let ring = stroke(canvas, hardness, &line);
            let disc = combined(
                &ring,
                &fill_on_mask(&ring, [150, 150], 38, Slope::Up),
                ShapeMode::Add,
            );
            for [x, y] in pixels(canvas) {
                let (before, after) = (ring.coverage(x, y), disc.coverage(x, y));
                match distance_from([150.0, 150.0], [x, y]) {
                    ..99.0 => assert_eq!(after, 255, "{hardness}: a seam at {x}, {y}, {before} before"),
                    101.5.. => assert_eq!(after, before, "{hardness}: outside at {x}, {y}"),
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn a_line_that_is_not_fully_covered_is_an_end_all_the_same() {
        let canvas = size(300, 300);
        let mut line = ellipse_outline([50.0, 50.0], [250.0, 250.0]);
        line.push(line[0]);
        let half: Vec<u8> = stroke(canvas, 0.8, &line)
            .to_coverage()
            .iter()
            .map(|&coverage| coverage / 2)
            .collect();
        let ring = Mask::from_coverage(canvas, &half).unwrap();
        let patch = fill_on_mask(&ring, [150, 150], 38, Slope::Up);
        for [x, y] in pixels(canvas) {
            match distance_from([150.0, 150.0], [x, y]) {
                ..79.0 => assert_eq!(patch.coverage(x, y), 255, "{x}, {y}"),
                84.0.. => assert_eq!(patch.coverage(x, y), 0, "{x}, {y}"),
                _ => {}
            }
        }
    }

    #[test]
    fn a_gentle_slope_is_climbed_though_it_stands_still_from_pixel_to_pixel() {
        let canvas = size(1200, 40);
        let valley: Vec<u8> = (0..canvas.area())
            .map(|index| (index % 1200) as i64 - 600)
            .map(|x| (x.unsigned_abs() / 2).min(255).min(600 - x.unsigned_abs()) as u8)
            .collect();
        let mask = Mask::from_coverage(canvas, &valley).unwrap();
        let patch = fill_on_mask(&mask, [600, 20], 10, Slope::Up);
        for [x, y] in pixels(canvas) {
            let expected = if (200..=1000).contains(&x) { 255 } else { 0 };
            assert_eq!(patch.coverage(x, y), expected, "{x}, {y}");
        }
    }

    #[test]
    fn a_patch_that_is_cut_out_leaves_nothing_of_its_soft_edge() {
        let canvas = size(300, 200);
        for hardness in [0.8, 0.4, 0.0] {
            let painted = stroke(canvas, hardness, &[[60.0, 60.0], [230.0, 140.0]]);
            for pixel in [[60, 60], [145, 100]] {
                let patch = fill_on_mask(&painted, pixel, 38, Slope::Down);
                assert!(
                    combined(&painted, &patch, ShapeMode::Subtract).is_empty(),
                    "{hardness}"
                );
            }
        }
    }

    fn pixels(canvas: CanvasSize) -> impl Iterator<Item = [u32; 2]> {
        (0..canvas.height()).flat_map(move |y| (0..canvas.width()).map(move |x| [x, y]))
    }

    #[test]
    fn a_closed_ring_with_crisp_edges_is_filled_inside_only() {
        let canvas = size(100, 100);
        let ring = ring(canvas);
        let patch = fill_on_mask(&ring, [50, 50], 100, Slope::Up);
        assert_eq!(patch.coverage(50, 50), 255);
        assert_eq!(patch.coverage(2, 2), 0);
        let disc = combined(&ring, &patch, ShapeMode::Add);
        for x in 15..85 {
            assert_eq!(disc.coverage(x, 50), 255, "{x}");
        }
    }

    #[test]
    fn fill_beyond_the_canvas_does_nothing() {
        let canvas = size(10, 10);
        assert!(fill_on_mask(&Mask::new(canvas), [10, 0], 10, Slope::Up).is_empty());
        let picture = Picture::solid(canvas, [1; 4]);
        assert!(fill_by_colour(&picture, canvas, [0, 10], 1.0).is_empty());
    }

    #[test]
    fn a_winding_corridor_is_filled_to_its_end() {
        // Walls on every second row with a gap at alternating ends.
        let canvas = size(65, 65);
        let coverage: Vec<u8> = (0..canvas.area())
            .map(|i| {
                let (x, y) = (i % 65, i / 65);
                let gap = if y % 4 == 1 { 64 } else { 0 };
                if y % 2 == 1 && x != gap { 255 } else { 0 }
            })
            .collect();
        let mask = Mask::from_coverage(canvas, &coverage).unwrap();
        let patch = fill_on_mask(&mask, [0, 0], 0, Slope::Up);
        assert_eq!(patch.coverage(30, 64), 255);
    }

    fn halves() -> Picture {
        let rgba: Vec<u8> = (0..20 * 10)
            .flat_map(|i| match i % 20 {
                0..5 | 15..20 => [250, 10, 10, 255],
                _ => [10, 10, 250, 255],
            })
            .collect();
        Picture::new(size(20, 10), rgba).unwrap()
    }

    #[test]
    fn colour_fill_is_connected_and_colour_choice_is_not() {
        let canvas = size(80, 40);
        let patch = fill_by_colour(&halves(), canvas, [3, 3], 0.2);
        assert_eq!(
            (
                patch.coverage(10, 20),
                patch.coverage(40, 20),
                patch.coverage(75, 20)
            ),
            (255, 0, 0)
        );
        let colour = colour_at(&halves(), canvas, [3, 3]).unwrap();
        assert_eq!(colour, [250, 10, 10]);
        let chosen = select_colour(&halves(), canvas, colour, 0.2);
        assert_eq!(
            (
                chosen.coverage(10, 20),
                chosen.coverage(40, 20),
                chosen.coverage(75, 20)
            ),
            (255, 0, 255)
        );
    }

    #[test]
    fn a_crisp_rectangle_is_taken_as_it_is() {
        let canvas = size(64, 64);
        let mask = polygon_mask(canvas, &rectangle_outline([8.0, 8.0], [16.0, 16.0]));
        let up = fill_on_mask(&mask, [9, 9], 20, Slope::Up);
        assert_eq!(up, mask);
        let down = fill_on_mask(&mask, [9, 9], 20, Slope::Down);
        assert!(combined(&mask, &down, ShapeMode::Subtract).is_empty());
    }
}
