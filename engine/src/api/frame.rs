//! What comes out of the stream at every step.

use serde::{Deserialize, Serialize};

use super::picture::Picture;

/// Counts the edits of a canvas; the app stamps it on each scene and finds it again on each frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

/// How far along a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// A first look at an edit: the predicted end of an unfinished picture.
    Preview,
    /// A picture that went through every step.
    Complete,
}

/// Milliseconds spent on a frame, by stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[expect(clippy::struct_field_names, reason = "a unit belongs to each name")]
pub struct StageTimings {
    /// Encoding changed prompts. This runs on a thread of its own beside the stream and is no part of the total.
    pub encode_ms: f32,
    /// Preparing what changed: masks, background, and the keys and values of prompts.
    pub masks_ms: f32,
    /// The denoiser.
    pub denoise_ms: f32,
    /// Guidance, averaging, noise: what a step does around the denoiser.
    pub blend_ms: f32,
    /// Latent to picture.
    pub decode_ms: f32,
    /// Picture to bytes.
    pub copy_ms: f32,
    /// Everything together, waiting excluded.
    pub total_ms: f32,
}

/// What was computed for a frame, to be compared with what the device can: billions of floating-point operations in
/// matrix products, convolutions and attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct StageWork {
    /// The denoiser.
    pub denoise_gflop: f64,
    /// Latent to picture.
    pub decode_gflop: f64,
    /// Rows that the denoiser was given: regions at noise levels, and their negative prompts.
    pub denoise_rows: u32,
}

/// One decoded picture.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The newest edit that had a part in it.
    pub revision: Revision,
    /// Counts the frames of one engine.
    pub sequence: u64,
    /// The picture.
    pub picture: Picture,
    /// How far along it is.
    pub kind: FrameKind,
    /// Further frames until the edit of `revision` has gone through every step; 0 when it has.
    pub steps_until_settled: u32,
    /// Where the time went.
    pub timings: StageTimings,
    /// What was computed in it.
    pub work: StageWork,
}
