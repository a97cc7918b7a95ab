//! The innermost loop: a few rows times one packed panel of weights.
//!
//! A row of the left matrix may consist of several [`Part`]s that lie apart in memory: the three lines under a 3x3
//! convolution, or the two sources of a concatenation. The sums run through the parts in order, element by element,
//! so that a result does not depend on how the work was cut.
use half::bf16;

use super::simd::Simd;

/// Rows of one tile in `f32`.
pub(crate) const ROWS_F32: usize = 8;
/// Rows of one tile in bf16: two matrix tiles of sixteen.
pub(crate) const ROWS_BF16: usize = 32;
/// Brain floats along the inner dimension in one matrix tile; every part is padded to a multiple with zero weights.
pub(crate) const STEP_BF16: usize = 32;
/// Columns of one matrix tile.
pub(crate) const TILE_COLUMNS: usize = 16;
/// More parts than any kernel has: three lines of a convolution and two of a shortcut.
pub(crate) const MAX_PARTS: usize = 5;
/// Floats that one tile's results need at most.
pub(crate) const MAX_TILE: usize = ROWS_BF16 * 2 * TILE_COLUMNS;

/// A stretch of the inner dimension.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Part<E> {
    /// First row's first element.
    pub(crate) data: *const E,
    /// Bytes from one row to the next.
    pub(crate) stride: usize,
    /// Elements (`f32`), or steps of [`STEP_BF16`] elements (bf16).
    pub(crate) length: usize,
}

impl<E> Part<E> {
    /// # Safety
    /// The rows must lie in one buffer.
    #[inline(always)]
    pub(crate) unsafe fn starting_at(self, row: usize) -> Self {
        Self {
            data: unsafe { self.data.byte_add(row * self.stride) },
            ..self
        }
    }
}

/// `out[r][c] = sum over k of parts[r][k] * panel[k][c]`, for `R` rows and `N` vectors of columns.
///
/// # Safety
/// `S` must exist; every part must be readable for `R` rows of `length` elements, the panel for the sum of the
/// lengths times `N * LANES`, and `out` writable for `R * N * LANES`.
#[inline(always)]
pub(crate) unsafe fn multiply<S: Simd, const R: usize, const N: usize>(
    parts: &[Part<f32>],
    panel: *const f32,
    out: *mut f32,
) {
    unsafe {
        let mut sums = [[S::splat(0.0); N]; R];
        let mut panel = panel;
        for part in parts {
            let mut rows = [part.data; R];
            for (index, row) in rows.iter_mut().enumerate() {
                *row = part.data.byte_add(index * part.stride);
            }
            for k in 0..part.length {
                let mut columns = [S::splat(0.0); N];
                for (index, column) in columns.iter_mut().enumerate() {
                    *column = S::load(panel.add(index * S::LANES));
                }
                for index in 0..R {
                    let left = S::splat(*rows[index].add(k));
                    for column in 0..N {
                        sums[index][column] = S::fma(left, columns[column], sums[index][column]);
                    }
                }
                panel = panel.add(N * S::LANES);
            }
        }
        for (index, row) in sums.iter().enumerate() {
            for (column, sum) in row.iter().enumerate() {
                S::store(out.add((index * N + column) * S::LANES), *sum);
            }
        }
    }
}

/// As [`multiply`], for instruction sets with too few registers for eight rows: `R` of them at a time.
///
/// # Safety
/// As [`multiply`], for [`ROWS_F32`] rows.
#[inline(always)]
pub(crate) unsafe fn multiply_in_steps<S: Simd, const R: usize, const N: usize>(
    parts: &[Part<f32>],
    rows: usize,
    panel: *const f32,
    out: *mut f32,
) {
    let mut row = 0;
    while row < rows {
        unsafe {
            let mut shifted = [parts[0]; MAX_PARTS];
            for (shifted, part) in shifted.iter_mut().zip(parts) {
                *shifted = part.starting_at(row);
            }
            multiply::<S, R, N>(&shifted[..parts.len()], panel, out.add(row * N * S::LANES));
        }
        row += R;
    }
}

/// `out[r][c] = sum over k of parts[r][k] * panel[k][c]` on brain floats, exact products summed in `f32`.
///
/// The panel is laid out for matrix tiles: for every step of 32 `k` and every tile of 16 columns, 16 pairs of `k` by 16
/// columns by the two of the pair.
///
/// # Safety
/// As [`multiply`], for `rows` rows and `columns` (16 or 32) columns; parts must be readable, and finite, up to the end
/// of their last step.
#[inline(always)]
pub(crate) unsafe fn multiply_bf16<S: Simd>(
    parts: &[Part<bf16>],
    rows: usize,
    panel: *const bf16,
    columns: usize,
    out: *mut f32,
) {
    const R: usize = 4;
    let mut row = 0;
    while row < rows {
        let mut column = 0;
        while column < columns {
            unsafe {
                let mut sums = [S::splat(0.0); R];
                let tile = column / TILE_COLUMNS;
                let mut panel = panel.add(tile * STEP_BF16 * TILE_COLUMNS + (column % TILE_COLUMNS) * 2);
                for part in parts {
                    let part = part.starting_at(row);
                    for step in 0..part.length {
                        for pair in 0..STEP_BF16 / 2 {
                            let (even, odd) = S::load_bf16_pairs(panel.add(pair * TILE_COLUMNS * 2).cast());
                            for (index, sum) in sums.iter_mut().enumerate() {
                                let left = part
                                    .data
                                    .byte_add(index * part.stride)
                                    .add(step * STEP_BF16 + pair * 2);
                                *sum = S::fma(S::splat((*left).to_f32()), even, *sum);
                                *sum = S::fma(S::splat((*left.add(1)).to_f32()), odd, *sum);
                            }
                        }
                        panel = panel.add(STEP_BF16 * columns);
                    }
                }
                for (index, sum) in sums.iter().enumerate() {
                    S::store(out.add((row + index) * columns + column), *sum);
                }
            }
            column += S::LANES;
        }
        row += R;
    }
}
