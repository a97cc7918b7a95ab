//! Gaussian blur of coverage, evaluated only where it is looked at.
//!
//! A latent has one cell where the picture has 8 x 8 pixels, and masks are sampled at each block's top left pixel. So
//! only one blurred value of 64 is ever needed. The kernel is separable: each sampled row is summed from the rows around
//! it, then each sampled column from its neighbours.
//!
//! Every value is the same sum in the same order, whatever other values are asked for with it. That is what makes a
//! recomputed patch identical to a recomputed picture.

use rayon::prelude::*;

/// Sampled rows that share one reading of the source.
const BAND_ROWS: usize = 16;
/// A standard deviation of 0 in a request that blurs other masks.
const LEAST_STD: f64 = 1e-5;

/// Coverage that can be read by rows.
pub trait CoverageRows: Sync {
    /// Columns.
    fn width(&self) -> usize;
    /// Rows.
    fn height(&self) -> usize;
    /// Writes the coverage (0 to 1) of row `y` from column `x0` on, and says whether any of it is not 0.
    fn read_row(&self, y: usize, x0: usize, out: &mut [f32]) -> bool;
}

/// A plane of coverage in memory.
#[derive(Clone, Copy, Debug)]
pub struct Plane<'a> {
    /// Columns.
    pub width: usize,
    /// Row-major values; whole rows.
    pub values: &'a [f32],
}

impl CoverageRows for Plane<'_> {
    fn width(&self) -> usize {
        self.width
    }

    fn height(&self) -> usize {
        self.values.len() / self.width.max(1)
    }

    fn read_row(&self, y: usize, x0: usize, out: &mut [f32]) -> bool {
        let start = y * self.width + x0;
        out.copy_from_slice(&self.values[start..start + out.len()]);
        out.iter().any(|&value| value != 0.0)
    }
}

/// One dimension of a Gaussian, normalised, with an odd number of weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    weights: Vec<f32>,
}

impl Kernel {
    /// The window that a standard deviation needs: three of it on each side, in pixels.
    pub fn radius_for(std_px: f32) -> usize {
        (3.0 * std_px.max(0.0)).ceil() as usize
    }

    /// A Gaussian of a standard deviation in a window that may be wider or narrower than it needs.
    pub fn gaussian(std_px: f32, radius: usize) -> Self {
        let std = f64::from(std_px).max(LEAST_STD);
        let raw: Vec<f64> = (0..=2 * radius)
            .map(|i| {
                let distance = (i as f64 - radius as f64) / std;
                (-0.5 * distance * distance).exp()
            })
            .collect();
        let sum: f64 = raw.iter().sum();
        Self {
            weights: raw.iter().map(|weight| (weight / sum) as f32).collect(),
        }
    }

    /// Pixels that the window reaches to each side.
    pub fn radius(&self) -> usize {
        self.weights.len() / 2
    }
}

/// Blurred coverage at each of `ys` x `xs`, row-major. Beyond its edges the source repeats its edge pixels.
///
/// `xs` and `ys` rise and lie on the source.
pub fn blur_at(source: &impl CoverageRows, kernel: &Kernel, xs: &[usize], ys: &[usize]) -> Vec<f32> {
    let mut out = vec![0.0; xs.len() * ys.len()];
    if !out.is_empty() {
        out.par_chunks_mut(xs.len() * BAND_ROWS)
            .zip(ys.par_chunks(BAND_ROWS))
            .for_each(|(out, ys)| blur_band(source, kernel, xs, ys, out));
    }
    out
}

fn blur_band(source: &impl CoverageRows, kernel: &Kernel, xs: &[usize], ys: &[usize], out: &mut [f32]) {
    let radius = kernel.radius();
    let (first_x, last_x) = (xs[0], xs[xs.len() - 1]);
    let columns = first_x.saturating_sub(radius)..(last_x + radius + 1).min(source.width());
    let rows = ys[0].saturating_sub(radius)..(ys[ys.len() - 1] + radius + 1).min(source.height());

    let mut pixels = vec![0.0; rows.len() * columns.len()];
    let has_paint: Vec<bool> = pixels
        .chunks_exact_mut(columns.len())
        .zip(rows.clone())
        .map(|(line, y)| source.read_row(y, columns.start, line))
        .collect();
    if !has_paint.contains(&true) {
        return;
    }

    // The summed row, with `radius` repeated pixels wherever the window leaves the source.
    let (left, right) = (
        radius - (first_x - columns.start),
        radius + 1 - (columns.end - last_x),
    );
    let mut summed = vec![0.0_f32; left + columns.len() + right];
    for (&y, out) in ys.iter().zip(out.chunks_exact_mut(xs.len())) {
        summed.fill(0.0);
        let inner = &mut summed[left..left + columns.len()];
        for (k, &weight) in kernel.weights.iter().enumerate() {
            let row = (y + k).saturating_sub(radius).min(source.height() - 1) - rows.start;
            if has_paint[row] {
                let line = &pixels[row * columns.len()..][..columns.len()];
                for (sum, &pixel) in inner.iter_mut().zip(line) {
                    *sum += weight * pixel;
                }
            }
        }
        let (first, last) = (inner[0], inner[inner.len() - 1]);
        summed[..left].fill(first);
        let end = summed.len() - right;
        summed[end..].fill(last);
        for (out, &x) in out.iter_mut().zip(xs) {
            *out = dot(&kernel.weights, &summed[x - first_x..]);
        }
    }
}

