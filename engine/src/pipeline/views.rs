//! Windows on a canvas that is larger than what the model was trained for.
//!
//! Where windows overlap, their results are averaged under weights that fall towards a window's inner edges, so that no
//! seam shows.

use candle_core::{Device, Result, Tensor};

use crate::stream::masks::LatentSize;

/// A window, in latent cells.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows and columns.
    pub size: LatentSize,
    /// `[h, w]`: how much its result counts.
    pub weights: Vec<f32>,
}

impl View {
    /// What the window shows of a latent: `[b, c, H, W]` to `[b, c, h, w]`.
    ///
    /// # Errors
    /// If the window reaches beyond the latent.
    pub fn of(&self, latent: &Tensor) -> Result<Tensor> {
        latent
            .narrow(2, self.top, self.size.height)?
            .narrow(3, self.left, self.size.width)
    }

    /// What the window shows of a plane of `[H, W]` values that are `width` wide.
    pub fn of_plane(&self, plane: &[f32], width: usize) -> Vec<f32> {
        plane
            .chunks_exact(width)
            .skip(self.top)
            .take(self.size.height)
            .flat_map(|line| &line[self.left..self.left + self.size.width])
            .copied()
            .collect()
    }

    /// The window's values in a canvas of zeros: `[b, c, h, w]` to `[b, c, H, W]`.
    fn embedded(&self, values: &Tensor, canvas: LatentSize) -> Result<Tensor> {
        let below = canvas.height - self.top - self.size.height;
        let right = canvas.width - self.left - self.size.width;
        values
            .pad_with_zeros(2, self.top, below)?
            .pad_with_zeros(3, self.left, right)
    }
}

/// The windows of a canvas; together they cover it.
#[derive(Clone, Debug, PartialEq)]
pub struct Views {
    canvas: LatentSize,
    views: Vec<View>,
}

impl Views {
    /// One window that shows everything.
    pub fn whole(canvas: LatentSize) -> Self {
        let view = View {
            top: 0,
            left: 0,
            size: canvas,
            weights: vec![1.0; canvas.area()],
        };
        Self {
            canvas,
            views: vec![view],
        }
    }

    /// Windows of `window` x `window` cells every half window, the last ones cut at the canvas' edge: the layout of the
    /// reference. Weights are linear over half a window and 1 towards the canvas' edges.
    pub fn half_overlapping(canvas: LatentSize, window: usize) -> Self {
        let window = window.max(2);
        let rows = half_overlapping_spans(canvas.height, window);
        let columns = half_overlapping_spans(canvas.width, window);
        Self::grid(canvas, &rows, &columns)
    }

    /// The fewest windows of at most `window` x `window` cells that overlap by at least `overlap`, all of one size and
    /// evenly spread: the layout that can be batched.
    pub fn evenly_spread(canvas: LatentSize, window: usize, overlap: usize) -> Self {
        let rows = even_spans(canvas.height, window, overlap);
        let columns = even_spans(canvas.width, window, overlap);
        Self::grid(canvas, &rows, &columns)
    }

    fn grid(canvas: LatentSize, rows: &[Span], columns: &[Span]) -> Self {
        let views = rows
            .iter()
            .flat_map(|row| columns.iter().map(move |column| (row, column)))
            .map(|(row, column)| View {
                top: row.start,
                left: column.start,
                size: LatentSize {
                    height: row.weights.len(),
                    width: column.weights.len(),
                },
                weights: row
                    .weights
                    .iter()
                    .flat_map(|y| column.weights.iter().map(move |x| y * x))
                    .collect(),
            })
            .collect();
        Self { canvas, views }
    }

    /// Size of the canvas.
    pub fn canvas(&self) -> LatentSize {
        self.canvas
    }

    /// The windows, row by row.
    pub fn list(&self) -> &[View] {
        &self.views
    }

    /// The windows' weights, `[1, 1, h, w]` each.
    ///
    /// # Errors
    /// If the device has no room.
    pub(super) fn weights(&self, device: &Device) -> Result<Vec<Tensor>> {
        self.views
            .iter()
            .map(|view| Tensor::from_slice(&view.weights, (1, 1, view.size.height, view.size.width), device))
            .collect()
    }

    /// Adds up what was computed in each window: `n` values `[b, c, h, w]` to `[b, c, H, W]`.
    pub(super) fn sum(&self, parts: &[Tensor]) -> Result<Tensor> {
        let mut sum: Option<Tensor> = None;
        for (view, part) in self.views.iter().zip(parts) {
            let part = view.embedded(part, self.canvas)?;
            sum = Some(match sum {
                Some(sum) => (sum + part)?,
                None => part,
            });
        }
        sum.ok_or_else(|| candle_core::Error::Msg("a canvas has at least one view".to_owned()))
    }
}

/// A window in one dimension.
struct Span {
    start: usize,
    weights: Vec<f32>,
}

