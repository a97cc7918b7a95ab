//! Memory that is kept from call to call.
use super::{element::Element, tile::STEP_BF16};

/// Positions behind the end that kernels may read: half a tile of a convolution with stride two.
const ROOM: usize = 32;

/// A reusable buffer with the room behind its end that the kernels read into. It only ever grows.
#[derive(Debug, Default)]
pub(crate) struct Buffer<E> {
    data: Vec<E>,
}

impl<E: Element> Buffer<E> {
    /// The buffer, for `positions` rows of `channels`; what it holds is left over from before.
    pub(crate) fn rows(&mut self, positions: usize, channels: usize) -> &mut [E] {
        let length = (positions + ROOM) * channels + 2 * STEP_BF16;
        if self.data.len() < length {
            self.data.resize(length, E::default());
        }
        &mut self.data[..length]
    }

    /// What was written last.
    pub(crate) fn get(&self) -> &[E] {
        &self.data
    }
}