/// Sum of products over the length of `a`, in eight interleaved lanes.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let b = &b[..a.len()];
    let (a_chunks, a_rest) = a.as_chunks::<8>();
    let (b_chunks, b_rest) = b.as_chunks::<8>();
    let mut lanes = [0.0_f32; 8];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..8 {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition: a two-dimensional window around each pixel, in double precision.
    fn blur_by_definition(plane: Plane<'_>, std: f64, radius: usize, x: usize, y: usize) -> f64 {
        let (width, height) = (plane.width() as i64, plane.height() as i64);
        let (mut sum, mut weights) = (0.0, 0.0);
        let reach = radius as i64;
        for dy in -reach..=reach {
            for dx in -reach..=reach {
                let weight = (-0.5 * (dx * dx + dy * dy) as f64 / (std * std)).exp();
                let row = (y as i64 + dy).clamp(0, height - 1);
                let column = (x as i64 + dx).clamp(0, width - 1);
                sum += weight * f64::from(plane.values[(row * width + column) as usize]);
                weights += weight;
            }
        }
        sum / weights
    }

    fn speckled(width: usize, height: usize) -> Vec<f32> {
        (0..width * height)
            .map(|i| {
                if i * 7919 % 13 < 4 {
                    (i % 5) as f32 / 4.0
                } else {
                    0.0
                }
            })
            .collect()
    }

    #[test]
    fn sampled_blur_is_the_two_dimensional_window() {
        let values = speckled(37, 23);
        let plane = Plane {
            width: 37,
            values: &values,
        };
        for (std, radius) in [(2.0_f32, 6), (0.8, 7), (9.0, 27)] {
            let kernel = Kernel::gaussian(std, radius);
            let (xs, ys) = ([0, 8, 16, 24, 32, 36], [0, 1, 8, 16, 22]);
            let blurred = blur_at(&plane, &kernel, &xs, &ys);
            for (i, &value) in blurred.iter().enumerate() {
                let (x, y) = (xs[i % xs.len()], ys[i / xs.len()]);
                let expected = blur_by_definition(plane, f64::from(std), radius, x, y);
                assert!(
                    (f64::from(value) - expected).abs() < 1e-6,
                    "std {std} at {x},{y}: {value} against {expected}"
                );
            }
        }
    }

    #[test]
    fn a_patch_is_identical_to_the_same_part_of_the_whole() {
        let values = speckled(150, 90);
        let plane = Plane {
            width: 150,
            values: &values,
        };
        let kernel = Kernel::gaussian(5.0, 15);
        let all_x: Vec<usize> = (0..150).step_by(8).collect();
        let all_y: Vec<usize> = (0..90).step_by(8).collect();
        let whole = blur_at(&plane, &kernel, &all_x, &all_y);
        let patch = blur_at(&plane, &kernel, &all_x[3..9], &all_y[2..7]);
        for (row, line) in patch.chunks_exact(6).enumerate() {
            assert_eq!(line, &whole[(row + 2) * all_x.len() + 3..][..6]);
        }
    }

    #[test]
    fn no_deviation_leaves_coverage_as_it_is() {
        let values = speckled(16, 9);
        let plane = Plane {
            width: 16,
            values: &values,
        };
        let xs: Vec<usize> = (0..16).collect();
        let ys: Vec<usize> = (0..9).collect();
        assert_eq!(blur_at(&plane, &Kernel::gaussian(0.0, 6), &xs, &ys), values);
        assert_eq!(blur_at(&plane, &Kernel::gaussian(0.0, 0), &xs, &ys), values);
    }
}
