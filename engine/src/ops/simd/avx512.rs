//! 512-bit vectors of x86-64; bf16 by conversion, by sums of products of pairs, or by matrix tiles.
#![cfg_attr(
    not(test),
    expect(clippy::wildcard_imports, reason = "dozens of intrinsics with telling names")
)]

use core::arch::x86_64::*;

use half::bf16;

use super::{Simd, Task};
use crate::ops::{
    amx,
    tile::{self, Part},
};

/// Products of brain floats: converted to `f32`, ...
const CONVERTED: u8 = 0;
/// ... two at once with their sum, ...
const PAIRS: u8 = 1;
/// ... or sixteen by sixteen sums at once.
const TILES: u8 = 2;

#[derive(Clone, Copy)]
pub(crate) struct Avx512<const BF16: u8>;

/// # Safety
/// As [`super::dispatch`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")]
pub(crate) unsafe fn run<T: Task>(task: T) -> T::Out {
    // SAFETY: this function has the features enabled.
    unsafe { task.run::<Avx512<CONVERTED>>() }
}

/// # Safety
/// As [`super::dispatch`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,f16c")]
pub(crate) unsafe fn run_with_pairs<T: Task>(task: T) -> T::Out {
    // SAFETY: this function has the features enabled.
    unsafe { task.run::<Avx512<PAIRS>>() }
}

/// # Safety
/// As [`super::dispatch`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,f16c")]
pub(crate) unsafe fn run_with_tiles<T: Task>(task: T) -> T::Out {
    // SAFETY: this function has the features enabled.
    unsafe { task.run::<Avx512<TILES>>() }
}

#[inline(always)]
fn mask(count: usize) -> __mmask16 {
    (((1_u32 << count) - 1) & 0xffff) as u16
}

/// Rows of one turn of [`multiply_pairs`].
const ROWS: usize = 8;

/// See [`tile::multiply_bf16`]; `N` vectors of columns.
///
/// # Safety
/// As there; rows must be readable up to a multiple of [`ROWS`].
#[inline(always)]
unsafe fn multiply_pairs<const N: usize>(
    parts: &[Part<bf16>],
    rows: usize,
    panel: *const bf16,
    out: *mut f32,
) {
    const LANES: usize = tile::TILE_COLUMNS;
    for first in (0..rows).step_by(ROWS) {
        unsafe {
            let mut sums = [[_mm512_setzero_ps(); N]; ROWS];
            let mut panel = panel;
            for part in parts {
                let part = part.starting_at(first);
                let mut lefts = [part.data; ROWS];
                for (index, left) in lefts.iter_mut().enumerate() {
                    *left = part.data.byte_add(index * part.stride);
                }
                for _ in 0..part.length {
                    for pair in 0..tile::STEP_BF16 / 2 {
                        let mut columns = [_mm512_setzero_si512(); N];
                        for (index, column) in columns.iter_mut().enumerate() {
                            let at = index * tile::STEP_BF16 * LANES + pair * 2 * LANES;
                            *column = _mm512_loadu_si512(panel.add(at).cast());
                        }
                        for (left, sums) in lefts.iter().zip(&mut sums) {
                            let both = left.add(2 * pair).cast::<i32>().read_unaligned();
                            let both = as_pairs(_mm512_set1_epi32(both));
                            for (sum, column) in sums.iter_mut().zip(columns) {
                                *sum = _mm512_dpbf16_ps(*sum, both, as_pairs(column));
                            }
                        }
                    }
                    for left in &mut lefts {
                        *left = left.add(tile::STEP_BF16);
                    }
                    panel = panel.add(tile::STEP_BF16 * LANES * N);
                }
            }
            for (index, row) in sums.iter().enumerate() {
                for (column, sum) in row.iter().enumerate() {
                    _mm512_storeu_ps(out.add(((first + index) * N + column) * LANES), *sum);
                }
            }
        }
    }
}

