//! The two number formats that matrices are multiplied in: `f32` and bf16. Sums are `f32` in both.
use half::bf16;

use super::{
    simd::{Isa, Simd},
    tile::{Part, ROWS_BF16, ROWS_F32, STEP_BF16, TILE_COLUMNS},
};

/// A number format for the inputs of matrix products.
pub(crate) trait Element: Copy + Default + Send + Sync + std::fmt::Debug + 'static {
    /// Rows that one tile computes.
    const ROWS: usize;
    /// Rows are read in multiples of this, so buffers need that much room behind their end.
    const READ_ROWS: usize;
    /// The inner dimension of each part is padded to a multiple of this with zero weights.
    const STEP: usize;

    /// Rounds to the nearest.
    fn from_f32(value: f32) -> Self;
    /// Columns of the widest panel, and the unit of narrower ones.
    fn panel_columns(isa: Isa) -> (usize, usize);
    /// Where the weight of inner index `k` and column `column` lies in a panel of `width` columns.
    fn position_in_panel(k: usize, column: usize, width: usize) -> usize;

    /// # Safety
    /// As [`Simd::load`].
    unsafe fn load<S: Simd>(from: *const Self) -> S::V;
    /// # Safety
    /// As [`Simd::store`].
    unsafe fn store<S: Simd>(to: *mut Self, value: S::V);
    /// # Safety
    /// As [`Simd::load_partial`].
    unsafe fn load_partial<S: Simd>(from: *const Self, count: usize) -> S::V;
    /// # Safety
    /// As [`Simd::store_partial`].
    unsafe fn store_partial<S: Simd>(to: *mut Self, value: S::V, count: usize);
    /// # Safety
    /// As [`super::tile::multiply`] and [`super::tile::multiply_bf16`].
    unsafe fn tile<S: Simd>(
        parts: &[Part<Self>],
        rows: usize,
        panel: *const Self,
        width: usize,
        out: *mut f32,
    );
}

impl Element for f32 {
    const ROWS: usize = ROWS_F32;
    const READ_ROWS: usize = ROWS_F32;
    const STEP: usize = 1;

    fn from_f32(value: f32) -> Self {
        value
    }
    fn panel_columns(isa: Isa) -> (usize, usize) {
        (3 * isa.lanes(), isa.lanes())
    }
    #[inline(always)]
    fn position_in_panel(k: usize, column: usize, width: usize) -> usize {
        k * width + column
    }
    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const Self) -> S::V {
        unsafe { S::load(from) }
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(to: *mut Self, value: S::V) {
        unsafe { S::store(to, value) }
    }
    #[inline(always)]
    unsafe fn load_partial<S: Simd>(from: *const Self, count: usize) -> S::V {
        unsafe { S::load_partial(from, count) }
    }
    #[inline(always)]
    unsafe fn store_partial<S: Simd>(to: *mut Self, value: S::V, count: usize) {
        unsafe { S::store_partial(to, value, count) }
    }
    #[inline(always)]
    unsafe fn tile<S: Simd>(
        parts: &[Part<Self>],
        rows: usize,
        panel: *const Self,
        width: usize,
        out: *mut f32,
    ) {
        unsafe { S::tile(parts, rows, panel, width / S::LANES, out) }
    }
}

impl Element for bf16 {
    const ROWS: usize = ROWS_BF16;
    const READ_ROWS: usize = 16;
    const STEP: usize = STEP_BF16;

    fn from_f32(value: f32) -> Self {
        Self::from_f32(value)
    }
    fn panel_columns(_isa: Isa) -> (usize, usize) {
        (2 * TILE_COLUMNS, TILE_COLUMNS)
    }
    #[inline(always)]
    fn position_in_panel(k: usize, column: usize, width: usize) -> usize {
        let (step, pair, side) = (k / STEP_BF16, k % STEP_BF16 / 2, k % 2);
        let (tile, column) = (column / TILE_COLUMNS, column % TILE_COLUMNS);
        step * STEP_BF16 * width + tile * STEP_BF16 * TILE_COLUMNS + (pair * TILE_COLUMNS + column) * 2 + side
    }
    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const Self) -> S::V {
        unsafe { S::load_bf16(from.cast()) }
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(to: *mut Self, value: S::V) {
        unsafe { S::store_bf16(to.cast(), value) }
    }
    #[inline(always)]
    unsafe fn load_partial<S: Simd>(from: *const Self, count: usize) -> S::V {
        let mut lanes = [0_u16; 16];
        unsafe {
            from.cast::<u16>()
                .copy_to_nonoverlapping(lanes.as_mut_ptr(), count);
            S::load_bf16(lanes.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn store_partial<S: Simd>(to: *mut Self, value: S::V, count: usize) {
        let mut lanes = [0_u16; 16];
        unsafe {
            S::store_bf16(lanes.as_mut_ptr(), value);
            lanes.as_ptr().copy_to_nonoverlapping(to.cast(), count);
        }
    }
    #[inline(always)]
    unsafe fn tile<S: Simd>(
        parts: &[Part<Self>],
        rows: usize,
        panel: *const Self,
        width: usize,
        out: *mut f32,
    ) {
        unsafe { S::tile_bf16(parts, rows, panel, width, out) }
    }
}
