//! The vocabulary of the engine: everything that crosses its thread is one of these types.
//!
//! Plain data, no tensors, no threads. Pixels are RGBA8 sRGB, row-major, origin at the top left, y down.
//! A [`Scene`] describes the whole canvas; the app sends a new one after every edit and the engine finds out
//! what changed by itself. That is cheap, because masks and pictures are shared, copy-on-write data.

mod command;
mod event;
mod frame;
mod geometry;
mod mask;
mod model;
mod picture;
mod scene;
mod settings;

pub use command::{Command, CommandBatch, JobId, ModelRequest, RenderJob, RunState, ThreadLimit};
pub use event::{Event, Notice, NoticeLevel, Phase, Status};
pub use frame::{Frame, FrameKind, Revision, StageTimings, StageWork};
pub use geometry::{CanvasSize, MAX_CANVAS_SIDE, PixelRect};
pub use mask::{Mask, TILE_SIDE, TileData};
pub use model::{DeviceChoice, LoraSource, ModelChoice, ModelSource, ModelSummary, Precision};
pub use picture::Picture;
pub use scene::{Background, Region, RegionId, Scene, Seed};
pub use settings::{
    BackgroundNoise, Centring, EditPolicy, EngineConfig, Gaps, Guidance, MaskMode, PassOrder, PictureMode,
    RegionCrop, StepList, StreamSettings,
};