/// The same bits as brain floats.
#[inline(always)]
fn as_pairs(bits: __m512i) -> __m512bh {
    // SAFETY: both are 512 bits without invalid values.
    unsafe { std::mem::transmute(bits) }
}

// SAFETY: all functions use AVX-512 (F, BW, VL, DQ) only, and its BF16 with `PAIRS` and AMX with `TILES`.
unsafe impl<const BF16: u8> Simd for Avx512<BF16> {
    type V = __m512;
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m512 {
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: __m512) {
        unsafe { _mm512_storeu_ps(to, value) }
    }
    #[inline(always)]
    unsafe fn load_partial(from: *const f32, count: usize) -> __m512 {
        unsafe { _mm512_maskz_loadu_ps(mask(count), from) }
    }
    #[inline(always)]
    unsafe fn store_partial(to: *mut f32, value: __m512, count: usize) {
        unsafe { _mm512_mask_storeu_ps(to, mask(count), value) }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> __m512 {
        unsafe {
            let halves = _mm256_loadu_si256(from.cast());
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
        }
    }
    #[inline(always)]
    unsafe fn load_bf16_pairs(from: *const u16) -> (__m512, __m512) {
        unsafe {
            let pairs = _mm512_loadu_si512(from.cast());
            let second = _mm512_and_si512(pairs, _mm512_set1_epi32(0xffff_0000_u32 as i32));
            (
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs)),
                _mm512_castsi512_ps(second),
            )
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(to: *mut u16, value: __m512) {
        unsafe {
            let bits = _mm512_castps_si512(value);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
            let halves = _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(rounded));
            _mm256_storeu_si256(to.cast(), halves);
        }
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn abs(a: __m512) -> __m512 {
        unsafe { _mm512_abs_ps(a) }
    }
    #[inline(always)]
    unsafe fn with_sign_of(a: __m512, sign: __m512) -> __m512 {
        unsafe {
            let sign_bit = _mm512_castps_si512(_mm512_set1_ps(-0.0));
            // 0xca: where the mask's bit is set take the second argument, else the third.
            _mm512_castsi512_ps(_mm512_ternarylogic_epi32::<0xca>(
                sign_bit,
                _mm512_castps_si512(sign),
                _mm512_castps_si512(a),
            ))
        }
    }
    #[inline(always)]
    unsafe fn round(a: __m512) -> __m512 {
        unsafe { _mm512_roundscale_ps::<0x08>(a) }
    }
    #[inline(always)]
    unsafe fn power_of_two(whole: __m512) -> __m512 {
        unsafe { _mm512_scalef_ps(_mm512_set1_ps(1.0), whole) }
    }
    #[inline(always)]
    unsafe fn sum(a: __m512) -> f32 {
        unsafe { _mm512_reduce_add_ps(a) }
    }
    #[inline(always)]
    unsafe fn largest(a: __m512) -> f32 {
        unsafe { _mm512_reduce_max_ps(a) }
    }
    #[inline(always)]
    unsafe fn tile(parts: &[Part<f32>], _rows: usize, panel: *const f32, vectors: usize, out: *mut f32) {
        unsafe {
            match vectors {
                3 => tile::multiply::<Self, 8, 3>(parts, panel, out),
                2 => tile::multiply::<Self, 8, 2>(parts, panel, out),
                _ => tile::multiply::<Self, 8, 1>(parts, panel, out),
            }
        }
    }
    #[inline(always)]
    unsafe fn tile_bf16(
        parts: &[Part<bf16>],
        rows: usize,
        panel: *const bf16,
        columns: usize,
        out: *mut f32,
    ) {
        unsafe {
            match (BF16, columns / tile::TILE_COLUMNS) {
                (TILES, _) => amx::multiply(parts, rows, panel, columns, out),
                (PAIRS, 2) => multiply_pairs::<2>(parts, rows, panel, out),
                (PAIRS, _) => multiply_pairs::<1>(parts, rows, panel, out),
                _ => tile::multiply_bf16::<Self>(parts, rows, panel, columns, out),
            }
        }
    }
}
