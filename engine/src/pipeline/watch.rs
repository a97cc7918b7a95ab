//! Following a computation, and ending it early.

use candle_core::Tensor;

use crate::{Error, Result};

/// Follows a computation from inside.
pub trait Watch {
    /// Whether the result is still wanted; asked before each call of the denoiser.
    fn is_cancelled(&self) -> bool {
        false
    }

    /// Another of [`super::Composition::calls`] calls of the denoiser is done.
    fn called(&mut self) {}

    /// The averaged latent after a step, before noise is added to it: `[1, c, h, w]`.
    fn stepped(&mut self, _step: usize, _latent: &Tensor) {}
}

/// Nobody looks.
#[derive(Clone, Copy, Debug)]
pub struct Unwatched;

impl Watch for Unwatched {}

/// Ends the computation if it is not wanted any more.
pub(super) fn check(watch: &dyn Watch) -> Result<()> {
    if watch.is_cancelled() {
        Err(Error::Cancelled)
    } else {
        Ok(())
    }
}
