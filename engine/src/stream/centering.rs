//! Rolling latents so that a region lies in the middle while it is denoised.
//!
//! Few-step models like to put their subject in the middle of the picture. A region's latent is rolled cyclically so that
//! its mask's bounding box is centred, and what was predicted is rolled back.

use candle_core::{Result, Tensor};

use super::masks::LatentSize;
use crate::ops::cuda;

/// How far the middle of a mask lies from the middle of the canvas, in latent cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shift {
    /// Downwards.
    pub rows: i32,
    /// To the right.
    pub columns: i32,
}

/// First and last row, first and last column of all cells above 0; the box of an empty mask is its first cell.
fn bounds(mask: &[f32], size: LatentSize) -> [usize; 4] {
    let (mut top, mut bottom, mut left, mut right) = (usize::MAX, 0, usize::MAX, 0);
    for (y, line) in mask.chunks_exact(size.width).enumerate() {
        let Some(first) = line.iter().position(|&value| value > 0.0) else {
            continue;
        };
        let last = line.iter().rposition(|&value| value > 0.0).unwrap_or(first);
        (top, bottom) = (top.min(y), y);
        (left, right) = (left.min(first), right.max(last));
    }
    if top == usize::MAX {
        (top, left) = (0, 0);
    }
    [top, bottom, left, right]
}

/// Height and width of the bounding box of all cells above 0; at least one cell.
pub(super) fn extent_of_mask(mask: &[f32], size: LatentSize) -> LatentSize {
    let [top, bottom, left, right] = bounds(mask, size);
    LatentSize {
        height: bottom - top + 1,
        width: right - left + 1,
    }
}

impl Shift {
    /// From the bounding box of all cells above 0; the box of an empty mask is its first cell.
    pub fn of_mask(mask: &[f32], size: LatentSize) -> Self {
        let [top, bottom, left, right] = bounds(mask, size);
        Self {
            rows: (top + bottom).div_ceil(2) as i32 - (size.height / 2) as i32,
            columns: (left + right).div_ceil(2) as i32 - (size.width / 2) as i32,
        }
    }

    fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// Rolls each row so that its mask is centred.
///
/// # Shapes
/// - `latents`: `[n, c, h, w]`, with one shift per row
///
/// # Errors
/// If there are not `n` shifts.
pub fn to_center(latents: &Tensor, shifts: &[Shift]) -> Result<Tensor> {
    roll_rows(latents, shifts, -1)
}

/// Undoes [`to_center`].
///
/// # Errors
/// If there are not `n` shifts.
pub fn from_center(latents: &Tensor, shifts: &[Shift]) -> Result<Tensor> {
    roll_rows(latents, shifts, 1)
}

fn roll_rows(latents: &Tensor, shifts: &[Shift], direction: i32) -> Result<Tensor> {
    if latents.dim(0)? != shifts.len() {
        candle_core::bail!("{} rows have {} shifts", latents.dim(0)?, shifts.len());
    }
    if shifts.iter().all(|shift| shift.is_none()) {
        return Ok(latents.clone());
    }
    if cuda::are_used_on(latents.device()) {
        let (_, _, h, w) = latents.dims4()?;
        let cells = |shift: i32, side: usize| (direction * shift).rem_euclid(side as i32) as u32;
        let shifts: Vec<u32> = shifts
            .iter()
            .flat_map(|shift| [cells(shift.rows, h), cells(shift.columns, w)])
            .collect();
        let shifts = Tensor::from_vec(shifts, (latents.dim(0)?, 2), latents.device())?;
        return cuda::roll(latents, &shifts);
    }
    let rows: Vec<Tensor> = shifts
        .iter()
        .enumerate()
        .map(|(row, shift)| {
            let row = latents.narrow(0, row, 1)?;
            let row = if shift.rows == 0 {
                row
            } else {
                row.roll(direction * shift.rows, 2)?
            };
            if shift.columns == 0 {
                Ok(row)
            } else {
                row.roll(direction * shift.columns, 3)
            }
        })
        .collect::<Result<_>>()?;
    Tensor::cat(&rows, 0)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn a_box_at_the_edge_moves_to_the_middle_and_back() {
        let size = LatentSize { height: 6, width: 5 };
        let mut mask = vec![0.0; size.area()];
        mask[0] = 0.2;
        mask[1] = 1.0;
        let shift = Shift::of_mask(&mask, size);
        assert_eq!((shift.rows, shift.columns), (-3, -1));
        let latent = Tensor::arange(0.0_f32, 30.0, &Device::Cpu)
            .unwrap()
            .reshape((1, 1, 6, 5))
            .unwrap();
        let centred = to_center(&latent, &[shift]).unwrap();
        let rows = centred
            .squeeze(0)
            .unwrap()
            .squeeze(0)
            .unwrap()
            .to_vec2::<f32>()
            .unwrap();
        assert_eq!(rows[3][1..3], [0.0, 1.0]);
        let back = from_center(&centred, &[shift]).unwrap();
        let difference = (back - latent).unwrap().abs().unwrap().max_all().unwrap();
        assert_eq!(difference.to_scalar::<f32>().unwrap(), 0.0);
    }
}
