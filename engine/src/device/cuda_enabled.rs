//! Opens NVIDIA cards.

use std::any::Any;

use candle_core::{DType, Device};

use crate::ops::cuda;
pub(super) use crate::ops::cuda::Mark;

pub(super) const IS_COMPILED_IN: bool = true;

/// Opens a card by number for networks in `dtype`; the text of the error says in one line why there is none.
pub(super) fn open(index: usize, dtype: DType) -> Result<(Device, String), String> {
    cuda::open(index, dtype)
}

/// Bytes in use on a card.
pub(super) fn memory_bytes(device: &Device) -> Option<u64> {
    cuda::memory_bytes(device)
}

/// Most bytes of tensors on a card at once since it was opened.
pub(super) fn peak_bytes(device: &Device) -> Option<u64> {
    cuda::peak_bytes(device)
}

/// Hands unused memory back to the driver.
pub(super) fn give_back_memory(device: &Device) {
    cuda::give_back_memory(device);
}

/// Keeps small uploads on a card while the result lives.
pub(super) fn keep_uploads(device: &Device) -> Option<Box<dyn Any>> {
    cuda::keep_uploads(device)
}
