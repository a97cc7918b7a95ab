//! One-shot pictures: from noise to a finished latent in one go, without a stream.
//!
//! A [`Composition`] says what is painted: regions with their masks, or a single prompt over the whole canvas. The
//! canvas is looked at through [`Views`]: one if the model can take it whole, else windows that overlap and are averaged.
//! [`Composition::paint`] runs the sampler's slots one after the other over all views and regions.
//!
//! [`render()`] makes the picture of a scene at any size: the stream's own where it fits, an enlargement of it otherwise.
//!
//! Everything here is arithmetic on 32-bit latents; only the denoiser works in the model's own number format.
//!
//! Source: StreamMultiDiffusion (arXiv 2403.09055), its pipeline without a stream; MultiDiffusion (arXiv 2302.08113).

mod blend;
mod composition;
mod enlarge;
mod guidance;
mod network;
mod pass;
mod prompt;
mod render;
mod views;
mod watch;

pub use blend::{blended, coverage_resized};
pub use composition::{Bootstrap, BootstrapNoise, Composition, Overlap, Rows, start_latent};
pub use guidance::ClassifierFree;
pub use network::Network;
pub use prompt::{GuidedPrompt, averaged, mixed};
pub use render::render;
pub use views::{View, Views};
pub use watch::{Unwatched, Watch};
