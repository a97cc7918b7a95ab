//! What the engine reports besides frames.

use super::{
    command::JobId,
    frame::{Revision, StageTimings},
    model::ModelSummary,
    picture::Picture,
};
use crate::Error;

/// Something that must reach the app.
#[derive(Clone, Debug)]
pub enum Event {
    /// A model is ready.
    ModelLoaded(ModelSummary),
    /// A model could not be loaded; the one before it goes on.
    ModelFailed(Error),
    /// A one-shot render moved on: `done` of `total` steps.
    RenderProgress {
        /// Which job.
        job: JobId,
        /// Steps done.
        done: u32,
        /// Steps in all.
        total: u32,
    },
    /// A one-shot render is finished.
    RenderDone {
        /// Which job.
        job: JobId,
        /// Its picture.
        picture: Picture,
    },
    /// A one-shot render ended without a picture ([`Error::Cancelled`] if it was asked to).
    RenderFailed {
        /// Which job.
        job: JobId,
        /// Why.
        error: Error,
    },
    /// Something the user should know.
    Notice(Notice),
    /// A step failed; the stream rests until the next edit or model.
    Failed(Error),
    /// The engine stopped unexpectedly and started again with the scene it had.
    Restarted {
        /// What had happened.
        reason: String,
    },
}

/// A sentence for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How much it matters.
    pub level: NoticeLevel,
    /// The sentence.
    pub text: String,
}

/// How much a notice matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeLevel {
    /// Good to know.
    Info,
    /// Something works differently than asked.
    Warning,
}

/// What the engine is doing.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Phase {
    /// No model yet.
    #[default]
    Empty,
    /// A model is being loaded.
    Loading {
        /// What is being read.
        what: String,
        /// 0 to 1.
        fraction: f32,
    },
    /// Stopped by the user.
    Paused,
    /// Frames are being made.
    Streaming,
    /// The picture is finished and nothing changed: nothing is computed.
    Settled,
    /// A one-shot render has the device.
    Rendering(JobId),
    /// The last step failed; an edit or another model tries again.
    Failed,
}

/// The latest state of the engine; read at any time, never queued.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// What it is doing.
    pub phase: Phase,
    /// The newest scene it has taken over.
    pub revision: Revision,
    /// Frames per second over the last frames; 0 when nothing is computed.
    pub frames_per_second: f32,
    /// The last frame's stages.
    pub timings: StageTimings,
    /// Further frames until the newest edit has gone through every step.
    pub steps_until_settled: u32,
    /// Bytes held on the device (weights, caches, the stream's state).
    pub device_memory_bytes: u64,
    /// Most bytes of tensors on a graphics card at once; 0 where that is not known.
    pub device_peak_bytes: u64,
    /// Device as shown to the user.
    pub device: String,
}
