//! Arrays of eight floats in plain Rust: for processors without a kernel of their own, and the twin in tests.
use half::bf16;

use super::Simd;
use crate::ops::tile::{self, Part};

#[derive(Clone, Copy)]
pub(crate) struct Portable;

type V = [f32; 8];

#[inline(always)]
fn zip(a: V, b: V, f: impl Fn(f32, f32) -> f32) -> V {
    std::array::from_fn(|lane| f(a[lane], b[lane]))
}

// SAFETY: needs no particular instructions.
unsafe impl Simd for Portable {
    type V = V;
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: f32) -> V {
        [value; 8]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> V {
        unsafe { from.cast::<V>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: V) {
        unsafe { to.cast::<V>().write_unaligned(value) }
    }
    #[inline(always)]
    unsafe fn load_partial(from: *const f32, count: usize) -> V {
        std::array::from_fn(|lane| {
            if lane < count {
                unsafe { *from.add(lane) }
            } else {
                0.0
            }
        })
    }
    #[inline(always)]
    unsafe fn store_partial(to: *mut f32, value: V, count: usize) {
        for (lane, value) in value.into_iter().enumerate().take(count) {
            unsafe { *to.add(lane) = value };
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> V {
        std::array::from_fn(|lane| f32::from_bits(u32::from(unsafe { *from.add(lane) }) << 16))
    }
    #[inline(always)]
    unsafe fn load_bf16_pairs(from: *const u16) -> (V, V) {
        let half = |at: usize| f32::from_bits(u32::from(unsafe { *from.add(at) }) << 16);
        (
            std::array::from_fn(|lane| half(2 * lane)),
            std::array::from_fn(|lane| half(2 * lane + 1)),
        )
    }
    #[inline(always)]
    unsafe fn store_bf16(to: *mut u16, value: V) {
        for (lane, value) in value.into_iter().enumerate() {
            let bits = value.to_bits();
            let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
            unsafe { *to.add(lane) = (rounded >> 16) as u16 };
        }
    }
    #[inline(always)]
    unsafe fn add(a: V, b: V) -> V {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: V, b: V) -> V {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: V, b: V) -> V {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(a: V, b: V) -> V {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn fma(a: V, b: V, c: V) -> V {
        // Not `mul_add`: without the instruction that is a slow function call.
        std::array::from_fn(|lane| a[lane] * b[lane] + c[lane])
    }
    #[inline(always)]
    unsafe fn max(a: V, b: V) -> V {
        zip(a, b, f32::max)
    }
    #[inline(always)]
    unsafe fn min(a: V, b: V) -> V {
        zip(a, b, f32::min)
    }
    #[inline(always)]
    unsafe fn abs(a: V) -> V {
        a.map(f32::abs)
    }
    #[inline(always)]
    unsafe fn with_sign_of(a: V, sign: V) -> V {
        zip(a, sign, f32::copysign)
    }
    #[inline(always)]
    unsafe fn round(a: V) -> V {
        // Adding and taking away 1.5 * 2^23 rounds to the nearest whole number without a function call.
        a.map(|value| (value + 12_582_912.0) - 12_582_912.0)
    }
    #[inline(always)]
    unsafe fn power_of_two(whole: V) -> V {
        whole.map(|value| f32::from_bits(((value as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    unsafe fn sum(a: V) -> f32 {
        ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]))
    }
    #[inline(always)]
    unsafe fn largest(a: V) -> f32 {
        a.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
    #[inline(always)]
    unsafe fn tile(parts: &[Part<f32>], rows: usize, panel: *const f32, vectors: usize, out: *mut f32) {
        unsafe {
            match vectors {
                3 => tile::multiply_in_steps::<Self, 2, 3>(parts, rows, panel, out),
                2 => tile::multiply_in_steps::<Self, 4, 2>(parts, rows, panel, out),
                _ => tile::multiply_in_steps::<Self, 4, 1>(parts, rows, panel, out),
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
