//! Pixels: soft masks at another size, and the finished picture before its background.

use candle_core::{Result, Tensor};

/// Coverage at another size, interpolated between pixel centres; beyond the edges the edge pixels repeat.
///
/// Nothing is averaged when it becomes smaller, as in the reference.
///
/// # Shapes
/// - `coverage`: `from.0` rows of `from.1` values
/// - returns `to.0` rows of `to.1` values
pub fn coverage_resized(coverage: &[f32], from: (usize, usize), to: (usize, usize)) -> Vec<f32> {
    if from == to {
        return coverage.to_vec();
    }
    let rows = neighbours(from.0, to.0);
    let columns = neighbours(from.1, to.1);
    let mut resized = Vec::with_capacity(to.0 * to.1);
    for row in &rows {
        let upper = &coverage[row.first * from.1..][..from.1];
        let lower = &coverage[row.second * from.1..][..from.1];
        for column in &columns {
            let along =
                |line: &[f32]| line[column.first] * (1.0 - column.share) + line[column.second] * column.share;
            resized.push(along(upper) * (1.0 - row.share) + along(lower) * row.share);
        }
    }
    resized
}

/// The two source pixels of a pixel, and how much the second counts.
struct Neighbours {
    first: usize,
    second: usize,
    share: f32,
}

fn neighbours(from: usize, to: usize) -> Vec<Neighbours> {
    let scale = from as f32 / to as f32;
    (0..to)
        .map(|i| {
            let position = ((i as f32 + 0.5) * scale - 0.5).max(0.0);
            let first = (position as usize).min(from - 1);
            Neighbours {
                first,
                second: (first + 1).min(from - 1),
                share: position - first as f32,
            }
        })
        .collect()
}

/// A picture where regions are, its background where they are not.
///
/// # Shapes
/// - `picture`, `background`: `[1, 3, H, W]`
/// - `coverage`: soft masks of the regions, `[p, 1, H, W]`
///
/// # Errors
/// If the shapes do not fit.
pub fn blended(picture: &Tensor, background: &Tensor, coverage: &Tensor) -> Result<Tensor> {
    let share = coverage.sum_keepdim(0)?.clamp(0.0, 1.0)?; // [1, 1, H, W]
    background.broadcast_mul(&share.affine(-1.0, 1.0)?)? + picture.broadcast_mul(&share)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubling_a_step_puts_quarters_beside_it() {
        let doubled = coverage_resized(&[0.0, 1.0], (1, 2), (1, 4));
        assert_eq!(doubled, [0.0, 0.25, 0.75, 1.0]);
        let tall = coverage_resized(&[0.0, 1.0], (2, 1), (4, 1));
        assert_eq!(tall, doubled);
    }

    #[test]
    fn flat_coverage_stays_flat_at_every_size() {
        for to in [(1, 1), (3, 7), (64, 5)] {
            let resized = coverage_resized(&[0.5; 12], (3, 4), to);
            assert!(resized.iter().all(|value| (value - 0.5).abs() < 1e-6));
            assert_eq!(resized.len(), to.0 * to.1);
        }
    }
}
