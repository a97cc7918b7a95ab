//! Grow, shrink, feather and invert a whole mask.

use wordbrush_engine::api::{CanvasSize, Mask, PixelRect};

/// The mask grown by a radius in pixels: each pixel takes the highest coverage within a disc around it.
#[must_use]
pub fn grown(mask: &Mask, radius_px: f32) -> Mask {
    let radius = whole_radius(radius_px);
    let Some(bounds) = mask.bounds().filter(|_| radius > 0) else {
        return mask.clone();
    };
    let area = bounds.grown(radius, mask.size());
    let grown = disc_maximum(&mask.read_rect(area), area.width() as usize, radius as usize);
    with_rect(mask.size(), area, &grown)
}

/// The mask shrunk by a radius in pixels; it does not draw back from the edges of the canvas.
#[must_use]
pub fn shrunk(mask: &Mask, radius_px: f32) -> Mask {
    let radius = whole_radius(radius_px);
    let Some(bounds) = mask.bounds().filter(|_| radius > 0) else {
        return mask.clone();
    };
    // One pixel more, so that what surrounds the painted part takes part.
    let area = bounds.grown(1, mask.size());
    let mut outside: Vec<u8> = mask.read_rect(area).iter().map(|value| 255 - value).collect();
    outside = disc_maximum(&outside, area.width() as usize, radius as usize);
    let inside: Vec<u8> = outside.iter().map(|value| 255 - value).collect();
    with_rect(mask.size(), area, &inside)
}

/// The mask blurred by a standard deviation in pixels; at the canvas edge it goes on as it ends.
#[must_use]
pub fn feathered(mask: &Mask, std_px: f32) -> Mask {
    let std_px = if std_px.is_nan() {
        0.0
    } else {
        std_px.clamp(0.0, 500.0)
    };
    let Some(bounds) = mask.bounds().filter(|_| std_px > 0.05) else {
        return mask.clone();
    };
    let area = bounds.grown((std_px * 3.0).ceil() as u32 + 1, mask.size());
    let (width, height) = (area.width() as usize, area.height() as usize);
    let mut values: Vec<f32> = mask.read_rect(area).into_iter().map(f32::from).collect();
    // Three box blurs are a Gaussian to within a few hundredths, at a cost that does not grow with the radius.
    let radius = box_radius(std_px);
    for _ in 0..3 {
        let mut across = vec![0.0; values.len()];
        for (from, to) in values.chunks_exact(width).zip(across.chunks_exact_mut(width)) {
            box_blur_line(from, to, radius);
        }
        values = box_blur_columns(&across, width, height, radius);
    }
    let coverage: Vec<u8> = values
        .iter()
        .map(|value| value.round().clamp(0.0, 255.0) as u8)
        .collect();
    with_rect(mask.size(), area, &coverage)
}

/// What the mask does not cover.
#[must_use]
pub fn inverted(mask: &Mask) -> Mask {
    let mut out = Mask::full(mask.size());
    let (columns, rows) = mask.tile_grid();
    for row in 0..rows {
        for column in 0..columns {
            if let Some(tile) = mask.tile(column, row) {
                for (out, &covered) in out.tile_mut(column, row).iter_mut().zip(tile.iter()) {
                    // Beyond the canvas edge both are 0.
                    *out = out.saturating_sub(covered);
                }
            }
        }
    }
    out.trim();
    out
}

fn whole_radius(radius_px: f32) -> u32 {
    radius_px.round().clamp(0.0, 1000.0) as u32
}

fn with_rect(size: CanvasSize, area: PixelRect, values: &[u8]) -> Mask {
    let width = size.width() as usize;
    let mut coverage = vec![0; size.area()];
    for (y, line) in values.chunks_exact(area.width() as usize).enumerate() {
        let start = (area.y0 as usize + y) * width + area.x0 as usize;
        coverage[start..start + line.len()].copy_from_slice(line);
    }
    Mask::from_coverage(size, &coverage).expect("coverage was made for this size")
}

