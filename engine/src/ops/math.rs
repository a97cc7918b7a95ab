//! Functions that networks bend their numbers with, on vectors, with stated errors.
use super::simd::Simd;

/// e to the power of `x`; relative error below 2e-7 for -87 to 88, where it stops growing or falling.
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    // x = n ln 2 + r with |r| <= ln 2 / 2; ln 2 in two pieces keeps r exact. The polynomial is that of Cephes' expf.
    unsafe {
        let x = S::min(S::max(x, S::splat(-87.0)), S::splat(88.0));
        let n = S::round(S::mul(x, S::splat(std::f32::consts::LOG2_E)));
        let r = S::fma(n, S::splat(-0.693_359_4), x);
        let r = S::fma(n, S::splat(2.121_944_4e-4), r);
        let mut p = S::splat(1.987_569_1e-4);
        for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
            p = S::fma(p, r, S::splat(coefficient));
        }
        let e = S::add(S::fma(S::mul(r, r), p, r), S::splat(1.0));
        S::mul(e, S::power_of_two(n))
    }
}

/// 1 / (1 + e^-x); absolute error below 3e-7.
#[inline(always)]
pub(crate) unsafe fn sigmoid<S: Simd>(x: S::V) -> S::V {
    unsafe {
        let one = S::splat(1.0);
        S::div(one, S::add(one, exp::<S>(S::sub(S::splat(0.0), x))))
    }
}

/// x sigmoid(x); error below 4e-7 times `max(1, |x|)`.
#[inline(always)]
pub(crate) unsafe fn silu<S: Simd>(x: S::V) -> S::V {
    unsafe { S::div(x, S::add(S::splat(1.0), exp::<S>(S::sub(S::splat(0.0), x)))) }
}

/// x sigmoid(1.702 x); error as [`silu`].
#[inline(always)]
pub(crate) unsafe fn quick_gelu<S: Simd>(x: S::V) -> S::V {
    unsafe { S::mul(x, sigmoid::<S>(S::mul(x, S::splat(1.702)))) }
}

/// x times the normal distribution's share below x, by the error function of Abramowitz and Stegun 7.1.26; error below
/// 5e-7 times `max(1, |x|)`.
#[inline(always)]
pub(crate) unsafe fn gelu<S: Simd>(x: S::V) -> S::V {
    unsafe {
        let z = S::mul(S::abs(x), S::splat(std::f32::consts::FRAC_1_SQRT_2));
        let t = S::div(S::splat(1.0), S::fma(z, S::splat(0.327_591_1), S::splat(1.0)));
        let mut p = S::splat(1.061_405_4);
        for coefficient in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
            p = S::fma(p, t, S::splat(coefficient));
        }
        let tail = S::mul(S::mul(p, t), exp::<S>(S::sub(S::splat(0.0), S::mul(z, z))));
        let erf = S::with_sign_of(S::sub(S::splat(1.0), tail), x);
        S::mul(S::mul(S::splat(0.5), x), S::add(S::splat(1.0), erf))
    }
}
