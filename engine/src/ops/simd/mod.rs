//! Vectors of `f32` behind one trait, so that every kernel is written once.
//!
//! A kernel is a [`Task`]: a struct with its arguments and one generic `run`. [`dispatch`] calls it inside a function
//! compiled for the instruction set that was found when the program started, and everything inlines into it.
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

use std::sync::OnceLock;

pub(crate) use portable::Portable;

/// Which instructions the kernels use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust on arrays of eight; what the compiler makes of it.
    Portable,
    /// 128-bit vectors of 64-bit ARM.
    Neon,
    /// 256-bit vectors with fused multiply-add.
    Avx2,
    /// 512-bit vectors.
    Avx512,
    /// 512-bit vectors that also multiply pairs of brain floats.
    Avx512Bf16,
    /// 512-bit vectors, and matrix tiles for bf16.
    Amx,
}

impl Isa {
    /// The best one of this processor. The environment variable `WORDBRUSH_ISA` (`portable`, `avx2`, `avx512`,
    /// `avx512-bf16`, `amx`) can ask for less, to find out what a kernel costs on lesser machines.
    pub fn best() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| {
            let available = Self::available();
            let best = *available.last().expect("the portable kernels always exist");
            let wanted = match std::env::var("WORDBRUSH_ISA").as_deref() {
                Ok("portable") => Self::Portable,
                Ok("neon") => Self::Neon,
                Ok("avx2") => Self::Avx2,
                Ok("avx512") => Self::Avx512,
                Ok("avx512-bf16") => Self::Avx512Bf16,
                _ => best,
            };
            if available.contains(&wanted) { wanted } else { best }
        })
    }

    /// All that this processor has, the best one last.
    pub fn available() -> Vec<Self> {
        let mut found = vec![Self::Portable];
        #[cfg(target_arch = "aarch64")]
        found.push(Self::Neon);
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c")
            {
                found.push(Self::Avx2);
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                {
                    found.push(Self::Avx512);
                    if is_x86_feature_detected!("avx512bf16") {
                        found.push(Self::Avx512Bf16);
                        if super::amx::is_available() {
                            found.push(Self::Amx);
                        }
                    }
                }
            }
        }
        found
    }

    /// Floats in a vector.
    pub fn lanes(self) -> usize {
        match self {
            Self::Portable | Self::Avx2 => 8,
            Self::Neon => 4,
            Self::Avx512 | Self::Avx512Bf16 | Self::Amx => 16,
        }
    }

    /// Whether bf16 is known to be faster than `f32`. Products of pairs are where the processor makes as many of them at
    /// a time as `f32` products: AMD's do, Intel's make half as many. See docs/PERFORMANCE.md.
    ///
    /// This is known, not measured, so that one machine always paints the same picture.
    pub fn has_fast_bf16(self) -> bool {
        match self {
            Self::Amx => true,
            Self::Avx512Bf16 => is_of_amd(),
            Self::Portable | Self::Neon | Self::Avx2 | Self::Avx512 => false,
        }
    }

    /// For benchmarks and the status line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Neon => "NEON",
            Self::Avx2 => "AVX2",
            Self::Avx512 => "AVX-512",
            Self::Avx512Bf16 => "AVX-512 with BF16",
            Self::Amx => "AVX-512 + AMX",
        }
    }
}

/// Whether the processor was made by AMD.
fn is_of_amd() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let vendor = std::arch::x86_64::__cpuid(0);
        [vendor.ebx, vendor.edx, vendor.ecx]
            .map(u32::to_le_bytes)
            .as_flattened()
            == b"AuthenticAMD"
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// A vector of floats and what can be done with it.
///
/// # Safety
/// All functions may only be called on a processor that has the instruction set (see [`dispatch`]); `load`s and
/// `store`s need `LANES` valid elements (`count` in the partial ones, at most `LANES`).
pub(crate) unsafe trait Simd: Copy + Send + Sync + 'static {
    /// The vector.
    type V: Copy;
    /// Floats in it.
    const LANES: usize;

    unsafe fn splat(value: f32) -> Self::V;
    unsafe fn load(from: *const f32) -> Self::V;
    unsafe fn store(to: *mut f32, value: Self::V);
    unsafe fn load_partial(from: *const f32, count: usize) -> Self::V;
    unsafe fn store_partial(to: *mut f32, value: Self::V, count: usize);
    /// Reads brain floats (the upper halves of `f32`).
    unsafe fn load_bf16(from: *const u16) -> Self::V;
    /// Reads `LANES` pairs of brain floats: the first ones, the second ones.
    unsafe fn load_bf16_pairs(from: *const u16) -> (Self::V, Self::V);
    /// Writes brain floats, rounded to the nearest, ties to even.
    unsafe fn store_bf16(to: *mut u16, value: Self::V);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once (the portable twin rounds twice).
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn abs(a: Self::V) -> Self::V;
    /// The size of `a` with the sign of `sign`.
    unsafe fn with_sign_of(a: Self::V, sign: Self::V) -> Self::V;
    /// Nearest whole number.
    unsafe fn round(a: Self::V) -> Self::V;
    /// Two to the power of a whole number from -126 to 127.
    unsafe fn power_of_two(whole: Self::V) -> Self::V;
    /// Sum of all lanes, in an order that is the same on every call.
    unsafe fn sum(a: Self::V) -> f32;
    /// Largest lane.
    unsafe fn largest(a: Self::V) -> f32;
    /// The matrix kernel in `f32`: see [`super::tile::multiply`].
    unsafe fn tile(
        parts: &[super::tile::Part<f32>],
        rows: usize,
        panel: *const f32,
        vectors: usize,
        out: *mut f32,
    );
    /// The same on brain floats with sums in `f32`.
    unsafe fn tile_bf16(
        parts: &[super::tile::Part<half::bf16>],
        rows: usize,
        panel: *const half::bf16,
        columns: usize,
        out: *mut f32,
    );
}

/// Work that is the same on every instruction set.
pub(crate) trait Task {
    /// What it gives back.
    type Out;
    /// Does it.
    ///
    /// # Safety
    /// `S` must exist on this processor; what else holds, the task says.
    unsafe fn run<S: Simd>(self) -> Self::Out;
}

/// Runs a task with the given instructions.
///
/// # Safety
/// `isa` must come from [`Isa::available`]; the task's own conditions must hold.
pub(crate) unsafe fn dispatch<T: Task>(isa: Isa, task: T) -> T::Out {
    // SAFETY: passed on to the caller.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => avx512::run_with_tiles(task),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 => avx512::run_with_pairs(task),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512::run(task),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::run(task),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => neon::run(task),
            _ => task.run::<Portable>(),
        }
    }
}