/// Highest value within a disc around every pixel.
///
/// The disc is taken row by row, from its narrow ends to the middle. A line's maximum over one width follows from
/// that over the width before with one comparison a pixel, which runs over many pixels at once; the widened line is
/// then laid over the lines above and below at which the disc is that wide.
fn disc_maximum(values: &[u8], width: usize, radius: usize) -> Vec<u8> {
    let height = values.len() / width;
    let reach = radius as f32 + 0.5;
    let half_widths: Vec<usize> = (0..=radius)
        .map(|dy| ((reach * reach - (dy * dy) as f32).max(0.0)).sqrt() as usize)
        .collect();
    let mut out = vec![0; values.len()];
    let mut widened = WidenedLine::new(width, half_widths[0]);
    for (y, line) in values.chunks_exact(width).enumerate() {
        if line.iter().all(|&value| value == 0) {
            continue;
        }
        widened.start(line);
        for (dy, &half_width) in half_widths.iter().enumerate().rev() {
            let widened = widened.widen_to(half_width);
            let above = y.checked_sub(dy);
            let below = Some(y + dy).filter(|&y| y < height && dy > 0);
            for y in above.into_iter().chain(below) {
                for (out, &value) in out[y * width..(y + 1) * width].iter_mut().zip(widened) {
                    *out = (*out).max(value);
                }
            }
        }
    }
    out
}

/// A line in which every pixel has taken the highest value of those within `half_width` to both sides.
struct WidenedLine {
    /// With `margin` pixels of 0 before and behind, so that no end is special.
    values: Vec<u8>,
    next: Vec<u8>,
    margin: usize,
    half_width: usize,
}

impl WidenedLine {
    fn new(width: usize, margin: usize) -> Self {
        Self {
            values: vec![0; width + 2 * margin],
            next: vec![0; width + 2 * margin],
            margin,
            half_width: 0,
        }
    }

    fn start(&mut self, line: &[u8]) {
        self.values.fill(0);
        self.values[self.margin..self.margin + line.len()].copy_from_slice(line);
        self.half_width = 0;
    }

    /// Widens; `half_width` must not fall and not exceed the margin.
    fn widen_to(&mut self, half_width: usize) -> &[u8] {
        while self.half_width < half_width {
            // Windows moved by so much to both sides still overlap or touch, so that together they are one window.
            let step = (half_width - self.half_width).min(self.half_width.max(1));
            let length = self.values.len();
            let (before, here, behind) = (
                &self.values[..length - 2 * step],
                &self.values[step..length - step],
                &self.values[2 * step..],
            );
            let inner = &mut self.next[step..length - step];
            for (((out, &a), &b), &c) in inner.iter_mut().zip(before).zip(here).zip(behind) {
                *out = a.max(b).max(c);
            }
            // The outermost pixels of the margin are never read back into the line.
            std::mem::swap(&mut self.values, &mut self.next);
            self.half_width += step;
        }
        &self.values[self.margin..self.values.len() - self.margin]
    }
}

/// Radius of the box that, applied three times, blurs with a standard deviation.
///
/// Each blur must have a third of the variance. The box's ends take part with the fraction of the radius, which
/// is solved for; rounding the radius instead would make narrow blurs jump.
fn box_radius(std_px: f32) -> f32 {
    let variance = std_px * std_px / 3.0;
    let whole = (((12.0 * variance + 1.0).sqrt() - 1.0) / 2.0).floor();
    let squares = whole * (whole + 1.0) * (2.0 * whole + 1.0) / 3.0;
    let end = (whole + 1.0) * (whole + 1.0);
    let part = (variance * (2.0 * whole + 1.0) - squares) / (2.0 * (end - variance));
    // Just below a whole number, rounding could spill over into the next one.
    whole + part.clamp(0.0, 0.999)
}

/// Mean over a window that reaches `radius` (may be fractional) to both sides; ends go on as they are.
fn box_blur_line(from: &[f32], to: &mut [f32], radius: f32) {
    let (whole, part) = (radius as usize, radius.fract());
    let at = |i: isize| from[i.clamp(0, from.len() as isize - 1) as usize];
    let scale = 1.0 / (2.0 * radius + 1.0);
    let reach = whole as isize;
    // Doubles: a running sum of floats would drift over a long line.
    let mut sum: f64 = (-reach..=reach).map(|i| f64::from(at(i))).sum();
    for (i, out) in to.iter_mut().enumerate() {
        let i = i as isize;
        let ends = at(i - reach - 1) + at(i + reach + 1);
        *out = (sum as f32 + part * ends) * scale;
        sum += f64::from(at(i + reach + 1)) - f64::from(at(i - reach));
    }
}

