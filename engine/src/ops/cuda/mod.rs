//! Kernels for NVIDIA cards: what candle lacks there, or makes of many small steps.
//!
//! ```text
//! convolution, normalisation, attention, gate, latents, step ──▶ operation ──▶ card (feature "cuda")
//!        say which kernels to launch (a Plan)                              └─▶ a plain twin, on the processor
//! ```
//!
//! An [`Operation`](operation::Operation) describes its result's shape, the launches that make it, and a plain twin in
//! Rust. The description knows no card: with the feature `cuda`, `card` compiles `kernels.cu` through NVRTC and launches
//! it on candle's stream; a test compiles the same file with a C++ compiler and runs the same launches on the processor.
//!
//! Pictures keep candle's shape `[b, c, h, w]` with channels-last strides, so that everything else may look at them as
//! at any tensor.
#![cfg_attr(
    not(any(feature = "cuda", test)),
    expect(dead_code, reason = "launches are described for cards alone")
)]

mod attention;
#[cfg(feature = "cuda")]
mod card;
mod card_state;
mod convolution;
#[cfg(test)]
mod emulated;
mod gate;
#[cfg(any(feature = "cuda", test))]
#[cfg_attr(
    not(feature = "cuda"),
    expect(dead_code, reason = "its entries are made for cards alone")
)]
mod kept_code;
mod latents;
#[cfg(any(feature = "cuda", test))]
#[cfg_attr(
    not(feature = "cuda"),
    expect(dead_code, reason = "only its search is tested without the feature")
)]
mod libraries;
#[cfg(all(target_os = "linux", any(feature = "cuda", test)))]
mod library_alias;
mod normalisation;
mod operation;
mod recording;
mod self_test;
mod step;

use candle_core::{Device, Result, Tensor};

pub(crate) use attention::attention;
#[cfg(feature = "cuda")]
pub(crate) use card::{Mark, give_back_memory, keep_uploads, memory_bytes, open, peak_bytes};
pub use card_state::{CardKernels, CardRecordings, CardState, card_state};
pub(crate) use convolution::{Convolution, End, convolve, packed_weight};
pub(crate) use gate::{add, geglu};
pub(crate) use latents::{rgba, roll};
pub(crate) use normalisation::{group_norm, layer_norm};
pub(crate) use recording::{
    Recording, beside_recordings, forget_refusals, give_recording_up, is_recorded_on,
};
pub use self_test::{KernelCheck, check_kernels};
pub(crate) use step::{
    Averaged, Cut, Fields, MOST_LEVELS, ROW, Tables, cut_masks, stream_average, stream_noise, stream_rows,
};

/// Whether networks on this device are made of these kernels.
///
/// True on a card for which they were compiled; `WORDBRUSH_KERNELS=plain` turns them off, to compare.
pub(crate) fn are_used_on(device: &Device) -> bool {
    #[cfg(test)]
    if device.is_cpu() {
        return emulated::is_in_place_of_plain_layers();
    }
    #[cfg(feature = "cuda")]
    if device.is_cuda() {
        return card::has_kernels();
    }
    // Without the feature there is no card.
    let _: &Device = device;
    false
}

/// Compiles all kernels for a capability, such as (9, 0), and tells the bytes of each part; needs NVRTC but no card.
///
/// # Errors
/// What the compiler says, or that there is none.
pub fn compile_kernels(capability: (i32, i32)) -> Result<Vec<(&'static str, usize)>> {
    #[cfg(feature = "cuda")]
    return card::compile_kernels(capability);
    #[cfg(not(feature = "cuda"))]
    candle_core::bail!("this program was built without CUDA: nothing compiles for {capability:?}");
}

/// Runs a test's body as on a card: with the kernels' plain twins, or with the kernels themselves on the processor where
/// they can be compiled.
#[cfg(test)]
pub(crate) fn as_on_a_card<T>(with_kernels: bool, body: impl FnOnce() -> T) -> T {
    use emulated::Mode;
    let mode = if with_kernels && emulated::is_available() {
        Mode::Emulated { is_falling: false }
    } else {
        Mode::Twins
    };
    emulated::with_mode(mode, body)
}

/// `[b, c, h, w]` as `[b, h, w, c]` in memory; copies only what does not lie so already.
pub(crate) fn channels_last(x: &Tensor) -> Result<Tensor> {
    x.permute((0, 2, 3, 1))?.contiguous()
}

/// Back to candle's shape, without a copy.
pub(crate) fn channels_first(x: &Tensor) -> Result<Tensor> {
    x.permute((0, 3, 1, 2))
}