fn half_overlapping_spans(side: usize, window: usize) -> Vec<Span> {
    let stride = window / 2;
    let count = side.saturating_sub(window).div_ceil(stride) + 1;
    (0..count)
        .map(|n| {
            let start = n * stride;
            let length = window.min(side - start);
            let weights = (0..length)
                .map(|i| {
                    let rise = ramp(i, window, n == 0);
                    let fall = ramp(window - 1 - i, window, n == count - 1);
                    rise.min(fall)
                })
                .collect();
            Span { start, weights }
        })
        .collect()
}

/// From 0 in a window's first cell to 1 in its middle; 1 everywhere towards the canvas' edge.
fn ramp(i: usize, window: usize, is_at_edge: bool) -> f32 {
    let length = window.div_ceil(2);
    if is_at_edge || i >= length || length < 2 {
        1.0
    } else {
        i as f32 / (length - 1) as f32
    }
}

fn even_spans(side: usize, window: usize, overlap: usize) -> Vec<Span> {
    let window = window.clamp(1, side);
    let overlap = overlap.min(window - 1);
    let count = (side - window).div_ceil(window - overlap) + 1;
    let starts: Vec<usize> = (0..count)
        .map(|n| {
            if count == 1 {
                0
            } else {
                n * (side - window) / (count - 1)
            }
        })
        .collect();
    starts
        .iter()
        .enumerate()
        .map(|(n, &start)| {
            // Ramps are as long as the actual overlap and add up to 1 with the neighbour's. They begin and end flat,
            // since a window's outermost cells know least of their surroundings.
            let before = n.checked_sub(1).map_or(0, |n| starts[n] + window - start);
            let after = starts.get(n + 1).map_or(0, |next| start + window - next);
            let rising = |i: usize, length: usize| {
                let x = (i as f32 + 0.5) / length as f32;
                x * x * (3.0 - 2.0 * x)
            };
            let weights = (0..window)
                .map(|i| {
                    let rise = if i < before { rising(i, before) } else { 1.0 };
                    let from_end = window - 1 - i;
                    let fall = if from_end < after {
                        rising(from_end, after)
                    } else {
                        1.0
                    };
                    rise.min(fall)
                })
                .collect();
            Span { start, weights }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight_sums(views: &Views) -> Vec<f32> {
        let canvas = views.canvas();
        let mut sums = vec![0.0; canvas.area()];
        for view in views.list() {
            for (i, weight) in view.weights.iter().enumerate() {
                let (y, x) = (i / view.size.width, i % view.size.width);
                sums[(view.top + y) * canvas.width + view.left + x] += weight;
            }
        }
        sums
    }

    #[test]
    fn windows_cover_every_cell_of_every_canvas() {
        for (height, width) in [(1, 1), (3, 40), (17, 9), (64, 64), (65, 129)] {
            let canvas = LatentSize { height, width };
            for window in [2, 8, 13, 64] {
                for views in [
                    Views::half_overlapping(canvas, window),
                    Views::evenly_spread(canvas, window, window / 4),
                ] {
                    assert!(
                        weight_sums(&views).iter().all(|&sum| sum > 0.0),
                        "{canvas:?} {window}"
                    );
                }
            }
        }
    }

    #[test]
    fn weights_of_whole_windows_add_up_to_one() {
        let canvas = LatentSize { height: 8, width: 24 };
        let sums = weight_sums(&Views::half_overlapping(canvas, 8));
        assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-6));
        let sums = weight_sums(&Views::evenly_spread(canvas, 8, 2));
        assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-6), "{sums:?}");
    }

    #[test]
    fn evenly_spread_windows_are_few_and_of_one_size() {
        let canvas = LatentSize {
            height: 64,
            width: 96,
        };
        let views = Views::evenly_spread(canvas, 64, 16);
        let starts: Vec<usize> = views.list().iter().map(|view| view.left).collect();
        assert_eq!(starts, [0, 32]);
        assert!(
            views
                .list()
                .iter()
                .all(|view| view.size.height == 64 && view.size.width == 64)
        );
    }

    #[test]
    fn parts_return_to_their_place() {
        let canvas = LatentSize { height: 5, width: 12 };
        let views = Views::evenly_spread(canvas, 5, 1);
        let latent = Tensor::arange(0.0_f32, 60.0, &candle_core::Device::Cpu)
            .unwrap()
            .reshape((1, 1, 5, 12))
            .unwrap();
        let parts: Vec<Tensor> = views
            .list()
            .iter()
            .map(|view| {
                let weights =
                    Tensor::from_slice(&view.weights, (1, 1, 5, 5), &candle_core::Device::Cpu).unwrap();
                (view.of(&latent).unwrap() * weights).unwrap()
            })
            .collect();
        let sum = views.sum(&parts).unwrap();
        let difference = (sum - latent).unwrap().abs().unwrap().max_all().unwrap();
        assert!(difference.to_scalar::<f32>().unwrap() < 1e-5);
    }
}