/// As [`box_blur_line`], for all columns at once, so that memory is read row by row.
fn box_blur_columns(values: &[f32], width: usize, height: usize, radius: f32) -> Vec<f32> {
    let (reach, part) = (radius as isize, radius.fract());
    let scale = 1.0 / (2.0 * radius + 1.0);
    let line = |y: isize| {
        let y = y.clamp(0, height as isize - 1) as usize;
        &values[y * width..(y + 1) * width]
    };
    let mut sums = vec![0.0_f64; width];
    for y in -reach..=reach {
        for (sum, &value) in sums.iter_mut().zip(line(y)) {
            *sum += f64::from(value);
        }
    }
    let mut out = vec![0.0; values.len()];
    for (y, out) in out.chunks_exact_mut(width).enumerate() {
        let y = y as isize;
        let (leaving, before, coming) = (line(y - reach), line(y - reach - 1), line(y + reach + 1));
        for (x, out) in out.iter_mut().enumerate() {
            *out = (sums[x] as f32 + part * (before[x] + coming[x])) * scale;
            sums[x] += f64::from(coming[x]) - f64::from(leaving[x]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paint::{ellipse_outline, polygon_mask, rectangle_outline};

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
    fn growing_a_point_gives_a_disc() {
        let canvas = size(80, 80);
        let mut mask = Mask::new(canvas);
        mask.tile_mut(0, 0)[40 * 64 + 40] = 200;
        let disc = grown(&mask, 12.0);
        assert_eq!(disc.bounds(), PixelRect::new(28, 28, 53, 53));
        for y in 0..80_u32 {
            for x in 0..80_u32 {
                let distance = f64::from(x.abs_diff(40)).hypot(f64::from(y.abs_diff(40)));
                if (distance - 12.25).abs() > 0.5 {
                    let expected = if distance < 12.25 { 200 } else { 0 };
                    assert_eq!(disc.coverage(x, y), expected, "{x}, {y}");
                }
            }
        }
    }

    #[test]
    fn growing_and_shrinking_move_the_edge_by_the_radius() {
        let canvas = size(200, 200);
        let disc =
            |radius: f32| polygon_mask(canvas, &ellipse_outline([100.0 - radius; 2], [100.0 + radius; 2]));
        for (changed, radius) in [
            (grown(&disc(50.0), 20.0), 70.0),
            (shrunk(&disc(50.0), 20.0), 30.0),
        ] {
            let ratio = area(&changed) / area(&disc(radius));
            assert!((ratio - 1.0).abs() < 0.04, "{radius}: {ratio}");
        }
    }

    #[test]
    fn shrinking_stays_at_the_canvas_edge() {
        let canvas = size(100, 60);
        let half = polygon_mask(canvas, &rectangle_outline([0.0, 0.0], [50.0, 60.0]));
        assert_eq!(shrunk(&half, 10.0).bounds(), PixelRect::new(0, 0, 40, 60));
        assert_eq!(shrunk(&Mask::full(canvas), 10.0), Mask::full(canvas));
        assert!(shrunk(&half, 500.0).is_empty());
    }

    #[test]
    fn feathering_is_a_gaussian_of_that_width() {
        let canvas = size(300, 40);
        let half = polygon_mask(canvas, &rectangle_outline([0.0, 0.0], [150.0, 40.0]));
        for std_px in [2.0_f32, 8.5, 30.0] {
            let soft = feathered(&half, std_px);
            // At one deviation a Gaussian edge stands at 15.9 %, in the middle at 50 %.
            let at = |offset: f32| {
                let x = (149.5 + offset).max(0.0);
                let (low, part) = (x as u32, x.fract());
                f32::from(soft.coverage(low, 20)) * (1.0 - part)
                    + f32::from(soft.coverage(low + 1, 20)) * part
            };
            assert!((at(0.0) - 127.5).abs() < 2.0, "{std_px}: {}", at(0.0));
            assert!((at(std_px) - 40.5).abs() < 4.0, "{std_px}: {}", at(std_px));
            assert_eq!(soft.coverage(0, 0), 255);
            assert_eq!(soft.coverage(20, 0), soft.coverage(20, 39));
        }
    }

    #[test]
    fn inverting_twice_is_nothing_and_respects_the_edge() {
        let canvas = size(100, 70);
        let mask = polygon_mask(canvas, &ellipse_outline([10.0, 10.0], [90.0, 60.0]));
        let inverse = inverted(&mask);
        assert_eq!(inverse.coverage(0, 0), 255);
        assert_eq!(inverse.coverage(50, 35), 0);
        assert_eq!(inverse.bounds(), PixelRect::new(0, 0, 100, 70));
        assert_eq!(inverted(&inverse), mask);
        assert!(inverted(&Mask::full(canvas)).is_empty());
    }

    #[test]
    fn numbers_without_sense_change_nothing() {
        let mask = Mask::full(size(64, 64));
        for value in [f32::NAN, -3.0, 0.0] {
            assert_eq!(grown(&mask, value), mask);
            assert_eq!(shrunk(&mask, value), mask);
            assert_eq!(feathered(&mask, value), mask);
        }
    }
}
