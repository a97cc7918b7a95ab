//! The method: regions denoised together, averaged under their masks, with several half-finished pictures in flight.
//!
//! ```text
//!  Scene ─▶ mask_set ─▶ masks ─┐
//!           noise_field ───────┼─▶ live::Session ─▶ step::advance ─▶ latent
//!           prompts ───────────┘                     (bootstrap, centre, denoise, guide, average)
//! ```
//!
//! [`step`] is the method without state, and `fused` the same on cards with kernels of ours; [`live`] drives it for a
//! canvas that is being painted, [`mod@reference`] as the authors' implementation does, to be compared with recordings.

pub mod blur;
pub mod centering;
mod fused;
pub mod geometry;
pub mod ground;
pub mod live;
pub mod mask_set;
pub mod masks;
pub mod noise;
pub mod noise_field;
pub mod patches;
pub mod reference;
pub mod step;

pub use live::{Applied, PromptLookup, Session, StepOutcome, Throughput};
