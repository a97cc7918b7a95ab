//! Bucket fill and choice by colour.

use wordbrush_engine::api::{CanvasSize, Mask, Picture};

/// Fills the patch of the mask around a pixel that is connected and about equally covered.
///
/// `tolerance` (0 to 255) is how far coverage may differ from that under the pixel. The patch grows by a pixel, so
/// that no pale seam is left along the soft edge that stopped it. Returns the patch alone; empty beyond the canvas.
pub fn fill_on_mask(mask: &Mask, [x, y]: [u32; 2], tolerance: u8) -> Mask {
    let size = mask.size();
    if x >= size.width() || y >= size.height() {
        return Mask::new(size);
    }
    let coverage = mask.to_coverage();
    let seed = mask.coverage(x, y);
    let mut patch = flooded(size, [x, y], |index| coverage[index].abs_diff(seed) <= tolerance);
    grow_by_one(&mut patch, size);
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

fn grow_by_one(patch: &mut [u8], size: CanvasSize) {
    let width = size.width() as usize;
    let before = patch.to_vec();
    for (index, out) in patch.iter_mut().enumerate() {
        let x = index % width;
        let mut neighbours = [
            (x > 0).then(|| index - 1),
            (x + 1 < width).then(|| index + 1),
            index.checked_sub(width),
            Some(index + width).filter(|&below| below < before.len()),
        ]
        .into_iter()
        .flatten();
        if *out == 0 && neighbours.any(|neighbour| before[neighbour] > 0) {
            *out = 255;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paint::{ShapeMode, combined, ellipse_outline, polygon_mask, rectangle_outline};

    fn size(width: u32, height: u32) -> CanvasSize {
        CanvasSize::new(width, height).unwrap()
    }

    fn ring(canvas: CanvasSize) -> Mask {
        let outer = polygon_mask(canvas, &ellipse_outline([10.0, 10.0], [90.0, 90.0]));
        let inner = polygon_mask(canvas, &ellipse_outline([20.0, 20.0], [80.0, 80.0]));
        combined(&outer, &inner, ShapeMode::Subtract)
    }

    #[test]
    fn a_closed_ring_is_filled_inside_only_and_without_a_seam() {
        let canvas = size(100, 100);
        let ring = ring(canvas);
        let patch = fill_on_mask(&ring, [50, 50], 100);
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
        assert!(fill_on_mask(&Mask::new(canvas), [10, 0], 10).is_empty());
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
        assert_eq!(fill_on_mask(&mask, [0, 0], 0).coverage(30, 64), 255);
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
    fn a_rectangle_of_the_mask_can_be_refilled() {
        let canvas = size(64, 64);
        let mask = polygon_mask(canvas, &rectangle_outline([8.0, 8.0], [16.0, 16.0]));
        let patch = fill_on_mask(&mask, [9, 9], 20);
        assert_eq!(
            patch.bounds(),
            wordbrush_engine::api::PixelRect::new(7, 7, 17, 17)
        );
    }
}
