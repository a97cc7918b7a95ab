//! Wordbrush's engine: StreamMultiDiffusion (arXiv 2403.09055) on candle.
//!
//! A [`Scene`](api::Scene) is a canvas with regions, each bound to a prompt by a soft mask. An [`Engine`] owns one
//! thread that keeps `T` half-finished pictures in flight and pushes a decoded [`Frame`](api::Frame) at every step;
//! edits go down as a new scene and flow into every picture in flight.
//!
//! This crate knows no window and no GPU surface; the app knows no tensor.
#![warn(missing_docs)]

pub mod api;
pub(crate) mod device;
mod engine;
mod error;
pub(crate) mod image;
mod mailbox;
pub(crate) mod models;
pub(crate) mod nn;
pub(crate) mod ops;
pub(crate) mod pipeline;
pub(crate) mod schedule;
pub(crate) mod stream;
mod tokenizer;
pub(crate) mod weights;
mod worker;

pub use device::card_gflops;
pub use engine::Engine;
pub use error::{Error, Result};
pub use ops::{
    ProcessorPeak,
    cuda::{CardKernels, CardRecordings, CardState, card_state},
    processor_peak,
};
pub use tokenizer::PromptTokenizer;

/// Internals for benches, examples and parity tests; not for the app, and not stable.
pub mod low_level {
    pub use crate::{
        device::{Compute, dtype_of, matrix_gflops},
        models::traits,
        nn::Trace,
        weights::{Adapters, Checkpoint, Family, LoadProgress, LoadWatch},
    };

    /// Networks and their loading.
    pub mod models {
        pub use crate::models::*;
    }
    /// Kernels for processors.
    pub mod ops {
        pub use crate::ops::{
            Isa, KernelBench, Team, Workers,
            cuda::{KernelCheck, check_kernels, compile_kernels},
            leave_room_for_the_window,
        };
    }
    /// Pixels and tensors.
    pub mod image {
        pub use crate::image::*;
    }
    /// One-shot pictures.
    pub mod pipeline {
        pub use crate::pipeline::*;
    }
    /// Noise schedules and samplers.
    pub mod schedule {
        pub use crate::schedule::*;
    }
    /// Masks, noise and the stream itself.
    pub mod stream {
        pub use crate::stream::*;
    }
}
