//! 128-bit vectors of 64-bit ARM.
#![cfg_attr(
    not(test),
    expect(clippy::wildcard_imports, reason = "dozens of intrinsics with telling names")
)]

use core::arch::aarch64::*;

use half::bf16;

use super::{Simd, Task};
use crate::ops::tile::{self, Part};

#[derive(Clone, Copy)]
pub(crate) struct Neon;

/// # Safety
/// As [`super::dispatch`].
#[target_feature(enable = "neon")]
pub(crate) unsafe fn run<T: Task>(task: T) -> T::Out {
    // SAFETY: this function has the feature enabled.
    unsafe { task.run::<Neon>() }
}

// SAFETY: all functions use NEON only.
unsafe impl Simd for Neon {
    type V = float32x4_t;
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(value: f32) -> float32x4_t {
        unsafe { vdupq_n_f32(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> float32x4_t {
        unsafe { vld1q_f32(from) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: float32x4_t) {
        unsafe { vst1q_f32(to, value) }
    }
    #[inline(always)]
    unsafe fn load_partial(from: *const f32, count: usize) -> float32x4_t {
        let mut lanes = [0.0; 4];
        unsafe {
            from.copy_to_nonoverlapping(lanes.as_mut_ptr(), count);
            vld1q_f32(lanes.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn store_partial(to: *mut f32, value: float32x4_t, count: usize) {
        let mut lanes = [0.0; 4];
        unsafe {
            vst1q_f32(lanes.as_mut_ptr(), value);
            lanes.as_ptr().copy_to_nonoverlapping(to, count);
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> float32x4_t {
        unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(from))) }
    }
    #[inline(always)]
    unsafe fn load_bf16_pairs(from: *const u16) -> (float32x4_t, float32x4_t) {
        unsafe {
            let pairs = vld1q_u32(from.cast());
            let second = vandq_u32(pairs, vdupq_n_u32(0xffff_0000));
            (
                vreinterpretq_f32_u32(vshlq_n_u32::<16>(pairs)),
                vreinterpretq_f32_u32(second),
            )
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(to: *mut u16, value: float32x4_t) {
        unsafe {
            let bits = vreinterpretq_u32_f32(value);
            let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
            let rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
            vst1_u16(to, vshrn_n_u32::<16>(rounded));
        }
    }
    #[inline(always)]
    unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vsubq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vdivq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        unsafe { vfmaq_f32(c, a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vmaxq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vminq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn abs(a: float32x4_t) -> float32x4_t {
        unsafe { vabsq_f32(a) }
    }
    #[inline(always)]
    unsafe fn with_sign_of(a: float32x4_t, sign: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vdupq_n_u32(0x8000_0000), sign, a) }
    }
    #[inline(always)]
    unsafe fn round(a: float32x4_t) -> float32x4_t {
        unsafe { vrndnq_f32(a) }
    }
    #[inline(always)]
    unsafe fn power_of_two(whole: float32x4_t) -> float32x4_t {
        unsafe {
            let exponent = vaddq_s32(vcvtq_s32_f32(whole), vdupq_n_s32(127));
            vreinterpretq_f32_s32(vshlq_n_s32::<23>(exponent))
        }
    }
    #[inline(always)]
    unsafe fn sum(a: float32x4_t) -> f32 {
        unsafe { vaddvq_f32(a) }
    }
    #[inline(always)]
    unsafe fn largest(a: float32x4_t) -> f32 {
        unsafe { vmaxvq_f32(a) }
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
        unsafe { tile::multiply_bf16::<Self>(parts, rows, panel, columns, out) }
    }
}
