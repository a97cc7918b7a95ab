//! Kernels for processors: the parts of a network on plain slices, knowing nothing of models or tensors.
//!
//! ```text
//! matmul ──▶ tile ──▶ simd::{avx512, avx2, neon, portable}, amx
//!   ▲ weights from pack          ▲
//! attention, norm, picture ──────┘        workers: the threads that share a job
//! ```
//!
//! Pictures are channels-last. Matrices are multiplied in `f32` or bf16 ([`element`]), sums and everything between
//! products are `f32`. Work is cut by shape alone and sums run in a fixed order, so that results are the same bytes
//! with any number of threads.
//!
//! [`cuda`] holds the kernels for NVIDIA cards, which work on tensors.
#![expect(
    unsafe_code,
    reason = "vector instructions, and tasks that write different places of one buffer"
)]
#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "inside an unsafe kernel its own conditions hold, which are documented on it"
)]

#[cfg(target_arch = "x86_64")]
mod amx;
pub(crate) mod attention;
mod bench;
pub(crate) mod buffer;
pub(crate) mod cuda;
pub(crate) mod element;
mod math;
pub(crate) mod matmul;
pub(crate) mod norm;
pub(crate) mod pack;
mod peak;
pub(crate) mod picture;
mod simd;
mod tile;
#[cfg(test)]
mod twins;
mod work;
mod workers;

pub use bench::KernelBench;
pub use peak::{ProcessorPeak, processor_peak};
pub use simd::Isa;
pub(crate) use work::{count, multiplications};
pub use workers::{Team, Workers, leave_room_for_the_window};
